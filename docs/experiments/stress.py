"""A small network that meets repeated, zero and nearly repeated singular values in every batch.

    B = W2 step(W1 step(gain x))        step: the low-rank step, twice; 6-by-6 matrices, float32

Every batch has two matrices of each kind of :data:`KINDS`. The first step sees them as they are
but for the gain; the second one sees them multiplied by W1, which starts as the identity. The
target is ``W x`` with a fixed W, so that there is something to learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from svdinv_conformance.arguments import positive
from torch import Tensor, nn

from . import figures, results, tables, training
from .arguments import add_common, add_methods
from .lowrank import GapWatch, LowRank
from .results import Found
from .tables import by_method, short

NAME = "stress"
HELP = "a small network that meets ties in every batch"
QUICK = ["--steps 2 --method svt native --quiet"]

SIZE = 6
_COPIES = 2

Array = NDArray[np.float64]


def _orthogonal(rng: np.random.Generator) -> Array:
    Q, R = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))
    return np.asarray(Q * np.sign(np.diag(R)))


def _with_values(rng: np.random.Generator, values: Array) -> Array:
    return np.asarray((_orthogonal(rng) * values) @ _orthogonal(rng))


def _values(rng: np.random.Generator) -> Array:
    return np.sort(rng.uniform(0.1, 1, SIZE))[::-1].copy()


def _permuted(rng: np.random.Generator) -> Array:
    """A permutation matrix with two different sizes of entries, three times each."""
    sizes = np.repeat(rng.uniform(0.1, 1, 2), SIZE // 2)
    return np.asarray(np.eye(SIZE)[rng.permutation(SIZE)] * sizes)


def _pair(rng: np.random.Generator) -> Array:
    """Two values in the middle the same, but for the rounding of the product."""
    values = _values(rng)
    values[3] = values[2]
    return _with_values(rng, values)


def _near_pair(rng: np.random.Generator) -> Array:
    """Two values that differ by 1e-8 to 1e-3 of the largest."""
    values = _values(rng)
    values[3] = values[2] - values[0] * 10 ** rng.uniform(-8, -3)
    return _with_values(rng, values)


def _two_zeros(rng: np.random.Generator) -> Array:
    """Two rows of zeros, so that two values are zero."""
    matrix = _with_values(rng, _values(rng))
    matrix[:2] = 0
    return matrix


KINDS: dict[str, Callable[[np.random.Generator], Array]] = {
    "identity": lambda rng: rng.uniform(0.1, 1) * np.eye(SIZE),
    "permutation": _permuted,
    "pair": _pair,
    "near pair": _near_pair,
    "two zeros": _two_zeros,
    "zero": lambda rng: np.zeros((SIZE, SIZE)),
}
"""What a batch holds, by name."""

_TARGET = np.asarray(
    np.eye(SIZE) + 0.3 * np.random.default_rng(0).standard_normal((SIZE, SIZE)), np.float32
)


def batch(rng: np.random.Generator) -> tuple[tuple[Tensor], Tensor]:
    """``((x,), W x)`` with x ``(12, 6, 6)``."""
    matrices = [make(rng) for make in KINDS.values() for _ in range(_COPIES)]
    x = torch.from_numpy(np.stack(matrices).astype(np.float32))
    return (x,), torch.from_numpy(_TARGET) @ x


class StressNetwork(nn.Module):
    """Two low-rank steps and two matrices to learn; see the module.

    Parameters
    ----------
    method
        As for `experiments.lowrank.LowRank`.
    """

    def __init__(self, method: str = "svt") -> None:
        super().__init__()
        self.low_rank = LowRank(method)
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.first = nn.Parameter(torch.eye(SIZE))
        self.second = nn.Parameter(torch.eye(SIZE))
        self.thresholds = nn.Parameter(torch.tensor([-3.0, -3.0]))

    def watch_gaps(self, watch: GapWatch | None) -> None:
        """Show the singular values of both steps to `watch`."""
        self.low_rank.watch = watch

    def forward(self, x: Tensor) -> Tensor:
        """Matrices ``(..., 6, 6)`` to the same shape."""
        shares = torch.sigmoid(self.thresholds)
        kept = self.low_rank(self.gain * x, shares[0])
        out: Tensor = self.second @ self.low_rank(self.first @ kept, shares[1])
        return out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_methods(parser)
    parser.add_argument("--steps", type=positive, default=20000, help="(%(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_common(parser, NAME)


def run(options: argparse.Namespace) -> str:
    lines = []
    for method in options.method:
        torch.manual_seed(options.seed)
        settings = training.Settings(options.steps, seed=options.seed)
        history = training.train(
            StressNetwork(method), batch, settings, progress=not options.quiet, label=method
        )
        path = options.out / f"{options.name}-{method.removeprefix('svd-')}.json"
        results.write(
            path,
            {
                "experiment": NAME,
                "settings": {**asdict(settings), "method": method},
                "data": {"training": ", ".join(KINDS)},
                "training": history.summary(max(10, options.steps // 100)),
            },
        )
        bad = f"{len(history.nonfinite)} gradients not finite"
        lines.append(f"{path.name}: {len(history.loss)} steps, {bad}")
    return "\n".join(lines)


def table(found: Found) -> dict[str, str]:
    runs = by_method(found[NAME].values())
    rows = []
    for r in runs:
        t = r["training"]
        loss = [x for x in t["loss"] if x is not None]
        rows.append(
            [
                f"`{short(r)}`",
                str(t["steps_done"]),
                str(t["nonfinite_gradients"]),
                f"{t['largest_gradient']:.2g}",
                str(t["matrices_with_bit_equal_values"]),
                f"{loss[0]:.2g}",
                f"{loss[-1]:.2g}",
            ]
        )
    head = ["low-rank step", "steps", "gradients not finite", "largest gradient"]
    head += ["matrices seen with bit-equal values", "first loss", "last loss"]
    fields = {"stress": tables.table(head, rows)}
    for field, guarded in (("stress_guarded", True), ("stress_native", False)):
        chosen = [
            r["training"]
            for r in runs
            if (short(r) not in ("native", "plain") if guarded else short(r) == "native")
        ]
        if chosen:
            bad, steps = (sum(t[k] for t in chosen) for k in ("nonfinite_gradients", "steps_done"))
            fields[field] = f"{bad} in {steps:,} steps"
    return fields


def figure(found: Found) -> dict[str, Figure]:
    curves = {short(r): r["training"]["loss"] for r in by_method(found[NAME].values())}
    if not curves:
        return {}
    every = next(iter(found[NAME].values()))["training"]["loss_every"]
    return {"stress": figures.loss_figure(curves, every, "ties in every batch", 1)}

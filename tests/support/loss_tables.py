"""Kinds of loss by rule: the error of the gradient through `svd` at and near repeated values.

    python tests/support/loss_tables.py [--draws N] [--frameworks]

writes the tables of ``docs/choosing_a_rule.md``; with ``--frameworks`` it prints the worst error of
the default rule in every framework instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from svdinv import numpy as svdinv
from svdinv import rules
from svdinv_conformance.markdown import markdown_table, write_between

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "choosing_a_rule.md"
sys.path.insert(0, str(ROOT / "tests"))

from support.arrays import adjoint, single  # noqa: E402
from support.errors import norm  # noqa: E402
from support.family import haar  # noqa: E402
from support.spectral_losses import LOSSES, cotangents, gradient, weights  # noqa: E402

Array = Any
Pullback = Callable[[Array], tuple[tuple[Array, Array, Array], Callable[[Any], Array]]]

SPECTRA = {
    "pair": [1.0, 1.0, 0.6, 0.2],
    "triple": [1.0, 0.8, 0.8, 0.8, 0.2],
    "all equal": [0.9] * 4,
    "two pairs": [1.0, 1.0, 0.5, 0.5, 0.2],
    "pair and triple": [1.0, 1.0, 0.7, 0.7, 0.7],
}
SHAPES = ((0, 0), (2, 0), (0, 3))  # more rows, more columns than values
PRODUCTS = ("c S", "S^3", "soft", "tanh", "1/S")
SAME_MATRIX = ((*PRODUCTS, "U Vh"), ("left projector", "(US)(US)^H", "U^H U"))
PROJECTORS = ("left projector", "right projector")
ROWS = {
    "`U f(S) Vh`, `f = c S`": [("c S",)],
    "`U f(S) Vh`, any other f": [(name,) for name in PRODUCTS[1:]],
    "projector `U Uᴴ`, `V Vᴴ`": [(name,) for name in PROJECTORS],
    "`U Vh`": [("U Vh",)],
    "constant, of `Uᴴ U`": [("U^H U",)],
    "values alone": [("values",)],
    "`U f(S) Vh` and a projector": [(a, b) for a in PRODUCTS for b in PROJECTORS],
    "`U f(S) Vh` and values": [(a, "values") for a in PRODUCTS],
    "both projectors": [PROJECTORS],
    "two `U f(S) Vh`": list(combinations((*PRODUCTS, "U Vh"), 2)),
}


def determined(losses: Sequence[str]) -> bool:
    """Whether no two of the losses are functions of the same matrix."""
    return len(losses) < 2 or not any(set(losses) <= set(group) for group in SAME_MATRIX)


class Problem:
    """Matrices of one spectrum, shape and field, one batch for each loss."""

    def __init__(
        self, sums: Sequence[Any], spectrum: str, shape: tuple[int, int], is_complex: bool,
        draws: int, gap: float = 0.0, precision: str = "float64",
    ) -> None:  # fmt: skip
        rng = np.random.default_rng(0)
        values = np.array(SPECTRA[spectrum])
        for i in range(1, len(values)):
            if SPECTRA[spectrum][i] == SPECTRA[spectrum][i - 1]:
                values[i] = values[i - 1] - gap * values[0]
        k, batch = len(values), (len(sums), draws)
        m, n = k + shape[0], k + shape[1]
        U, V = haar(rng, batch, m, k, is_complex), haar(rng, batch, n, k, is_complex)
        self.x = (U * values) @ adjoint(V)
        S, Vh = np.broadcast_to(values, (*batch, k)), adjoint(V)
        if gap:  # the divided differences of the values as rounded, not as intended
            U, S, Vh = np.linalg.svd(self.x, full_matrices=False)
        self.x = single(self.x) if precision == "float32" else self.x
        self.sums = sums
        self.weights = [[weights(rng, loss, self.x[i]) for loss in s] for i, s in enumerate(sums)]
        self.exact = np.stack([
            sum(gradient(loss, U[i], S[i], Vh[i], W) for loss, W in zip(s, Ws, strict=True))
            for i, (s, Ws) in enumerate(zip(sums, self.weights, strict=True))
        ])  # fmt: skip

    def errors(self, pull_back: Pullback) -> Array:
        """The error for every loss and draw, relative to the gradient (or a tenth of ct)."""
        factors, pullback = pull_back(self.x)
        cts = []
        for i, (s, Ws) in enumerate(zip(self.sums, self.weights, strict=True)):
            mine = [f[i] for f in factors]
            each = [cotangents(loss, *mine, W) for loss, W in zip(s, Ws, strict=True)]
            cts.append([sum(parts) for parts in zip(*each, strict=True)])
        given = tuple(
            np.stack(parts).astype(f.dtype)
            for parts, f in zip(zip(*cts, strict=True), factors, strict=True)
        )
        size = norm(given[0]) + norm(given[2]) + np.sqrt(np.sum(given[1] ** 2, axis=-1))
        error = norm(pullback(given) - self.exact) / np.maximum(norm(self.exact), 0.1 * size)
        return np.where(np.isfinite(error), error, np.inf).astype(float)


def by_rule(rule: str) -> Pullback:
    def pull_back(x: Array) -> Any:
        factors, pullback = svdinv.vjp(svdinv.svd, x, rule=rule)
        return tuple(factors), lambda cts: pullback(cts)[0]

    return pull_back


def native_torch(x: Array) -> Any:
    import torch

    leaf = torch.tensor(x, requires_grad=True)
    out = torch.linalg.svd(leaf, full_matrices=False)

    def pullback(cts: Any) -> Array:
        return torch.autograd.grad(out, leaf, tuple(map(torch.tensor, cts)))[0].numpy()

    return tuple(o.detach().numpy() for o in out), pullback


def native_jax(x: Array) -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    out, pullback = jax.vjp(
        lambda x: tuple(jax.numpy.linalg.svd(x, full_matrices=False)), jax.numpy.asarray(x)
    )
    return tuple(map(np.asarray, out)), lambda cts: np.asarray(
        pullback(tuple(map(jax.numpy.asarray, cts)))[0]
    )


def native_tensorflow(x: Array) -> Any:
    import tensorflow as tf

    leaf = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(leaf)
        S, U, V = tf.linalg.svd(leaf)
        out = (U, S, tf.linalg.adjoint(V))
    return tuple(o.numpy() for o in out), lambda cts: tape.gradient(
        out, leaf, output_gradients=tuple(map(tf.constant, cts))
    ).numpy()


NATIVE = {
    "`torch.linalg.svd`": native_torch,
    "`jnp.linalg.svd`": native_jax,
    "`tf.linalg.svd`": native_tensorflow,
}


def table(gap: float, draws: int) -> str:
    """Median over the draws of each question, the worst over the questions of a row."""
    ways = {f"`{rule}`": by_rule(rule) for rule in rules.rule_names() if rule != "plain"} | NATIVE
    sums = [losses for row in ROWS.values() for losses in row]
    worst = {way: np.zeros(len(sums)) for way in ways}
    with np.errstate(all="ignore"):
        for spectrum in SPECTRA:
            for shape in SHAPES:
                for is_complex in (False, True):
                    problem = Problem(sums, spectrum, shape, is_complex, draws, gap)
                    for way, pull_back in ways.items():
                        if is_complex and way in NATIVE:
                            continue
                        median = np.median(problem.errors(pull_back), axis=-1)
                        worst[way] = np.maximum(worst[way], median)
    body, start = [], 0
    for row, losses in ROWS.items():
        found = [worst[way][start : start + len(losses)].max() for way in ways]
        body.append([row, *(f"{e:.0e}" if np.isfinite(e) else "not finite" for e in found)])
        start += len(losses)
    return markdown_table(["loss", *ways], body)


def every_framework(draws: int) -> None:
    """Worst error of the default rule at a tie, over what the cotangents determine."""
    from support.drivers import FRAMEWORKS, driver

    sums = [s for n in (1, 2) for s in combinations(LOSSES, n) if determined(s)]
    for name in FRAMEWORKS:
        tested = driver(name)

        def pull_back(x: Array, tested: Any = tested) -> Any:
            factors = tested.call("svd", (x,))
            return factors, lambda cts: tested.vjp("svd", (x,), cts)[1][0]

        for precision in ("float64", "float32"):
            found = [
                Problem(sums, spectrum, shape, is_complex, draws, 0.0, precision).errors(pull_back)
                for spectrum in SPECTRA
                for shape in SHAPES
                for is_complex in (False, True)
            ]
            flat = np.concatenate([f.ravel() for f in found])
            print(
                f"{name:12s} {precision}: worst {flat.max():.1e}, 99.9 % "
                f"{np.percentile(flat, 99.9):.1e}, of {flat.size}",
                flush=True,
            )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=50, help="matrices a question (default: 50)")
    parser.add_argument("--frameworks", action="store_true")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(argv)
    if options.frameworks:
        every_framework(options.draws)
        return
    for name, gap in (("losses at a tie", 0.0), ("losses beside a tie", 1e-9)):
        text = f"{table(gap, options.draws)}\n"
        write_between(options.page, text, f"<!-- {name} -->", f"<!-- end of {name} -->")


if __name__ == "__main__":
    main()

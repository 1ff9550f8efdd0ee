"""Interleaved timings: medians, spread, ratios, memory and accuracy."""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frameworks import FRAMEWORKS, UnavailableError, first_line, load
from ..inputs import normal
from ..suite.implementation import Implementation
from .steps import Step, of_implementation, steps_of

__all__ = ["Measured", "Shape", "Timing", "measure", "problem"]

Array = NDArray[Any]

SHORTEST = 2e-3
"""Seconds that are timed at once: shorter steps are repeated until they take as long."""


@dataclass(frozen=True)
class Shape:
    """A batch of matrices: lengths ``(..., m, n)`` and a dtype."""

    lengths: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.lengths))} {self.dtype}"


@dataclass(frozen=True)
class Timing:
    """Seconds of one step: median, the quartiles around it, and the memory it needs at most."""

    median: float
    low: float
    high: float
    """Seconds; `low` and `high` are the quartiles."""
    memory: int | None = None
    """Bytes that the process grew by during a step, at its peak; None where that is not known."""


@dataclass
class Measured:
    """All sides of one shape in one framework and mode."""

    shape: Shape
    framework: str
    mode: str
    device: str
    """What was timed, and where."""
    sides: dict[str, Timing] = field(default_factory=dict)
    """Timing of each side."""
    error: float | None = None
    """Relative error of svdinv's gradient in x, against the same in double precision by the SVD."""
    kept: float | None = None
    """Mean number of values above the threshold."""
    reason: str = ""
    """Why nothing was timed, or empty."""

    def ratio(self, above: str, below: str) -> float | None:
        """Median of one side over that of another."""
        if above not in self.sides or below not in self.sides:
            return None
        return self.sides[above].median / self.sides[below].median


def problem(shape: Shape, threshold: float, seed: int) -> tuple[Array, Array, Array, float]:
    """Standard normal matrices and cotangents; thresholds relative to each largest value.

    Returns
    -------
    x, tau, ct, kept
        Matrices, thresholds, cotangents; the mean number of values kept.
    """
    rng = np.random.default_rng(seed)
    x, ct = (normal(shape.lengths, shape.dtype, rng) for _ in range(2))
    s = np.linalg.svd(x, compute_uv=False)
    tau = (threshold * s[..., 0]).astype(x.real.dtype)
    return x, tau, ct, float(np.mean(np.sum(s > tau[..., None], axis=-1)))


def exact(x: Array, tau: Array, ct: Array) -> Array:
    """The gradient in double precision, by the singular value decomposition."""
    import svdinv.numpy

    double = np.complex128 if x.dtype.kind == "c" else np.float64
    _, pullback = svdinv.numpy.vjp(
        svdinv.numpy.svt, x.astype(double), tau.astype(np.float64), driver="svd"
    )
    result: Array = pullback(ct.astype(double))[0]
    return result


def measure(
    shapes: Sequence[Shape],
    frameworks: Sequence[str],
    modes: Sequence[str],
    *,
    device: str = "cpu",
    threshold: float = 0.12,
    driver: str = "auto",
    repeat: int = 9,
    seed: int = 0,
    implementations: Mapping[str, Implementation] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Measured]:
    """Time every shape in every framework and mode.

    Parameters
    ----------
    threshold
        Fraction of each matrix's largest singular value.
    driver
        Of svdinv's side.
    repeat
        Timed rounds, after two that are not counted.
    implementations
        Further sides by name, timed with the frameworks' own ones.
    progress
        Called before each shape with the number done, the number in all, and a description.

    Returns
    -------
    list of Measured
        In the order of shapes, frameworks, modes; modes that a framework does not have are left
        out, and what is not there has its reason.
    """
    asked = [
        (shape, name, mode)
        for shape in shapes
        for name in frameworks
        for mode in modes
        if mode in FRAMEWORKS[name].modes
    ]
    results = []
    for done, (shape, name, mode) in enumerate(asked):
        if progress is not None:
            progress(done, len(asked), f"{shape}, {name} {mode}")
        measured = Measured(shape, name, mode, device)
        results.append(measured)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                bridge = load(name, device)
                x, tau, ct, measured.kept = problem(shape, threshold, seed)
                steps = steps_of(bridge, mode, x, tau, ct, device, driver)
                for other, implementation in (implementations or {}).items():
                    steps[other] = of_implementation(implementation, x, tau, ct, device)
                got, wanted = bridge.numpy(steps["svdinv"]()[1]), exact(x, tau, ct)
                measured.error = float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
                measured.sides = time_in_turn(steps, repeat)
            except UnavailableError as reason:
                measured.reason = str(reason)
            except Exception as error:  # a framework that cannot is a row, not the end
                measured.reason = f"{type(error).__name__}: {first_line(error)}"
    return results


def time_in_turn(steps: Mapping[str, Step], repeat: int) -> dict[str, Timing]:
    """Time the steps in turn, `repeat` rounds."""
    numbers, memory = {}, {}
    for name, step in steps.items():
        step()
        begin = time.perf_counter()
        step()
        numbers[name] = max(1, int(SHORTEST / max(time.perf_counter() - begin, 1e-9)))
        memory[name] = peak_memory(step)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeat):
        for name, step in steps.items():
            begin = time.perf_counter()
            for _ in range(numbers[name]):
                step()
            seconds[name].append((time.perf_counter() - begin) / numbers[name])
    return {name: _timing(seconds[name], memory[name]) for name in steps}


def _timing(seconds: Sequence[float], memory: int | None) -> Timing:
    low, middle, high = (
        statistics.quantiles(seconds, n=4, method="inclusive")
        if len(seconds) > 1
        else (seconds[0],) * 3
    )
    return Timing(middle, low, high, memory)


def peak_memory(step: Step) -> int | None:
    """Bytes by which the process is larger at its peak during a step (Linux)."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def read(key: str) -> int:
        (line,) = (
            row for row in status.read_text(encoding="ascii").splitlines() if row.startswith(key)
        )
        return int(line.split()[1]) * 1024

    gc.collect(1)  # what was left by the step before; all objects would take half a second
    try:
        reset.write_text("5", encoding="ascii")  # forget the highest so far
        before = read("VmRSS")
        step()
        return max(read("VmHWM") - before, 0)
    except (OSError, ValueError):
        return None

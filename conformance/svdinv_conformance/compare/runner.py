"""Compute every requested gradient, and compare them.

:func:`compare` turns a :class:`Plan` into a :class:`Comparison`: one :class:`Row` for each input,
loss, method, framework, type and device, and one for each framework or device that is missing.
Nothing here prints; :mod:`.report` does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import norms, relative_difference
from ..frameworks import FRAMEWORKS, Bridge, UnavailableError, first_line
from ..inputs import Input, normal
from ..reference import decompose
from .agreement import judge, undefined
from .methods import EXACT, Asked, Problem, gradient, implement, methods_for

if TYPE_CHECKING:
    from ..suite.evidence import Evidence

__all__ = ["Comparison", "Group", "Plan", "Progress", "Row", "compare", "threshold"]

Array = NDArray[Any]
Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what comes next."""

TIME_LIMIT = 1.0
"""Repetitions for timing stop after this many seconds."""

_LEAST = 1e-3
"""A gradient smaller than this fraction of its cotangent W is not used as a scale."""


@dataclass(frozen=True)
class Plan:
    """What to compare."""

    inputs: Sequence[Input]
    """The matrices."""
    losses: Sequence[str]
    methods: Sequence[str]
    frameworks: Sequence[str]
    dtypes: Sequence[str]
    devices: Sequence[str]
    """Names; methods that do not apply to a loss are left out for it."""
    tau: float = 0.025
    """Threshold of ``soft`` and ``hard``."""
    relative: bool = True
    """Whether ``tau`` is a fraction of each matrix's largest value (of a zero matrix: itself)."""
    repeat: int = 5
    """Most timed repetitions of each gradient."""
    seed: int = 0
    """Seed of the cotangent W."""


@dataclass
class Row:
    """One line of the table."""

    framework: str
    device: str
    method: str = ""
    dtype: str = ""
    """What was computed, and by which framework. Method and dtype are empty for a framework or a
    device that is missing."""
    status: str = "computed"
    """``"computed"``, ``"unavailable"`` (the reason is in ``note``) or ``"failed"`` (the call
    raised; the message is in ``note``)."""
    note: str = ""
    """Reason or message."""
    error: float | None = None
    """Largest relative error over the matrices against the exact gradient; None where that is
    undefined or an entry is not finite."""
    tau_error: float | None = None
    """The same for the gradient in the threshold."""
    undefined: str = ""
    """Why there is no exact gradient, for at least one of the matrices."""
    agreement: float | None = None
    """Largest relative difference to any other framework or device, with the same method and
    type, over the judged matrices (over all if none is judged); None if there is no other, or
    if an entry is not finite."""
    tolerance: float | None = None
    """The tolerance for the agreement, the largest over the judged matrices; None if not judged."""
    excuse: str = ""
    """Why at least one matrix is not judged."""
    judged_matrices: int = 0
    matrices: int = 0
    """How many of the matrices are judged, and how many there are."""
    nonfinite: int = 0
    entries: int = 0
    """Non-finite entries of the gradient, and all entries."""
    milliseconds: float | None = None
    """Median time of forward and backward, without the first call."""
    faults: list[str] = field(default_factory=list)
    """What is wrong, in words; empty if nothing is."""
    gradient: Array | None = field(default=None, repr=False)
    tau_gradient: Array | None = field(default=None, repr=False)
    """The gradient itself, in the matrices and in the threshold."""
    compared: bool = False
    """Whether there is another framework or device to agree with."""

    @property
    def judged(self) -> bool:
        """Whether the result is judged."""
        return self.judged_matrices > 0

    @property
    def who(self) -> str:
        """Framework, and the device if it is not the CPU."""
        return self.framework if self.device == "cpu" else f"{self.framework} ({self.device})"


@dataclass
class Group:
    """The rows of one input and loss, with the exact gradients they are measured against."""

    input: Input
    loss: str
    """What was differentiated."""
    problems: dict[str, Problem] = field(default_factory=dict)
    """What was asked in each type, with its exact gradient."""
    rows: list[Row] = field(default_factory=list)
    """The results."""


@dataclass
class Comparison:
    """All results of a comparison."""

    plan: Plan
    """What was asked for."""
    groups: list[Group] = field(default_factory=list)
    """The results, by input and loss."""
    missing: list[Row] = field(default_factory=list)
    """Frameworks and devices that are not there."""
    versions: dict[str, str] = field(default_factory=dict)
    """Version of each framework that is."""
    execution: dict[str, str] = field(default_factory=dict)
    """How each framework ran ("eager", "compiled")."""
    evidence: list[Evidence] = field(default_factory=list)
    """If a GPU was requested but is missing: evidence without one
    (:func:`.suite.evidence.gather`)."""

    @property
    def rows(self) -> list[Row]:
        """All rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    @property
    def agrees(self) -> bool:
        """Whether no judged result is at fault."""
        return not any(row.faults for row in self.rows)


def threshold(plan: Plan, singular_values: Array, dtype: str) -> Array:
    """Compute the threshold of each matrix, in the real type that goes with ``dtype``."""
    real = np.dtype(dtype).type(0).real.dtype
    largest = singular_values[..., 0]
    scale = np.where(largest > 0, largest, 1) if plan.relative else np.ones_like(largest)
    return np.asarray(plan.tau * scale).astype(real)


def compare(
    plan: Plan,
    frameworks: Mapping[str, Bridge] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compute and compare all gradients of a plan.

    Parameters
    ----------
    plan
        What to compare.
    frameworks
        The frameworks by name; by default one of each that :data:`~.frameworks.FRAMEWORKS` names.
    progress
        Called before each step.

    Returns
    -------
    Comparison
        A framework, device or method that is missing or raises is a row that says so.
    """
    result = Comparison(plan)
    methods = {loss: [m for m in methods_for(loss) if m in plan.methods] for loss in plan.losses}
    total = len(plan.inputs) * len(plan.dtypes) * sum(map(len, methods.values()))
    tell = progress or (lambda done, total, text: None)
    tell(0, total, "loading the frameworks")
    asked = list(_present(result, frameworks or {n: FRAMEWORKS[n]() for n in plan.frameworks}))
    total *= len(asked)
    done = 0

    @cache  # what is compiled for a loss is compiled once
    def made(framework: Bridge, method: str, loss: str) -> Asked:
        return implement(framework, method)

    for given in plan.inputs:
        decomposed = cache(lambda dtype, x=given: decompose(x.matrices(dtype)))
        for loss in plan.losses:
            group = Group(given, loss)
            result.groups.append(group)
            for dtype in plan.dtypes:
                x = given.matrices(dtype)
                if x is None:
                    fits_not = "the input is complex" if given.real is None else (
                        "the input overflows this type"
                    )  # fmt: skip
                    group.rows += [
                        Row(f.name, device, dtype=dtype, status="unavailable", note=fits_not)
                        for f, device in asked
                    ]
                    done += len(methods[loss]) * len(asked)
                    continue
                tell(done, total, f"{given.name}: exact gradient, {dtype}")
                factors = decomposed(dtype)
                problem = group.problems[dtype] = Problem(
                    loss,
                    x,
                    normal(x.shape, dtype, plan.seed),
                    threshold(plan, factors.S, dtype),
                    factors,
                )
                for method in methods[loss]:
                    rows = []
                    for framework, device in asked:
                        row = Row(framework.name, device, method, dtype)
                        tell(done, total, f"{given.name}, {loss}: {method}, {row.who} {dtype}")
                        implementation = partial(made, framework, method, loss)
                        _measure(row, framework, implementation, problem, plan)
                        rows.append(row)
                        done += 1
                    _assess(problem, method, dtype, rows)
                    group.rows += rows
    tell(done, total, "done")
    return result


def _present(result: Comparison, frameworks: Mapping[str, Bridge]) -> Iterator[tuple[Bridge, str]]:
    """Load the frameworks, and give those that are there, on every device that they have."""
    for name in result.plan.frameworks:
        framework = frameworks[name]
        for device in result.plan.devices:
            try:
                framework.load()
                result.versions[name] = framework.version()
                result.execution[name] = framework.execution
                framework.check_device(device)
            except UnavailableError as error:
                result.missing.append(Row(name, device, status="unavailable", note=str(error)))
            else:
                yield framework, device


def _measure(
    row: Row,
    framework: Bridge,
    implementation: Callable[[], Asked],
    problem: Problem,
    plan: Plan,
) -> None:
    """Compute one gradient and time it."""
    row.entries = int(problem.x.size)
    row.matrices = int(np.prod(problem.x.shape[:-2]))
    times: list[float] = []
    try:
        run = gradient(implementation(), problem, row.device)
        in_x, in_tau = run()
        start = time.perf_counter()
        while len(times) < plan.repeat and time.perf_counter() - start < TIME_LIMIT:
            before = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - before))
        found = framework.numpy(in_x)
        if found.shape != problem.x.shape or found.dtype != problem.x.dtype:
            raise TypeError(
                f"the gradient is {found.dtype} {found.shape}, "
                f"the matrices are {problem.x.dtype} {problem.x.shape}"
            )
        row.gradient = found
        row.nonfinite = int(np.sum(~np.isfinite(found)))
        row.tau_gradient = None if in_tau is None else framework.numpy(in_tau)
    except UnavailableError as error:
        row.status, row.note = "unavailable", str(error)
    except Exception as error:  # any error of a framework belongs in its row
        row.status, row.note = "failed", f"{type(error).__name__}: {first_line(error)}"
    else:
        row.milliseconds = statistics.median(times) if times else None


def _largest(values: Array) -> float | None:
    """Give the largest entry, or None if one is NaN or there is none."""
    return float(np.max(values)) if values.size and not np.isnan(values).any() else None


class _Wide(NamedTuple):
    """A gradient in extended precision, matrix by matrix: in x, and in tau or zero."""

    x: Array
    tau: Array

    def difference(self, other: _Wide, x_scale: Array, tau_scale: Array) -> tuple[Array, Array]:
        """Relative differences of both parts."""
        return (
            relative_difference(self.x, other.x, x_scale),
            np.abs(self.tau - other.tau) / tau_scale,
        )


def _assess(problem: Problem, method: str, dtype: str, rows: list[Row]) -> None:
    """Compare one method's results with the exact gradient and with each other."""
    loss, shape, taus = problem.loss, problem.x.shape, problem.tau.reshape(-1)
    real, wide = np.longdouble, np.result_type(dtype, np.longdouble)
    values = problem.factors.S.reshape(-1, min(shape[-2:]))

    def widened(x: Array, tau: Array | None) -> _Wide:
        no_tau = np.zeros(taus.shape, real)
        tau = no_tau if tau is None else np.asarray(tau).astype(real).reshape(-1)
        return _Wide(x.astype(wide).reshape(-1, *shape[-2:]), tau)

    each = [(s, float(t), dtype, shape) for s, t in zip(values, taus, strict=True)]
    verdicts = [judge(method, loss, *question) for question in each]
    gaps = [undefined(loss, *question) for question in each]
    judged = np.array([v.judged for v in verdicts])
    allowed = np.array([v.tolerance for v in verdicts])
    tau_allowed = np.array([v.tau_tolerance for v in verdicts])
    exact = widened(problem.exact.x, problem.exact.tau)
    least = _LEAST * norms(widened(problem.weights, None).x)
    # the exact gradient in tau is a sum of one term of order 1 for each value kept
    tau_scale = np.sqrt(np.maximum(np.sum(values > taus[:, None], axis=-1), 1))
    found: dict[int, _Wide] = {}
    for row in rows:
        row.undefined = next((g for g in gaps if g), "")
        row.excuse = next((v.excuse for v in verdicts if v.excuse), "")
        if row.status == "unavailable":
            continue
        row.judged_matrices = int(judged.sum())
        if row.gradient is None:
            row.faults += ["raised an error"] if judged.any() else []
            continue
        row.tolerance = max((v.tolerance for v in verdicts if v.judged), default=None)
        found[id(row)] = here = widened(row.gradient, row.tau_gradient)
        if (judged & ~np.isfinite(here.x).all(axis=(-2, -1))).any():
            row.faults.append("non-finite")
        in_x, in_tau = here.difference(exact, np.maximum(norms(exact.x), least), tau_scale)
        if not row.undefined:
            row.error = _largest(in_x)
            row.tau_error = None if row.tau_gradient is None else _largest(in_tau)
        if method == EXACT.get(loss) and ((in_x > allowed) | (in_tau > tau_allowed)).any():
            row.faults.append("differs from the exact gradient")

    computed = [row for row in rows if id(row) in found]
    for row in computed:
        worst: list[float | None] = []
        for other in computed:
            if other is row:
                continue
            row.compared = True
            a, b = found[id(row)], found[id(other)]
            scale = np.maximum(np.maximum(norms(a.x), norms(b.x)), least)
            in_x, in_tau = a.difference(b, scale, tau_scale)
            both = np.maximum(in_x, in_tau)
            worst.append(_largest(both[judged] if judged.any() else both))
            if ((in_x > allowed) | (in_tau > tau_allowed)).any():
                row.faults.append(f"disagrees with {other.who}")
        if worst and None not in worst:
            row.agreement = max(worst)  # type: ignore[type-var]

"""Compute every gradient that was asked for, and tell how they compare.

:func:`compare` turns a :class:`Plan` into a :class:`Comparison`: one :class:`Row` for each input,
loss, method, framework, type and device, and one for each framework or device that is not there.
Nothing here prints, and the words are in :mod:`.words`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import norms, relative_difference
from ..frameworks import FRAMEWORKS, Bridge, UnavailableError, first_line
from ..inputs import Input, normal
from ..reference import ExactGradient, Factors, decompose, exact_gradient
from .agreement import Judgement, judge, undefined
from .methods import EXACT, THRESHOLDED, Asked, Problem, gradient, implement, methods_for

if TYPE_CHECKING:
    from ..suite.evidence import Evidence

__all__ = ["Comparison", "Group", "Plan", "Progress", "Row", "compare", "threshold"]

Array = NDArray[Any]
Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what comes next."""

TIME_LIMIT = 1.0
"""Repetitions for timing stop after this many seconds."""

_LEAST = 1e-3
"""A gradient smaller than this share of its cotangent W is not used as a scale."""


@dataclass(frozen=True)
class Plan:
    """What to compare.

    Attributes
    ----------
    inputs
        The matrices.
    losses, methods, frameworks, dtypes, devices
        Names; methods that do not apply to a loss are left out for it.
    tau
        Threshold of ``soft`` and ``hard``.
    relative
        Whether ``tau`` is a fraction of each matrix's largest value (of a zero matrix: itself).
    repeat
        Most timed repetitions of each gradient.
    seed
        Seed of the cotangent W.
    """

    inputs: Sequence[Input]
    losses: Sequence[str]
    methods: Sequence[str]
    frameworks: Sequence[str]
    dtypes: Sequence[str]
    devices: Sequence[str]
    tau: float = 0.025
    relative: bool = True
    repeat: int = 5
    seed: int = 0


@dataclass
class Row:
    """One line of the table.

    Attributes
    ----------
    framework, device, method, dtype
        What was computed, and by whom; method and dtype are empty for a framework or a device
        that is missing altogether.
    status
        ``"computed"``, ``"unavailable"`` (the reason is in ``note``) or ``"failed"`` (the call
        raised; the message is in ``note``).
    note
        Reason or message.
    error
        Largest relative error over the matrices against the exact gradient; None where that is
        undefined or an entry is not finite.
    tau_error
        The same for the gradient in the threshold.
    undefined
        Why there is no exact gradient, for at least one of the matrices.
    agreement
        Largest relative difference to any other framework or device, with the same method and
        type, over the judged matrices (over all if none is judged); None if there is no other, or
        if an entry is not finite.
    tolerance
        What the agreement is held to (the largest over the judged matrices); None if not judged.
    excuse
        Why at least one matrix is not judged.
    judged_matrices, matrices
        How many of the matrices are judged, and how many there are.
    nonfinite, entries
        Non-finite entries of the gradient, and all entries.
    milliseconds
        Median time of forward and backward, without the first call.
    faults
        What is wrong, in words; empty if nothing is.
    gradient, tau_gradient
        The gradient itself, in the matrices and in the threshold.
    compared
        Whether there is another framework or device to agree with.
    """

    framework: str
    device: str
    method: str = ""
    dtype: str = ""
    status: str = "computed"
    note: str = ""
    error: float | None = None
    tau_error: float | None = None
    undefined: str = ""
    agreement: float | None = None
    tolerance: float | None = None
    excuse: str = ""
    judged_matrices: int = 0
    matrices: int = 0
    nonfinite: int = 0
    entries: int = 0
    milliseconds: float | None = None
    faults: list[str] = field(default_factory=list)
    gradient: Array | None = field(default=None, repr=False)
    tau_gradient: Array | None = field(default=None, repr=False)
    compared: bool = False

    @property
    def judged(self) -> bool:
        """Whether the result is held to anything."""
        return self.judged_matrices > 0

    @property
    def who(self) -> str:
        """Framework, and the device if it is not the CPU."""
        return self.framework if self.device == "cpu" else f"{self.framework} ({self.device})"


@dataclass
class Group:
    """The rows of one input and loss, with the exact gradients they are measured against.

    Attributes
    ----------
    input, loss
        What was differentiated.
    tau
        Thresholds by type; empty for losses without one.
    exact
        Exact gradient by type.
    singular_values
        Exact singular values by type.
    extended
        Whether the exact gradient has extended-precision factors.
    rows
        The results.
    """

    input: Input
    loss: str
    tau: dict[str, Array] = field(default_factory=dict)
    exact: dict[str, ExactGradient] = field(default_factory=dict)
    singular_values: dict[str, Array] = field(default_factory=dict)
    extended: bool = True
    rows: list[Row] = field(default_factory=list)


@dataclass
class Comparison:
    """Everything that was found out.

    Attributes
    ----------
    plan
        What was asked for.
    groups
        The results, by input and loss.
    missing
        Frameworks and devices that are not there.
    versions
        Version of each framework that is.
    execution
        How each framework ran ("eager", "compiled").
    evidence
        On a machine without a GPU that was asked for: what speaks for one
        (:func:`.suite.evidence.gather`).
    """

    plan: Plan
    groups: list[Group] = field(default_factory=list)
    missing: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    execution: dict[str, str] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)

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
    if frameworks is None:
        frameworks = {name: FRAMEWORKS[name]() for name in plan.frameworks}
    result = Comparison(plan)
    steps = [
        (given, loss, dtype, method)
        for given in plan.inputs
        for loss in plan.losses
        for dtype in plan.dtypes
        for method in methods_for(loss)
        if method in plan.methods
    ]
    total = len(steps) * len(plan.frameworks) * len(plan.devices)
    done = 0

    def tell(text: str) -> None:
        if progress is not None:
            progress(done, total, text)

    present: list[tuple[Bridge, str]] = []
    for name in plan.frameworks:
        framework = frameworks[name]
        tell(f"loading {name}")
        try:
            framework.load()
        except UnavailableError as error:
            result.missing += [
                Row(name, d, status="unavailable", note=str(error)) for d in plan.devices
            ]
            continue
        result.versions[name] = framework.version()
        result.execution[name] = framework.execution
        for device in plan.devices:
            try:
                framework.check_device(device)
            except UnavailableError as error:
                result.missing.append(Row(name, device, status="unavailable", note=str(error)))
            else:
                present.append((framework, device))
    total = len(steps) * len(present)

    @cache  # what is compiled for a loss is compiled once
    def made(framework: Bridge, method: str, loss: str) -> Asked:
        return implement(framework, method)

    for given in plan.inputs:
        factors: dict[str, Factors] = {}
        for loss in plan.losses:
            group = Group(given, loss)
            result.groups.append(group)
            for dtype in plan.dtypes:
                methods = [m for m in methods_for(loss) if m in plan.methods]
                x = given.matrices(dtype)
                if x is None:
                    group.rows += [
                        Row(f.name, device, dtype=dtype, status="unavailable", note=_unfit(given))
                        for f, device in present
                    ]
                    done += len(methods) * len(present)
                    continue
                if dtype not in factors:
                    tell(f"{given.name}: exact gradient, {dtype}")
                    factors[dtype] = decompose(x)
                problem = _pose(plan, group, dtype, x, factors[dtype])
                for method in methods:
                    rows = []
                    for framework, device in present:
                        tell(f"{given.name}, {loss}: {method}, {framework.name} {dtype} {device}")
                        rows.append(
                            _measure(made, framework, problem, method, dtype, device, plan.repeat)
                        )
                        done += 1
                    _assess(group, problem, method, dtype, rows)
                    group.rows += rows
    tell("done")
    return result


def _unfit(given: Input) -> str:
    if given.real is None:
        return "the input is complex"
    return "the input overflows this type"


def _pose(plan: Plan, group: Group, dtype: str, x: Array, factors: Factors) -> Problem:
    """Set up what is to be differentiated, and differentiate it exactly."""
    tau = threshold(plan, factors.S, dtype)
    problem = Problem(group.loss, x, normal(x.shape, dtype, plan.seed), tau)
    group.extended = factors.extended
    group.singular_values[dtype] = factors.S
    group.exact[dtype] = exact_gradient(group.loss, factors, problem.weights, tau)
    if group.loss in THRESHOLDED:
        group.tau[dtype] = tau
    return problem


def _measure(
    made: Callable[[Bridge, str, str], Asked],
    framework: Bridge,
    problem: Problem,
    method: str,
    dtype: str,
    device: str,
    repeat: int,
) -> Row:
    """Compute one gradient and time it."""
    row = Row(framework.name, device, method, dtype)
    row.entries = int(problem.x.size)
    row.matrices = int(np.prod(problem.x.shape[:-2]))
    try:
        run = gradient(made(framework, method, problem.loss), problem, device)
        first = run()
        times: list[float] = []
        start = time.perf_counter()
        while len(times) < repeat and time.perf_counter() - start < TIME_LIMIT:
            before = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - before))
        _store(row, framework, first, problem)
    except UnavailableError as error:
        row.status, row.note = "unavailable", str(error)
    except Exception as error:  # whatever a framework raises belongs into its row
        row.status, row.note = "failed", f"{type(error).__name__}: {first_line(error)}"
    else:
        row.milliseconds = statistics.median(times) if times else None
    return row


def _store(row: Row, framework: Bridge, result: tuple[Any, Any], problem: Problem) -> None:
    in_x, in_tau = result
    found = framework.numpy(in_x)
    if found.shape != problem.x.shape or found.dtype != problem.x.dtype:
        raise TypeError(
            f"the gradient is {found.dtype} {found.shape}, "
            f"the matrices are {problem.x.dtype} {problem.x.shape}"
        )
    row.gradient = found
    row.nonfinite = int(np.sum(~np.isfinite(found)))
    if in_tau is not None:
        row.tau_gradient = framework.numpy(in_tau)


def _largest(values: Array) -> float | None:
    """Give the largest entry, or None if one is NaN or there is none."""
    return float(np.max(values)) if values.size and not np.isnan(values).any() else None


def _assess(group: Group, problem: Problem, method: str, dtype: str, rows: list[Row]) -> None:
    """Compare one method's results with the exact gradient and with each other."""
    loss, exact = group.loss, group.exact[dtype]
    k = min(problem.x.shape[-2:])
    values = group.singular_values[dtype].reshape(-1, k)
    taus = problem.tau.reshape(-1)
    shape = problem.x.shape
    verdicts = [
        judge(method, loss, s, float(t), dtype, shape) for s, t in zip(values, taus, strict=True)
    ]
    gaps = [undefined(loss, s, float(t), dtype, shape) for s, t in zip(values, taus, strict=True)]
    judged = np.array([v.judged for v in verdicts])

    wide = np.clongdouble if np.dtype(dtype).kind == "c" else np.longdouble
    exact_x = exact.x.reshape(-1, *shape[-2:])
    least = _LEAST * norms(problem.weights.reshape(exact_x.shape))
    # the exact gradient in tau is a sum of one term of order 1 for each value kept
    kept = np.sum(values > taus[:, None], axis=-1)
    tau_scale = np.sqrt(np.maximum(kept, 1))

    computed = [row for row in rows if row.gradient is not None]
    grads: dict[int, Array] = {}
    tau_grads: dict[int, Array] = {}
    for row in rows:
        row.undefined = next((g for g in gaps if g), "")
        row.excuse = next((v.excuse for v in verdicts if v.excuse), "")
        if row.gradient is None:
            if row.status == "failed" and judged.any():
                row.judged_matrices = int(judged.sum())
                row.faults.append("raised an error")
            continue
        row.judged_matrices = int(judged.sum())
        row.tolerance = max((v.tolerance for v in verdicts if v.judged), default=None)
        grads[id(row)] = row.gradient.astype(wide).reshape(exact_x.shape)
        if row.tau_gradient is not None:
            tau_grads[id(row)] = row.tau_gradient.astype(np.longdouble).reshape(-1)
        bad = ~np.isfinite(grads[id(row)]).all(axis=(-2, -1))
        if (bad & judged).any():
            row.faults.append("non-finite")

    for row in computed:
        error = relative_difference(grads[id(row)], exact_x, np.maximum(norms(exact_x), least))
        defined = np.array([g is None for g in gaps])
        if defined.all():
            row.error = _largest(error)
        tau_error = None
        if exact.tau is not None and id(row) in tau_grads:
            tau_error = np.abs(tau_grads[id(row)] - exact.tau.reshape(-1)) / tau_scale
            if defined.all():
                row.tau_error = _largest(tau_error)
        if method == EXACT.get(loss) and _beyond(error, tau_error, verdicts):
            row.faults.append("differs from the exact gradient")

    agreements: dict[int, list[float | None]] = {id(row): [] for row in computed}
    for row in computed:
        for other in computed:
            if other is row:
                continue
            row.compared = True
            a, b = grads[id(row)], grads[id(other)]
            scale = np.maximum(np.maximum(norms(a), norms(b)), least)
            difference = relative_difference(a, b, scale)
            tau_difference = None
            if id(row) in tau_grads and id(other) in tau_grads:
                tau_difference = np.abs(tau_grads[id(row)] - tau_grads[id(other)]) / tau_scale
            both = difference if tau_difference is None else np.maximum(difference, tau_difference)
            worst = _largest(both[judged] if judged.any() else both)
            agreements[id(row)].append(worst)
            if _beyond(difference, tau_difference, verdicts):
                row.faults.append(f"disagrees with {other.who}")
        finite = [a for a in agreements[id(row)] if a is not None]
        if finite and len(finite) == len(agreements[id(row)]):
            row.agreement = max(finite)


def _beyond(difference: Array, tau_difference: Array | None, verdicts: list[Judgement]) -> bool:
    """Say whether a difference exceeds its tolerance for a judged matrix."""
    tolerance = np.array([v.tolerance for v in verdicts])
    beyond = difference > tolerance
    if tau_difference is not None:
        beyond |= tau_difference > np.array([v.tau_tolerance for v in verdicts])
    return bool(beyond.any())

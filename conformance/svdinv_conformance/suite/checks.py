"""The checks: plain functions of an implementation and a case.

Each returns its error as a fraction of the tolerance (0 to 1; NaN if the answer only had to be
finite). It raises :class:`CheckFailed` if the error is larger, and
:class:`~.implementation.NotApplicable` if it does not apply to the implementation or the case.
Errors are relative, in the Frobenius norm, for each matrix of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import norms, relative_difference
from .case import Case, Observable
from .implementation import Arrays, Implementation, NotApplicable

__all__ = [
    "CHECKS",
    "CheckFailed",
    "check_adjoint",
    "check_finite",
    "check_gauge",
    "check_hvp",
    "check_inputs_unchanged",
    "check_jvp",
    "check_placement",
    "check_spoilt_batch",
    "check_value",
    "check_vjp",
    "checks_for",
]

Array = NDArray[Any]

FLOOR = 0.1
"""An error is relative to at least this fraction of the natural size."""

SAYS_SO = re.compile(r"singular vectors|gauge|ill[- ]defined", re.IGNORECASE)
"""Words of which an error about a gauge-dependent loss contains one."""


class CheckFailed(AssertionError):  # noqa: N818 - read as a sentence
    """An implementation is wrong; the message says how far off and where."""

    def __init__(self, message: str, used: float = np.inf) -> None:
        super().__init__(message)
        self.used = used


class _Answers:
    """The answers of one implementation to one case, each computed once."""

    def __init__(self, implementation: Implementation, case: Case, device: str) -> None:
        self.implementation, self.case = implementation, case

        def own(arrays: Mapping[str, Array]) -> Arrays:
            return tuple(implementation.array(x, device) for x in arrays.values())

        self.inputs = own(case.inputs)
        self.tangents = own(case.direction)
        self.cotangents = own(case.cotangent)
        self.of = cache(self._of)

    def _of(self, quantity: str) -> Arrays:
        """``"value"``, ``"vjp"``, ``"jvp"`` or ``"hvp"``."""
        given: dict[str, tuple[Arrays, ...]] = {
            "value": (),
            "vjp": (self.cotangents,),
            "jvp": (self.tangents,),
            "hvp": (self.cotangents, self.tangents),
        }
        ask: Callable[..., Arrays] = getattr(self.implementation, quantity)
        return ask(self.case.observable, self.inputs, *given[quantity])

    def first_order(self) -> dict[str, Arrays]:
        """What is asked of the first order, as far as there is an answer."""
        found = {}
        for quantity in ("value", "vjp", "jvp") if self.case.direction else ("value", "vjp"):
            with suppress(NotApplicable):
                found[quantity] = self.of(quantity)
        if not found:
            raise NotApplicable("nothing to ask")
        return found


@lru_cache(maxsize=1)
def _ask(implementation: Implementation, case: Case, device: str) -> _Answers:
    """The answers to a case, kept for the next checks of the same case."""
    return _Answers(implementation, case, device)


# --- measuring -----------------------------------------------------------------------------------


def relative_error(got: Array, reference: Array, scale: float, batch: int) -> float:
    """Largest relative error over the matrices of a batch; inf if an entry is not finite.

    Parameters
    ----------
    got, reference
        Arrays of one shape; the first ``batch`` axes count matrices.
    scale
        Natural size of the quantity; a tenth of it is the smallest divisor.
    batch
        Number of leading axes.
    """
    if not np.isfinite(got).all():
        return np.inf
    axes, wide = reference.ndim - batch, np.result_type(reference, np.longdouble)
    size = np.maximum(norms(reference, axes), FLOOR * scale)
    size = np.where(size > 0, size, 1)
    error = relative_difference(got.astype(wide), reference.astype(wide), size, axes)
    return float(np.max(error, initial=0))


def _compare(
    quantity: str, implementation: Implementation, case: Case, got: Arrays,
    references: Mapping[str, Array], skip: int = 0,
) -> float:  # fmt: skip
    """Compare every array of a quantity with its reference, except the first `skip` matrices."""
    batch = max(case.inputs["a"].ndim - 2, 0)
    allowed = case.tolerances[quantity].relative(case.dtype)
    given = [(n, x) for n, x in zip(references, got, strict=True) if x is not None]
    if not given or (skip and allowed is None):
        raise NotApplicable(f"{case.dtype} cannot resolve the case" if given else f"no {quantity}")
    worst = 0.0
    for name, answer in given:
        array, reference = implementation.numpy(answer), references[name]
        if skip:
            array, reference = array[skip:], reference[skip:]
        if array.shape != reference.shape:
            raise CheckFailed(f"{name}: shape {array.shape}, expected {reference.shape}")
        if allowed is None:
            if not np.isfinite(array).all():
                raise CheckFailed(f"{name}: not finite")
            continue
        leading = batch if reference.ndim >= batch else 0
        error = relative_error(array, reference, case.scale[quantity], leading)
        if not error <= allowed:
            wrong = "not finite" if np.isinf(error) else f"error {error:.1e}"
            where = f"{name}, other matrices" if skip else name
            raise CheckFailed(
                f"{quantity} of {where}: {wrong}, allowed {allowed:.1e}", error / allowed
            )
        worst = max(worst, error / allowed)
    return worst if allowed is not None else np.nan


# --- checks --------------------------------------------------------------------------------------


def _only(case: Case, *expected: str) -> None:
    if case.expected not in expected:
        raise NotApplicable(f"the case is {case.expected}: {case.reason or 'an ordinary one'}")


def _held(quantity: str, what: str) -> Callable[..., float]:
    """The check of one quantity against its reference."""

    def check(implementation: Implementation, case: Case, device: str = "cpu") -> float:
        _only(case, "success")
        references = getattr(case, quantity)
        if not references:
            raise NotApplicable(f"no {quantity} in the case")
        got = _ask(implementation, case, device).of(quantity)
        return _compare(quantity, implementation, case, got, references)

    check.__name__ = check.__qualname__ = f"check_{quantity}"
    check.__doc__ = what
    return check


check_value = _held("value", "The observable has the value of its definition.")
check_vjp = _held("vjp", "Reverse mode gives the gradient, in the matrix and in the threshold.")
check_jvp = _held("jvp", "Forward mode gives the reference tangent.")
check_hvp = _held("hvp", "The derivative of the gradient along the direction is the reference's.")


def check_adjoint(implementation: Implementation, case: Case, device: str = "cpu") -> float:
    """Forward and reverse mode are adjoint: ``<ct, J d> = <J^H ct, d>``."""
    _only(case, "success")
    answers = _ask(implementation, case, device)
    forward, reverse = answers.of("jvp"), answers.of("vjp")
    if any(x is None for x in (*forward, *reverse)):
        raise NotApplicable("a derivative is missing")

    def pair(weights: Mapping[str, Array], arrays: Arrays) -> tuple[Any, Any]:
        """``Re <weights, arrays>``, and the size of its terms."""
        total, size = np.longdouble(0), np.longdouble(0)
        for w, x in zip(weights.values(), arrays, strict=True):
            terms = np.real(np.conj(w.astype(np.clongdouble)) * implementation.numpy(x))
            total, size = total + np.sum(terms), size + np.sum(np.abs(terms))
        return total, size

    (a, size_a), (b, size_b) = pair(case.cotangent, forward), pair(case.direction, reverse)
    allowed = case.tolerances["vjp"].relative(case.dtype)
    if allowed is None:
        raise NotApplicable(f"{case.dtype} cannot resolve the case")
    natural = case.scale["vjp"] * float(norms(case.direction["a"], case.direction["a"].ndim))
    size = max(size_a, size_b, FLOOR * natural)
    error = float(abs(a - b) / size) if size else 0.0
    if not error <= allowed:
        raise CheckFailed(
            f"<ct, jvp> and <vjp, d> differ by {error:.1e}, allowed {allowed:.1e}",
            error / allowed,
        )
    return error / allowed


def _unless_refused(ask: Callable[[], Arrays]) -> Arrays | None:
    """The answer, or None where an error says that the loss has no derivative."""
    try:
        return ask()
    except NotApplicable:
        raise
    except Exception as error:
        if SAYS_SO.search(str(error)):
            return None
        raise


def _gauge_vjp(implementation: Implementation, case: Case, device: str, mode: str) -> Arrays:
    """Gradient of a loss of U and Vh themselves."""
    answers = _ask(implementation, case, device)
    observable = Observable("gauge", {"mode": mode})
    return implementation.vjp(observable, answers.inputs, answers.cotangents)


def check_finite(implementation: Implementation, case: Case, device: str = "cpu") -> float:
    """Where no derivative exists, a finite one is returned, or an error that says so."""
    _only(case, "undefined", "error")
    if case.expected == "undefined":
        got = _unless_refused(lambda: _ask(implementation, case, device).of("vjp"))
    else:
        got = _unless_refused(lambda: _gauge_vjp(implementation, case, device, "ignore"))
    for x in got or ():
        if x is not None and not np.isfinite(implementation.numpy(x)).all():
            raise CheckFailed("the gradient is not finite")
    return 0.0


def check_gauge(implementation: Implementation, case: Case, device: str = "cpu") -> float:
    """An implementation that can refuse a loss of arbitrary singular vectors does so."""
    _only(case, "error")
    if _unless_refused(lambda: _gauge_vjp(implementation, case, device, "raise")) is None:
        return 0.0
    raise CheckFailed("the loss depends on the choice of singular vectors; nothing said so")


def check_inputs_unchanged(
    implementation: Implementation, case: Case, device: str = "cpu"
) -> float:
    """No derivative modifies its inputs or cotangents."""
    _only(case, "success", "undefined")
    answers = _ask(implementation, case, device)
    answers.first_order()
    given = (
        (answers.inputs, case.inputs),
        (answers.tangents, case.direction),
        (answers.cotangents, case.cotangent),
    )
    for arrays, originals in given:
        for array, (name, original) in zip(arrays, originals.items(), strict=True):
            if not np.array_equal(implementation.numpy(array), original):
                raise CheckFailed(f"{name} was modified in place")
    return 0.0


def check_placement(implementation: Implementation, case: Case, device: str = "cpu") -> float:
    """Results have the dtype and the device of the input."""
    _only(case, "success", "undefined")
    answers = _ask(implementation, case, device)
    here = implementation.device(answers.inputs[0])
    wanted = np.dtype(case.dtype)
    of_inputs = {n: wanted if n == "a" else wanted.type(0).real.dtype for n in case.inputs}
    of_outputs = {name: x.dtype for name, x in case.cotangent.items()}
    answered = False
    for quantity, arrays in answers.first_order().items():
        dtypes = of_inputs if quantity == "vjp" else of_outputs
        for x, (name, dtype) in zip(arrays, dtypes.items(), strict=True):
            if x is None:
                continue
            answered = True
            got = implementation.numpy(x).dtype
            if got != dtype:
                raise CheckFailed(f"{quantity} of {name} is {got}, expected {dtype}")
            place = implementation.device(x)
            if place != here:
                raise CheckFailed(f"{quantity} of {name} is on {place}, the input on {here}")
    if not answered:
        raise NotApplicable("nothing to ask")
    return 0.0


def _is_batch(case: Case) -> bool:
    a = case.inputs["a"]
    return a.ndim == 3 and a.size > 0


def check_spoilt_batch(implementation: Implementation, case: Case, device: str = "cpu") -> float:
    """A NaN in one matrix of a batch does not affect the value and gradient of the others."""
    _only(case, "success")
    if not _is_batch(case):
        raise NotApplicable("not a batch")
    spoilt = np.array(case.inputs["a"])
    spoilt[0, 0, 0] = np.nan
    inputs = tuple(
        implementation.array(spoilt if name == "a" else x, device)
        for name, x in case.inputs.items()
    )
    answers = _ask(implementation, case, device)
    return max(
        _compare(quantity, implementation, case, got, references, skip=1)
        for quantity, references, got in (
            ("value", case.value, implementation.value(case.observable, inputs)),
            ("vjp", case.vjp, implementation.vjp(case.observable, inputs, answers.cotangents)),
        )
    )


CHECKS: dict[str, Callable[..., float]] = {
    "value": check_value,
    "vjp": check_vjp,
    "jvp": check_jvp,
    "hvp": check_hvp,
    "adjoint": check_adjoint,
    "finite": check_finite,
    "gauge": check_gauge,
    "unchanged": check_inputs_unchanged,
    "placement": check_placement,
    "spoilt_batch": check_spoilt_batch,
}
"""Every check by the name that a test's id ends with."""


def checks_for(case: Case) -> list[str]:
    """Name the checks that apply to a case."""
    if case.expected == "error":
        return ["finite", "gauge"]
    if case.expected == "undefined":
        return ["finite", "unchanged", "placement"]
    if not case.value:
        return ["vjp"] + ["hvp"] * bool(case.hvp)
    names = ["value", "vjp"] + ["jvp", "adjoint"] * bool(case.direction)
    names += ["unchanged", "placement"]
    return names + ["hvp"] * bool(case.hvp) + ["spoilt_batch"] * _is_batch(case)

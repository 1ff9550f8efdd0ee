"""Defects that were put in on purpose, and the test of the suite that finds each.

An implementation without the defect passes the same test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import svdinv
import svdinv.numpy
from svdinv_conformance.suite import CheckFailed, Test, load_cases, plan
from svdinv_conformance.suite.explicit import ArrayApi, Explicit


def adjoint(x):
    return np.conj(np.swapaxes(x, -1, -2))


def factors(inputs):
    return np.linalg.svd(inputs[0], full_matrices=False)


class Sound(Explicit):
    """svdinv over NumPy."""

    def __init__(self):
        super().__init__(svdinv.numpy, type(self).__name__)


class ZeroedOnTies(Sound):
    """``F`` is set to zero where two values are equal."""

    def _plan(self, observable, inputs):
        fn, args, keywords, step = super()._plan(observable, inputs)
        return fn, args, keywords | {"rule": "tf"}, step


class FromTheRule(Sound):
    """What a linear rule says of products, it says of every loss of the factors."""

    def _plan(self, observable, inputs):
        fn, args, keywords, step = super()._plan(observable, inputs)
        return fn, args, keywords | {"rule": "inv"}, step


class NoPhase(Sound):
    """The diagonal of the ``1/total`` term, the phase of complex vectors, is left out."""

    def vjp(self, observable, inputs, cotangents):
        (ct,) = super().vjp(observable, inputs, cotangents)
        U, _, Vh = factors(inputs)
        P = adjoint(U) @ cotangents[0] @ adjoint(Vh)
        return (ct - 1j * (U * np.imag(np.diagonal(P))) @ Vh,)


class NoConjugate(Sound):
    """The gradient is the conjugate of what it should be."""

    def vjp(self, observable, inputs, cotangents):
        return tuple(map(np.conj, super().vjp(observable, inputs, cotangents)))


class NoTau(Sound):
    """The threshold gets no gradient."""

    def vjp(self, observable, inputs, cotangents):
        ct, tau = super().vjp(observable, inputs, cotangents)
        return ct, np.zeros_like(tau)


class NoComplement(Sound):
    """``(I - U U^H) ct_U / S`` is left out, as if every matrix were square."""

    def vjp(self, observable, inputs, cotangents):
        ct, *rest = super().vjp(observable, inputs, cotangents)
        U, _, _ = factors(inputs)
        return (U @ (adjoint(U) @ ct), *rest)


class WideAsTall(Sound):
    """The complement is taken on the left only, where a wide matrix has none."""

    def vjp(self, observable, inputs, cotangents):
        ct, *rest = super().vjp(observable, inputs, cotangents)
        _, _, Vh = factors(inputs)
        return ((ct @ adjoint(Vh)) @ Vh, *rest)


class AbsoluteTolerance(Sound):
    """A value is zero when it is below 1e-12, whatever the matrix."""

    def vjp(self, observable, inputs, cotangents):
        U, S, Vh = factors(inputs)
        return (cotangents[0] * ((U * (S > 1e-12)) @ Vh),)


class SingleInside(Sound):
    """Double precision is computed in single."""

    def vjp(self, observable, inputs, cotangents):
        narrow = [tuple(x.astype(np.float32) for x in y) for y in (inputs, cotangents)]
        return tuple(x.astype(np.float64) for x in super().vjp(observable, *narrow))


class NotAdjoint(Sound):
    """Forward mode forgets that both factors move."""

    def jvp(self, observable, inputs, tangents):
        (dy,) = super().jvp(observable, inputs, tangents)
        U, _, _ = factors(inputs)
        return (dy - U @ (adjoint(U) @ dy) / 2,)


class SpoiltBatch(Sound):
    """One NaN, and every matrix of the batch is NaN."""

    def vjp(self, observable, inputs, cotangents):
        grads = super().vjp(observable, inputs, cotangents)
        return tuple(g + 0 * np.sum(inputs[0]).real for g in grads)


class InPlace(Sound):
    """The matrix is overwritten, as by LAPACK with ``overwrite_a``."""

    def vjp(self, observable, inputs, cotangents):
        grads = super().vjp(observable, inputs, cotangents)
        inputs[0][...] = factors(inputs)[0] @ np.diag(factors(inputs)[1])
        return grads


class SoundDevice(ArrayApi):
    """svdinv over array-api-strict."""

    def __init__(self):
        super().__init__(svdinv, type(self).__name__)


class WrongDevice(SoundDevice):
    """A gradient that was made on the default device."""

    def vjp(self, observable, inputs, cotangents):
        grads = super().vjp(observable, inputs, cotangents)
        return tuple(g.to_device(self.xp.Device("CPU_DEVICE")) for g in grads)


@dataclass(frozen=True)
class Planted:
    defect: type
    test: str
    says: str
    device: str = "cpu"


DEFECTS = [
    Planted(ZeroedOnTies, "reconstruction/square/tied/real::float64::vjp", "vjp of a: error"),
    Planted(FromTheRule, "factors/square/triple/real/left::float64::vjp", "vjp of a: error"),
    Planted(FromTheRule, "factors/tall/all-equal/complex/sum::complex128::vjp", "vjp of a: error"),
    Planted(ZeroedOnTies, "factors/wide/tied/real/unitary::float64::vjp", "vjp of a: error"),
    Planted(NoPhase, "reconstruction/square/distinct/complex::complex128::vjp", "vjp of a: error"),
    Planted(NoConjugate, "soft/square/distinct/complex::complex128::vjp", "vjp of a: error"),
    Planted(NoTau, "soft/square/tied/real::float64::vjp", "vjp of tau: error"),
    Planted(NoComplement, "soft/tall/distinct/real::float64::vjp", "vjp of a: error"),
    Planted(WideAsTall, "soft/wide/distinct/real::float64::vjp", "vjp of a: error"),
    Planted(AbsoluteTolerance, "nuclear/square/scaled-1e-30/real::float64::vjp", "vjp of a: error"),
    Planted(SingleInside, "smooth/square/distinct/real::float64::vjp", "vjp of a: error"),
    Planted(
        NotAdjoint, "soft/square/tied/real::float64::adjoint", "<ct, jvp> and <vjp, d> differ by"
    ),
    Planted(SpoiltBatch, "soft/batch/mixed/real::float64::spoilt_batch", "not finite"),
    Planted(InPlace, "soft/square/distinct/real::float64::unchanged", "a was modified in place"),
    Planted(
        WrongDevice,
        "soft/square/distinct/real::float64::placement",
        "vjp of a is on cpu, the input on device1",
        "device1",
    ),
]


@pytest.fixture(scope="module")
def tests() -> dict[str, Test]:
    return {test.id: test for test in plan(load_cases(["float64", "complex128"]))}


@pytest.mark.parametrize("planted", DEFECTS, ids=lambda p: p.defect.__name__)
def test_a_planted_defect_is_caught(tests: dict[str, Test], planted: Planted) -> None:
    test = tests[planted.test]
    sound = SoundDevice() if issubclass(planted.defect, SoundDevice) else Sound()
    assert test.run(sound, planted.device) <= 1
    with pytest.raises(CheckFailed) as caught:
        test.run(planted.defect(), planted.device)
    assert planted.says in str(caught.value)
    if caught.value.used != np.inf:
        assert caught.value.used > 1e3  # nothing that a little more tolerance would hide


def test_the_absolute_tolerance_is_found_by_the_scale_alone(tests: dict[str, Test]) -> None:
    test = tests["nuclear/square/tied/real::float64::vjp"]
    assert test.run(AbsoluteTolerance(), "cpu") <= 1


def test_the_missing_complement_is_found_by_the_shape_alone(tests: dict[str, Test]) -> None:
    for defect in (NoComplement, WideAsTall):
        assert tests["soft/square/distinct/real::float64::vjp"].run(defect(), "cpu") <= 1

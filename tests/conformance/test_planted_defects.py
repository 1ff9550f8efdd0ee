"""Planted defects, and the test of the suite that finds each.

An implementation without the defect passes the same test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from support.defects import (
    AbsoluteTolerance,
    FromTheRule,
    InPlace,
    NoComplement,
    NoConjugate,
    NoPhase,
    NotAdjoint,
    NoTau,
    OneOfManyBases,
    SingleInside,
    Sound,
    SoundDevice,
    SpoiltBatch,
    WideAsTall,
    WrongDevice,
    ZeroedOnTies,
)
from svdinv_conformance.suite import CheckFailed, Test, load_cases, plan


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
    Planted(OneOfManyBases, "nuclear/square/identity/real::float64::hvp", "hvp of a: error"),
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
        assert caught.value.used > 1e3  # a larger tolerance would not hide it


def test_the_absolute_tolerance_is_found_by_the_scale_alone(tests: dict[str, Test]) -> None:
    test = tests["nuclear/square/tied/real::float64::vjp"]
    assert test.run(AbsoluteTolerance(), "cpu") <= 1


def test_the_missing_complement_is_found_by_the_shape_alone(tests: dict[str, Test]) -> None:
    for defect in (NoComplement, WideAsTall):
        assert tests["soft/square/distinct/real::float64::vjp"].run(defect(), "cpu") <= 1

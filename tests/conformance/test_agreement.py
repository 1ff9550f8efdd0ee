"""Which results are judged, which are excused, and that a real difference is never excused."""

from __future__ import annotations

import numpy as np
import pytest
from svdinv_conformance.compare.agreement import (
    PROMISED,
    judge,
    tie_rtol,
    undefined,
)
from svdinv_conformance.compare.methods import RULES
from svdinv_conformance.suite.case import LOOSEST, SAFETY

from svdinv_core.rules import default_degeneracy_rtol, promised_rtol

EPS = float(np.finfo(np.float64).eps)
DISTINCT = np.array([3.0, 2.0, 1.0])
TIED = np.array([3.0, 2.0, 2.0])
ZERO = np.array([3.0, 2.0, 0.0])
SQUARE = (3, 3)


@pytest.mark.parametrize("method", RULES)
def test_rules_are_held_to_rounding_where_values_are_distinct(method: str) -> None:
    verdict = judge(method, "soft", DISTINCT, 0.5, "float64", SQUARE)
    assert verdict.judged
    assert SAFETY * EPS <= verdict.tolerance < 1e-12


@pytest.mark.parametrize(("dtype", "eps"), [("float32", 2.0**-23), ("complex128", 2.0**-52)])
def test_exact_operators_are_held_to_what_they_promise(dtype: str, eps: float) -> None:
    promised = promised_rtol(eps)
    assert PROMISED[np.dtype(dtype).type(0).real.dtype.name] == promised
    verdict = judge("svt", "soft", DISTINCT, 0.5, dtype, SQUARE)
    assert verdict.tolerance == verdict.tau_tolerance == promised  # all three are kept: kappa is 1
    split = judge("svt", "soft", DISTINCT, 1.5, dtype, SQUARE)
    assert split.tau_tolerance == pytest.approx(promised * (1 + 3))  # the gap is a third
    assert promised < split.tolerance <= promised * (1 + 3)
    values = judge("svdvals", "nuclear", DISTINCT, 0.0, dtype, SQUARE)
    assert values.tolerance == pytest.approx(promised * (1 + 3))


@pytest.mark.parametrize("method", RULES)
def test_rules_are_excused_where_a_tie_is_kept(method: str) -> None:
    assert not judge(method, "soft", TIED, 0.5, "float64", SQUARE).judged


@pytest.mark.parametrize("method", ["inv", "pinv", "tf", "taylor", "lorentzian"])
def test_a_tie_below_the_threshold_is_no_excuse(method: str) -> None:
    assert judge(method, "soft", TIED, 2.5, "float64", SQUARE).judged


@pytest.mark.parametrize("method", ["plain", "clip"])
def test_plain_and_clip_are_excused_on_any_tie(method: str) -> None:
    verdict = judge(method, "soft", TIED, 2.5, "float64", SQUARE)
    assert verdict.excuse == "tie amplifies rounding"


@pytest.mark.parametrize("loss", ["hard", "reconstruction"])
def test_inv_is_judged_on_ties_where_its_answer_is_determined(loss: str) -> None:
    assert judge("inv", loss, TIED, 0.5, "float64", SQUARE).judged
    assert not judge("pinv", loss, TIED, 0.5, "float64", SQUARE).judged


@pytest.mark.parametrize("values", [DISTINCT, TIED, ZERO, np.zeros(3)])
def test_svt_is_judged_everywhere(values: np.ndarray) -> None:
    assert judge("svt", "soft", values, 0.5, "float64", SQUARE).judged


def test_native_is_never_judged() -> None:
    assert not judge("native", "soft", DISTINCT, 0.5, "float64", SQUARE).judged


def test_tolerance_follows_the_gap_and_ends_in_an_excuse() -> None:
    tolerances = []
    for gap in (1e-2, 1e-4, 1e-6):
        verdict = judge("inv", "soft", np.array([2.0, 1.0, 1.0 - gap]), 0.1, "float64", SQUARE)
        assert verdict.judged
        tolerances.append(verdict.tolerance)
    assert tolerances == sorted(tolerances)
    assert tolerances[-1] / tolerances[0] == pytest.approx(1e4, rel=0.1)
    close = judge("inv", "soft", np.array([2.0, 1.0, 1.0 - 5e-5]), 0.1, "float32", SQUARE)
    assert close.excuse == "gaps too small for float32"
    assert all(t < LOOSEST for t in tolerances)


def test_svt_ignores_gaps_that_do_not_matter() -> None:
    close = np.array([2.0, 1.0, 1.0 - 1e-11])
    wide = np.array([2.0, 1.0, 0.5])
    assert judge("svt", "soft", close, 0.1, "float64", SQUARE) == judge(
        "svt", "soft", wide, 0.1, "float64", SQUARE
    )


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_tied_means_what_it_means_in_the_library(dtype: str) -> None:
    assert tie_rtol(dtype) == default_degeneracy_rtol(float(np.finfo(dtype).eps))


def test_gap_near_the_tie_tolerance_counts_as_a_tie() -> None:
    gap = 1.5 * tie_rtol("float64")
    verdict = judge("inv", "soft", np.array([1.0, 1.0 - gap]), 0.1, "float64", (2, 2))
    assert verdict.excuse == "tied basis is arbitrary"


def test_zero_values_excuse_rules_where_they_are_used() -> None:
    assert not judge("inv", "reconstruction", ZERO, 0.0, "float64", SQUARE).judged
    assert judge("inv", "soft", ZERO, 0.5, "float64", SQUARE).judged


@pytest.mark.parametrize(
    ("loss", "values", "tau", "reason"),
    [
        ("hard", TIED, 2.0, "cut splits a cluster"),
        ("hard", DISTINCT, 2.0, "threshold falls on a value"),
        ("soft", TIED, 2.0, "threshold falls on a value"),
        ("nuclear", ZERO, 0.0, "a value is zero"),
        ("soft", TIED, 1.0, None),
        ("hard", TIED, 1.0, None),
        ("nuclear", TIED, 0.0, None),
        ("reconstruction", ZERO, 0.0, None),
    ],
)
def test_undefined(loss: str, values: np.ndarray, tau: float, reason: str | None) -> None:
    assert undefined(loss, values, tau, "float64", SQUARE) == reason
    if reason is not None:
        assert judge("svt", loss, values, tau, "float64", SQUARE).excuse == reason


def test_judgement_does_not_depend_on_the_scale() -> None:
    for scale in (1e-12, 1e12):
        assert judge("inv", "soft", scale * DISTINCT, 0.5 * scale, "float64", SQUARE) == judge(
            "inv", "soft", DISTINCT, 0.5, "float64", SQUARE
        )

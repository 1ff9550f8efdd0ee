"""The suite's own parts: cases, tolerances, selection, expected failures, names, reports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import svdinv.numpy
from svdinv._frameworks import FRAMEWORKS as KNOWN
from svdinv_conformance.frameworks import AUTODIFF, FRAMEWORKS, NumPy
from svdinv_conformance.inputs import InputError
from svdinv_conformance.markdown import write_between
from svdinv_conformance.suite import (
    CHECKS,
    CheckFailed,
    NotApplicable,
    Test,
    Xfails,
    check_spoilt_batch,
    check_value,
    check_vjp,
    checks_for,
    load_cases,
    plan,
    read_xfails,
    resolve,
    run,
)
from svdinv_conformance.suite.case import DATA, NAMED
from svdinv_conformance.suite.checks import relative_error
from svdinv_conformance.suite.explicit import Explicit
from svdinv_conformance.suite.report import as_json, write_junit
from svdinv_conformance.suite.table import BEGIN, END, markdown, situation


@pytest.fixture(scope="module")
def cases():
    return load_cases()


def find(cases, name):
    return next(case for case in cases if case.name == name)


# --- the data ------------------------------------------------------------------------------------


def test_the_cases_cover_what_they_are_for(cases):
    ids = [case.name for case in cases]
    assert len(ids) == len(set(ids)) > 900
    kinds = Counter(case.observable.kind for case in cases)
    assert set(kinds) == {
        "values", "reconstruction", "soft", "hard", "smooth", "low_rank", "projector", "polar",
        "nuclear", "hermitian", "factors", "shrink", "invert", "rotate", "roots", "eigenvalues",
        "truncated", "align", "tensor", "gauge",
    }  # fmt: skip
    situations = {situation(case) for case in cases}
    assert {"distinct", "tied", "triple", "rank-deficient", "zero", "empty", "batch"} <= situations
    assert {f"gap {g}" for g in ("1e-15", "1e-12", "1e-08", "1e-04", "1e-02")} <= situations
    assert {f"tied, scaled 1e{e}" for e in ("+30", "-30", "+150", "-150")} <= situations
    assert {case.dtype for case in cases} == {"float32", "float64", "complex64", "complex128"}
    assert {c.id.split("/")[1] for c in cases} == {"square", "tall", "wide", "batch", "empty"}
    assert {case.expected for case in cases} == {"success", "undefined", "error"}
    assert sum(path.stat().st_size for path in DATA.glob("*.json")) < 3.2e6


def test_the_values_are_those_that_the_matrix_has(cases):
    """They are exactly representable, with the gap of the name, and NumPy finds the same ones."""
    for path in DATA.glob("*.json"):
        for record in json.loads(path.read_text())["cases"]:
            of_matrix = (c for c in cases if f"{c.id}/".startswith(f"{record['case_id']}/"))
            a = next(c for c in of_matrix if c.dtype == record["dtype"]).inputs["a"]
            if not a.size:
                continue
            hermitian = record["op"] == "eigh"
            got = np.linalg.eigvalsh(a)[::-1] if hermitian else np.linalg.svd(a, compute_uv=False)
            chosen = np.array(record["singular_values"]).reshape(np.shape(got))
            np.testing.assert_allclose(got, chosen, rtol=0, atol=1e-14 * chosen.max())


def test_single_precision_has_the_same_inputs(cases):
    double = {case.id: case for case in cases if case.dtype in ("float64", "complex128")}
    for case in cases:
        for name, x in case.inputs.items():
            assert np.array_equal(x, double[case.id].inputs[name])


def test_undefined_cases_have_a_reason_and_no_reference(cases):
    for case in cases:
        assert bool(case.reason) == (case.expected != "success")
        assert bool(case.vjp) == (case.expected == "success")


FIELDS = {"tensor": {"real", "complex"}}


def test_functions_that_are_asked_of_together_are_public_ones(cases):
    for kind, names in NAMED.items():
        assert set(names) <= set(svdinv.numpy.__all__)
        of_kind = [case for case in cases if case.observable.kind == kind]
        assert {tuple(case.cotangent) for case in of_kind} == {names}
        asked = {case.id.rpartition("/")[2] for case in of_kind}
        assert asked == (set(names) if len(names) > 1 else FIELDS.get(kind, {"real"}))
        assert all(case.hvp for case in of_kind if situation(case) in ("tied", "rank-deficient"))


def test_losses_of_factors_have_one_case_each(cases):
    of_one = [c for c in cases if c.name.startswith("factors/square/triple/real/")]
    single = {c.id.rpartition("/")[2]: c for c in of_one if c.dtype == "float32"}
    assert set(single) == {"tanh", "inverse", "unitary", "left", "right", "gram", "sum"}
    assert [name for name, c in single.items() if c.value] == ["tanh"]
    for name, case in single.items():
        weighted = {out for out, ct in case.cotangent.items() if ct.any()}
        assert weighted == ({"tanh", "left"} if name == "sum" else {name})
        assert not case.direction
        assert set(checks_for(case)) <= {"value", "vjp", "unchanged", "placement"}
    assert not single["gram"].vjp["a"].any()  # a constant


def test_values_against_numpy(cases):
    """The 50-digit value of a well-posed case agrees with LAPACK to rounding error."""
    case = find(cases, "soft/tall/distinct/complex::complex128")
    U, S, Vh = np.linalg.svd(case.inputs["a"], full_matrices=False)
    expected = (U * np.maximum(S - case.inputs["tau"], 0)) @ Vh
    np.testing.assert_allclose(expected, case.value["y"], atol=1e-14)


# --- checks --------------------------------------------------------------------------------------


class Scaled(Explicit):
    """svdinv over NumPy, times a factor."""

    def __init__(self, factor):
        super().__init__(NumPy(), svdinv.numpy, "scaled")
        self.factor = factor

    def vjp(self, observable, inputs, cotangents):
        return tuple(g * self.factor for g in super().vjp(observable, inputs, cotangents))


def test_a_check_measures_in_units_of_the_tolerance(cases):
    case = find(cases, "nuclear/square/tied/real::float64")
    allowed = case.tolerances["vjp"].relative("float64")
    assert check_vjp(Scaled(1 + 0.5 * allowed), case) == pytest.approx(0.5, abs=0.1)
    with pytest.raises(CheckFailed, match="vjp of a: error") as caught:
        check_vjp(Scaled(1 + 3 * allowed), case)
    assert caught.value.used == pytest.approx(3, abs=0.1)
    with pytest.raises(CheckFailed, match="not finite"):
        check_vjp(Scaled(np.nan), case)


def test_tolerances_follow_precision_and_condition(cases):
    single, double = (
        find(cases, f"low_rank/square/pair-1e-02/real::{d}") for d in ("float32", "float64")
    )
    ratio = single.tolerances["vjp"].relative("float32") / double.tolerances["vjp"].relative(
        "float64"
    )
    assert ratio == pytest.approx(2.0**29)
    near = find(cases, "soft/square/pair-1e-02-across/real::float64")
    far = find(cases, "soft/square/pair-1e-02/real::float64")
    assert near.tolerances["vjp"].condition > 10 * far.tolerances["vjp"].condition


def test_second_derivatives_are_asked_for_at_ties(cases):
    """Values are compared; only for the factors themselves is a finite one enough."""
    found = Counter()
    for case in cases:
        if case.hvp and case.dtype in ("float64", "complex128"):
            allowed = case.tolerances["hvp"].relative(case.dtype)
            of_vectors = case.observable.kind in ("reconstruction", "values", "eigenvalues")
            tied = situation(case) != "distinct"
            assert (allowed is None) == (of_vectors and tied), case.name
            found[situation(case)] += allowed is not None
    ties = {"tied", "triple", "two pairs", "all equal", "identity", "rank-deficient"}
    assert set(found) == ties | {"distinct"}
    assert all(found[name] >= 6 for name in ties)


def test_every_tolerance_says_something(cases):
    for case in cases:
        for tolerance in case.tolerances.values():
            allowed = tolerance.relative(case.dtype)
            assert allowed is None or 0 < allowed <= 1e-2


def test_relative_error_neither_overflows_nor_hides_a_matrix():
    big = np.full((2, 2, 2), 1e300)
    assert relative_error(big, big, 1.0, 1) == 0
    other = big.copy()
    other[1, 0, 0] *= 1 + 1e-6
    assert relative_error(other, big, 1e300, 1) == pytest.approx(5e-7)
    tiny = np.array([[[1.0]], [[1e-200]]])
    assert relative_error(2 * tiny, tiny, 0.0, 1) == pytest.approx(1)
    assert relative_error(np.array([np.nan]), np.array([1.0]), 1.0, 0) == np.inf
    assert relative_error(np.zeros((0, 3)), np.zeros((0, 3)), 0.0, 0) == 0


def test_checks_that_do_not_apply_say_so(cases):
    implementation = resolve("svdinv.numpy")
    ordinary = find(cases, "soft/square/tied/real::float64")
    for name in set(CHECKS) - set(checks_for(ordinary)):
        with pytest.raises(NotApplicable):
            CHECKS[name](implementation, ordinary)
    with pytest.raises(NotApplicable):
        check_value(implementation, find(cases, "hard/square/tied-cut-on-tie/real::float64"))
    with pytest.raises(NotApplicable, match="not a batch"):
        check_spoilt_batch(implementation, ordinary)


# --- selection and expected failures -------------------------------------------------------------


def test_plan_selects_by_id_and_expression(cases):
    assert {t.case.id for t in plan(cases, only=["soft/square/tied/*"])} == {
        "soft/square/tied/real",
        "soft/square/tied/complex",
    }
    tests = plan(cases, expression="soft and not (complex or hvp) and tall")
    assert tests
    assert all("soft/tall" in t.id and "complex" not in t.id for t in tests)
    with pytest.raises(InputError, match="did you mean soft/square/tied/real"):
        plan(cases, only=["soft/square/teid/real"])
    for wrong in ("soft and", "a b", "((", "nothing-has-this"):
        with pytest.raises(InputError):
            plan(cases, expression=wrong)


def test_xfails_file(tmp_path):
    ids = ["soft/a::vjp", "soft/a::jvp", "hard/b::vjp"]
    path = tmp_path / "x.txt"
    path.write_text("# a comment\nsoft/a::vjp  # and another\n\nhard/*\n")
    xfails = read_xfails(path, ids)
    assert [xfails.expects(i) for i in ids] == [True, False, True]
    assert [xfails.names(i) for i in ids] == [True, False, False]
    path.write_text("soft/typo::vjp\n")
    with pytest.raises(InputError, match="no such test: soft/typo::vjp"):
        read_xfails(path, ids)
    with pytest.raises(InputError, match="cannot be read"):
        read_xfails(tmp_path / "none", ids)


def test_outcomes(cases):
    tests = [Test(find(cases, "nuclear/square/tied/real::float64"), c) for c in ("value", "vjp")]
    wrong = Scaled(2.0)
    assert [o.status for o in run(wrong, tests).outcomes] == ["pass", "fail"]
    expected = Xfails([t.id for t in tests])
    report = run(wrong, tests, xfails=expected)
    assert [o.status for o in report.outcomes] == ["fail", "xfail"]
    assert "take it out of the xfails file" in report.failed[0].note
    assert [o.status for o in run(wrong, tests, xfails=Xfails(["nuclear/*"])).outcomes] == [
        "pass",
        "xfail",
    ]
    elsewhere = run(wrong, tests, device="cuda")
    assert {o.status for o in elsewhere.outcomes} == {"not run"}
    assert elsewhere.reason == "numpy computes on the CPU only"
    assert not elsewhere.ran


def test_an_exception_is_a_failure_with_its_first_line(cases):
    class Raising(Scaled):
        def vjp(self, observable, inputs, cotangents):
            raise RuntimeError("no such kernel\nand a long story")

    tests = plan(cases, only=["soft/square/tied/real"], expression="float64::vjp")
    (outcome,) = run(Raising(1.0), tests).outcomes
    assert (outcome.status, outcome.note) == ("fail", "RuntimeError: no such kernel")


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        ("no_such_module_at_all", None, "no such module"),
        ("svdinv", None, "--framework"),
        ("svdinv", "abacus", "unknown framework"),
        ("json", "torch", "exports no svd"),
        ("json:nothing", None, "has no nothing"),
        ("json:dumps", None, "cannot be called without arguments"),
        ("json:JSONEncoder", None, "not an implementation"),
    ],
)
def test_names_that_stand_for_nothing(spec, kind, words):
    with pytest.raises(InputError, match=words):
        resolve(spec, kind)


@pytest.mark.parametrize(
    ("name", "passes", "fails", "words"),
    [
        ("jax_slices", "square/distinct", "tall/two-pairs", "vjp of a"),
        ("svd_lowrank", "square/distinct", "tall/pair-1e-02", "vjp of a: error"),
        ("lobpcg", "tall/triple", "square/distinct", "smaller than 3 x the number"),
    ],
)
def test_peers_fail_where_the_documentation_says(cases, name, passes, fails, words):
    """For tied dropped values, by the part of dropped vectors, and for small matrices."""
    peer = resolve(f"svdinv_conformance.suite.peers:{name}")
    only = [f"truncated/{which}/real/product" for which in (passes, fails)]
    (right, wrong) = run(peer, plan(cases, only=only, expression="float32::vjp")).outcomes
    right, wrong = (right, wrong) if right.test.case.id == only[0] else (wrong, right)
    assert right.status == "pass"
    assert words in wrong.note


def test_a_copy_of_the_core_is_an_implementation(cases, tmp_path, monkeypatch):
    """A copy under another name, as users make it."""
    import shutil

    source = Path(__file__).parents[2] / "svdinv_core"
    shutil.copytree(source, tmp_path / "my_formulas", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(tmp_path)
    report = run(resolve("my_formulas", "core"), plan(cases))
    assert report.failed == []
    assert report.count("pass") > 5000


def test_svdinv_over_a_strict_namespace(cases):
    """In double precision; `evidence` runs single precision, on the second device."""
    chosen = [case for case in cases if case.dtype in ("float64", "complex128")]
    report = run(resolve("svdinv", "array-api"), plan(chosen))
    assert report.failed == []
    assert report.count("pass") > 2000


# --- reports -------------------------------------------------------------------------------------


@pytest.fixture
def reports(cases):
    tests = plan(cases, expression="nuclear and square and (tied or distinct) and float64")
    there = run(Scaled(1.0), tests), run(Scaled(2.0), tests)
    return [*there, run(Scaled(1.0), tests, device="cuda")]


def test_json_and_junit_say_the_same(reports, tmp_path):
    data = json.loads(json.dumps(as_json(reports), allow_nan=False))
    write_junit(reports, tmp_path / "r.xml")
    suites = ElementTree.parse(tmp_path / "r.xml").getroot()
    for entry, suite, report in zip(data["reports"], suites, reports, strict=True):
        assert entry["counts"]["fail"] == int(suite.get("failures")) == len(report.failed)
        assert len(suite) == len(entry["outcomes"]) == len(report.outcomes)
        assert len(suite.findall("testcase/failure")) == len(report.failed)
    assert [len(r.failed) > 0 for r in reports] == [False, True, False]
    assert suites[2].findall("testcase/skipped")[0].get("message").startswith("not run")


def test_markdown_stands_between_its_marks(reports, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between(path, markdown(reports[:2]), BEGIN, END)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    row = next(line for line in text.splitlines() if line.startswith("| distinct"))
    passed, failed = row.split("|")[2:4]
    assert passed.strip().startswith("all ")
    assert " of " in failed
    path.write_text("no marks")
    with pytest.raises(InputError, match="has no line"):
        write_between(path, "", BEGIN, END)


def test_importing_the_suite_imports_no_framework():
    code = (
        "import sys, svdinv_conformance.suite, svdinv_conformance.plugin; "
        "names = ('torch', 'jax', 'tensorflow', 'matplotlib', 'svdinv', 'svdinv_core', 'mpmath');"
        "print([m for m in names if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=900
    )
    assert done.stdout.strip() == "[]"


def test_only_public_names_of_svdinv_are_used():
    folder = DATA.parents[1]
    for path in folder.rglob("*.py"):
        for line in path.read_text().splitlines():
            assert not line.startswith(("import svdinv_core", "from svdinv_core")), path
            assert "svdinv._" not in line, path


def test_the_frameworks_are_all_there():
    explicit = {name for name, framework in KNOWN.items() if framework.explicit}
    assert set(AUTODIFF) == set(KNOWN) - explicit
    assert set(FRAMEWORKS) == set(KNOWN)

"""Every case in every framework passes, and there are no expected failures.

All dtypes are tested. For frameworks that compile every case, `make test` runs quick cases in two
dtypes, and in one of them those cases of the others that share a program, with at least one program
of each kind; `make family` runs all.
"""

from __future__ import annotations

import warnings
from collections import defaultdict

import pytest
from svdinv_conformance.frameworks import AUTODIFF
from svdinv_conformance.suite import load_cases, plan, resolve, run

LEAST = {f"svdinv.{name}": 6600 for name in AUTODIFF} | {"svdinv.numpy": 6400}
SOME = {"svdinv.jax": ("complex128", "float32"), "svdinv.tensorflow": ("float64", "complex64")}
QUICK = {"soft"}
"""Kinds of cases that the second of these dtypes, and wide matrices, are held to."""
SHARE = 0.2  # of the tests that these have at least
"""Tests that have to pass: not applicable is a second derivative, or a case not resolved."""


def report_of(name, cases):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what frameworks say while they are imported
        return run(resolve(name), plan(cases))


def some_cases(most, quick):
    """Quick cases; and in the first dtype programs of three cases and more, and one a kind.

    Wide matrices are handled by the core, which the tests of the other frameworks cover.
    """
    programs = defaultdict(list)
    for case in load_cases((most, quick)):
        programs[case.dtype, repr(case.observable), case.inputs["a"].shape].append(case)

    def rank(cases):
        case = cases[0]
        return case.dtype != most or "/wide/" in case.id, -len(cases)

    kinds = set()
    some = []
    for cases in sorted(programs.values(), key=rank):
        kind, (other, _) = cases[0].observable.kind, rank(cases)
        if kind not in kinds or kind in QUICK or (len(cases) > 2 and not other):
            some += cases
        kinds.add(kind)
    return some


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SOME else []) for n in LEAST],
)
def test_it_passes_every_case(name, request):
    whole = request.config.getoption("--whole-family") or name not in SOME
    cases = load_cases() if whole else some_cases(*SOME[name])
    assert {c.observable.kind for c in cases} == {c.observable.kind for c in load_cases()}
    report = report_of(name, cases)
    assert [(o.test.id, o.note) for o in report.failed] == []
    assert report.count("xfail") == report.count("not run") == 0
    assert report.count("pass") >= LEAST[name] * (1 if whole else SHARE)


WRONG = {
    "tied",
    "triple",
    "two pairs",
    "all equal",
    "identity",
    "zero",
    "batch",
    "tied, scaled 1e+30",
}
"""NaN if PyTorch computes equal values, else a rounding error divided by another."""
RIGHT = {"distinct", "empty"}
"""Here nothing is divided by a small gap. Other results depend on how values are rounded."""


def test_native_pytorch_fails_where_values_are_close():
    """On every processor."""
    from svdinv_conformance.suite.table import situation

    report = report_of("native.torch", load_cases())
    failed = {situation(o.test.case) for o in report.failed}
    assert failed >= WRONG
    assert not failed & RIGHT

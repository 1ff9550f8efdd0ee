"""Every case in every framework: nothing fails, and nothing is expected to.

In every dtype; where each case is compiled, `make test` has two of them and `make family` all.
"""

from __future__ import annotations

import warnings

import pytest
from svdinv_conformance.suite import load_cases, plan, resolve, run
from svdinv_conformance.suite.case import DTYPES

LEAST = {
    "svdinv.numpy": 6400,
    "svdinv.torch": 6600,
    "svdinv.jax": 6600,
    "svdinv.tensorflow": 6600,
    "svdinv.autograd": 6600,
}
SOME_DTYPES = {
    "svdinv.jax": ("float32", "complex128"),
    "svdinv.tensorflow": ("float64", "complex64"),
}
SHARE = 0.4  # of the tests that these dtypes have at least
"""Tests that have to pass: not applicable is a second derivative, or a case not resolved."""


def report_of(name, dtypes=DTYPES):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what frameworks say while they are imported
        return run(resolve(name), plan(load_cases(dtypes)))


@pytest.mark.parametrize(
    "name",
    [
        "svdinv.numpy",
        "svdinv.torch",
        "svdinv.autograd",
        pytest.param("svdinv.jax", marks=pytest.mark.slow),
        pytest.param("svdinv.tensorflow", marks=pytest.mark.slow),
    ],
)
def test_it_passes_every_case(name, request):
    whole = request.config.getoption("--whole-family") or name not in SOME_DTYPES
    report = report_of(name, DTYPES if whole else SOME_DTYPES[name])
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
"""NaN where PyTorch computes equal values, rounding divided by rounding where it does not."""
RIGHT = {"distinct", "empty"}
"""Nothing is divided by a small gap. Everything else depends on how values happen to be rounded."""


def test_native_pytorch_fails_where_values_are_close():
    """On every processor."""
    from svdinv_conformance.suite.table import situation

    report = report_of("native.torch")
    failed = {situation(o.test.case) for o in report.failed}
    assert failed >= WRONG
    assert not failed & RIGHT

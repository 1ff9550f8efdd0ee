"""Norms and relative errors of matrices."""

from __future__ import annotations

import numpy as np
import pytest
from svdinv_conformance.errors import finite, norms, relative_difference


def test_relative_difference() -> None:
    a = np.stack([np.eye(2), np.eye(2), np.zeros((2, 2)), np.full((2, 2), np.nan)])
    b = a.copy()
    b[1, 0, 1] = 1e-9
    difference = relative_difference(a, b)
    assert difference[0] == 0
    assert difference[1] == pytest.approx(1e-9 / np.sqrt(2))
    assert difference[2] == 0
    assert np.isnan(difference[3])
    assert np.isnan(norms(a)[3])
    assert relative_difference(a[1], b[1], np.array(10.0)) == pytest.approx(1e-10)


def test_norms_neither_overflow_nor_underflow() -> None:
    widest = np.finfo(np.longdouble)
    for scale in (1e3 * widest.tiny, widest.max / 1e3):
        found = norms(np.full((2, 3, 2), np.clongdouble(3 + 4j) * scale), 3)
        assert float(found / scale) == pytest.approx(5 * np.sqrt(12))
    assert norms(np.zeros((2, 0, 3))).tolist() == [0, 0]


def test_finite() -> None:
    assert [finite(x) for x in (None, 0.0, 1.5, np.inf, np.nan)] == [None, 0.0, 1.5, None, None]

"""Table 1 in small: which methods are exact, which are not finite, and the label's error."""

from __future__ import annotations

import numpy as np
import pytest
from experiments import table1


@pytest.fixture(scope="module")
def rows():
    found = table1.errors(count=60, seed=0)["rows"]
    return {(row["factors"], row["case"], row["workflow"]): row for row in found}


def test_diagonal_matrices_tell_nothing_apart(rows):
    for (factors, _, _), row in rows.items():
        if factors == "identity":
            for method, error in row["errors"].items():
                if method in ("plain", table1.NATIVE):
                    assert error["nonfinite"] == row["matrices"]
                elif method == table1.EXACT:  # it multiplies and divides by a value
                    assert error["nonfinite"] == 0
                    assert error["exact"] < 1e-12
                else:
                    assert error["exact"] == error["label"] == error["nonfinite"] == 0, method


@pytest.mark.parametrize("case", table1.CASES)
@pytest.mark.parametrize("workflow", table1.WORKFLOWS)
def test_orthogonal_factors(rows, case, workflow, hold):
    row = rows["orthogonal", case, workflow]
    errors = {method: error["exact"] for method, error in row["errors"].items()}
    hold("experiments: Table 1, exact operator", errors[table1.EXACT], 1e-7)
    hold("experiments: Table 1, fit", errors["fit"], 1e-4)
    if workflow < 3:  # c S on the tie, for which `inv` is exact
        hold("experiments: Table 1, inv", errors["inv"], 1e-4)
    for method in ("tf", "clip", "taylor", "pinv"):
        assert errors[method] > 3 * errors["inv"], method
    finite = [m for m in row["errors"] if m not in ("plain", table1.NATIVE, table1.LABEL)]
    assert all(row["errors"][m]["nonfinite"] == 0 for m in finite)


def test_error_falls_with_the_gap():
    gaps = (0.0, 1e-12, 1e-8, 1e-2)
    curves = table1.gap_curves(count=40, gaps=gaps)
    soft = curves["median"]["soft threshold"]
    assert soft["plain"][0] is None or soft["plain"][0] > 1e-2  # NaN, or a quotient of roundings
    assert soft["inv"][3] < 1e-4 < 1e-3 < soft["inv"][2]
    assert max(soft[table1.EXACT]) < 1e-5
    label = soft[table1.LABEL]
    assert label[3] < 1e-12 < 1e-6 < label[1]


def test_draws_have_the_gap_they_claim():
    d = table1.draw(0, 20, 1e-10, orthogonal=True, gap=1e-3)
    gaps = -np.diff(d.factors.S, axis=-1) / d.factors.S[:, :-1]
    assert np.isclose(gaps, 1e-3 / 1.001, rtol=1e-9).any(-1).all()

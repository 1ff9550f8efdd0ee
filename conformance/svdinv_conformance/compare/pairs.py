"""Who agrees with whom: the largest difference of any two, over everything both computed.

A *who* is a framework on a device. Every pair of gradients of the same input, loss, method and type
counts if the result is judged (see :mod:`.agreement`). The pair with the largest difference,
relative to its tolerance, is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..errors import relative_difference
from ..tables import Table
from .runner import Comparison, Row

__all__ = ["Difference", "as_table", "in_words", "largest_differences"]


@dataclass(frozen=True)
class Difference:
    """The largest difference of two, and where it is."""

    difference: float
    """Relative; NaN where one of the two is not finite."""
    tolerance: float
    """The tolerance for it."""
    where: str
    """Input, loss, method and type."""

    @property
    def used(self) -> float:
        """Part of the tolerance; infinite where an entry is not finite."""
        return np.inf if np.isnan(self.difference) else self.difference / self.tolerance

    def __str__(self) -> str:
        return "NaN/inf" if np.isnan(self.difference) else f"{self.difference:.1e}"


Differences = dict[tuple[str, str], Difference]


def largest_differences(result: Comparison) -> Differences:
    """Collect the largest difference of every two from a comparison.

    Parameters
    ----------
    result
        Of :func:`.compare`. A result counts where all matrices of its input are judged.
    """
    largest: Differences = {}
    for group in result.groups:
        same: dict[tuple[str, str], list[Row]] = {}
        for row in group.rows:
            if row.gradient is not None and row.matrices == row.judged_matrices > 0:
                same.setdefault((row.method, row.dtype), []).append(row)
        for (method, dtype), rows in same.items():
            wide = np.result_type(dtype, np.longdouble)
            for a, b in combinations(rows, 2):
                assert a.gradient is not None
                assert b.gradient is not None
                each = relative_difference(a.gradient.astype(wide), b.gradient.astype(wide))
                found = Difference(
                    float(np.max(each, initial=0)),  # NaN stays NaN
                    a.tolerance or np.inf,
                    f"{group.input.name}, {group.loss}, {method}, {dtype}",
                )
                key = (a.who, b.who)
                if key not in largest or found.used > largest[key].used:
                    largest[key] = found
    return largest


def as_table(differences: Differences) -> Table:
    """The table of all pairs."""
    names = list(dict.fromkeys(name for pair in differences for name in pair))
    rows = [
        [a, *(str(differences.get((a, b)) or differences.get((b, a)) or "") for b in names)]
        for a in names
    ]
    return Table(["", *names], rows, "Largest difference of each two")


def in_words(differences: Differences) -> str:
    """Name the largest one, as a part of its tolerance."""
    (a, b), worst = max(differences.items(), key=lambda item: item[1].used)
    amount = "not finite" if np.isnan(worst.difference) else f"{worst.difference:.1e}"
    return (
        f"Largest difference: {a} against {b}, {amount} of {worst.tolerance:.0e} allowed, "
        f"{worst.where}."
    )

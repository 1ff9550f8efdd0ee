"""Who agrees with whom: the largest difference of any two, over everything both computed.

A *who* is a framework on a device. Every pair of gradients of the same input, loss, method and type
counts where the result is judged (see :mod:`.agreement`); the cell with the largest part of its
tolerance is the one to look at, and is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from ..errors import relative_difference
from .runner import Comparison, Row

__all__ = ["AgreementMatrix", "Cell", "agreement_matrix"]


@dataclass(frozen=True)
class Cell:
    """The largest difference of two, and where it is.

    Attributes
    ----------
    difference
        Relative; NaN where one of the two is not finite.
    tolerance
        What it is held to.
    where
        Input, loss, method and type.
    """

    difference: float
    tolerance: float
    where: str

    @property
    def used(self) -> float:
        """Part of the tolerance; infinite where an entry is not finite."""
        return np.inf if np.isnan(self.difference) else self.difference / self.tolerance


@dataclass
class AgreementMatrix:
    """The largest differences of each two.

    Attributes
    ----------
    names
        Frameworks, with their device if it is not the CPU.
    cells
        By pairs of names, in the order of `names`.
    """

    names: list[str] = field(default_factory=list)
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def cell(self, a: str, b: str) -> Cell | None:
        """Find the cell of two names, in either order."""
        return self.cells.get((a, b)) or self.cells.get((b, a))

    @property
    def worst(self) -> tuple[tuple[str, str], Cell] | None:
        """The pair that uses most of its tolerance."""
        return max(self.cells.items(), key=lambda item: item[1].used, default=None)

    def sentence(self) -> str:
        """Name the worst cell in words."""
        if self.worst is None:
            return "No two results to compare."
        (a, b), cell = self.worst
        amount = "not finite" if np.isnan(cell.difference) else f"{cell.difference:.1e}"
        return f"Largest difference: {a} against {b}, {amount} of {cell.tolerance:.0e} allowed, " \
               f"{cell.where}."  # fmt: skip


def _difference(a: Row, b: Row) -> float:
    assert a.gradient is not None
    assert b.gradient is not None
    wide = np.clongdouble if np.iscomplexobj(a.gradient) else np.longdouble
    difference = relative_difference(a.gradient.astype(wide), b.gradient.astype(wide))
    return float(np.max(difference, initial=0))  # NaN stays NaN


def agreement_matrix(result: Comparison) -> AgreementMatrix:
    """Collect the largest difference of every two from a comparison.

    Parameters
    ----------
    result
        Of :func:`.compare`. A result counts where all matrices of its input are judged.
    """
    matrix = AgreementMatrix()
    for group in result.groups:
        same: dict[tuple[str, str], list[Row]] = {}
        for row in group.rows:
            if row.gradient is not None and row.matrices == row.judged_matrices > 0:
                same.setdefault((row.method, row.dtype), []).append(row)
        for (method, dtype), rows in same.items():
            for name in (row.who for row in rows):
                if name not in matrix.names:
                    matrix.names.append(name)
            for a, b in combinations(rows, 2):
                where = f"{group.input.name}, {group.loss}, {method}, {dtype}"
                cell = Cell(_difference(a, b), a.tolerance or np.inf, where)
                key = (a.who, b.who)
                if key not in matrix.cells or cell.used > matrix.cells[key].used:
                    matrix.cells[key] = cell
    return matrix

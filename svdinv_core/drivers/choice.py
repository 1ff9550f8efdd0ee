"""Which driver is taken: by what is known of a batch beforehand, then by its values.

:data:`LADDER` lists the steps. `select` goes down it and keeps the drivers whose step applies, down
to the first that is good enough for every matrix; `compute_factors` tries them in this order.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from ..namespace import Array, Namespace
from .driver import Driver, Extent
from .gram import Gram
from .native import Native

__all__ = [
    "BY_NAME",
    "LADDER",
    "Needs",
    "Situation",
    "Step",
    "by_name",
    "compute_factors",
    "select",
]

Needs = Literal["large values", "all values", "factors", "eigenvectors"]
"""What a function needs of its factors.

- "large values": nothing of the values below a threshold or a cut (`svt`, `low_rank`);
- "all values": the vectors of every value, but not of a value of zero (`polar`, ...);
- "factors": every value to rounding, and vectors of zero values too (`svd`, `svdvals`);
- "eigenvectors": the decomposition of a Hermitian matrix.
"""


@dataclass(frozen=True)
class Situation:
    """What is known of a batch of matrices before their values are.

    Parameters
    ----------
    shape : tuple
        ``(..., m, n)``. A length of the batch that is not known, or not yet, is None.
    single : bool
        Single precision.
    looks : {"free", "program", "never"}
        How a choice can hinge on values: by a look from Python, by a conditional in the compiled
        program, or not at all.
    worth_a_choice : float
        Least `work` for which a choice costs less than it gains.
    doubles : {"never", "operators", "svd"}
        Where single precision is decomposed in double: nowhere; for operators, whose derivative is
        promised to be exact; or in every SVD, because the framework's own loses digits.
    polished : bool
        Whether eigenvectors of the framework are orthogonal to fewer digits than there are.
    has_svd : bool
        Whether the framework has a singular value decomposition here.
    """

    shape: tuple[Any, ...]
    single: bool
    looks: Literal["free", "program", "never"] = "never"
    worth_a_choice: float = 0.0
    doubles: Literal["never", "operators", "svd"] = "never"
    polished: bool = False
    has_svd: bool = True

    @property
    def m(self) -> int:
        """Number of rows."""
        return int(self.shape[-2])

    @property
    def n(self) -> int:
        """Number of columns."""
        return int(self.shape[-1])

    @property
    def k(self) -> int:
        """The shorter side."""
        return min(self.m, self.n)

    @property
    def batch(self) -> int | None:
        """Number of matrices, where it is known."""
        lengths = self.shape[:-2]
        return math.prod(lengths) if all(isinstance(n, int) for n in lengths) else None

    @property
    def work(self) -> float:
        """Entries of the batch times the shorter side, which decompositions go by."""
        return math.inf if self.batch is None else self.batch * self.m * self.n * self.k

    @property
    def looks_pay(self) -> bool:
        """Whether a driver may be tried that is not good enough for every matrix."""
        return self.looks != "never" and self.work >= self.worth_a_choice and self.has_svd

    def native(self, needs: Needs, *, exact: bool) -> Native:
        """The framework's own decomposition, in double precision where that is called for."""
        as_svd = self.doubles == "svd" and needs != "eigenvectors"
        return Native(double=self.single and (as_svd or (exact and self.doubles == "operators")))


class Step(NamedTuple):
    """One step of the ladder: when it applies, in words and in code, and its driver."""

    driver: str
    when: str
    applies: Callable[[Situation, Needs], bool]
    make: Callable[[Situation, Needs, bool], Driver]


def _suits_gram(s: Situation, needs: Needs) -> bool:
    """Not nearly square matrices, whose condition grows with their size.

    That of a random matrix of twice as many rows as columns is at most about 6.
    """
    return needs == "large values" or (needs == "all values" and max(s.m, s.n) >= 2 * s.k)


LADDER: tuple[Step, ...] = (
    Step(
        "gram",
        "values can be looked at, and the function needs its large values only, or all of them "
        "and one side is at least twice the other",
        lambda s, needs: s.looks_pay and _suits_gram(s, needs),
        lambda s, needs, exact: Gram(polished=s.polished),
    ),
    Step(
        "gram, double precision",
        "the same, in single precision, and the framework has double precision at hand",
        lambda s, needs: (
            s.looks_pay and _suits_gram(s, needs) and s.single and s.doubles != "never"
        ),
        lambda s, needs, exact: Gram(double=True, polished=s.polished),
    ),
    Step(
        "svd",
        "always",
        lambda s, needs: True,
        lambda s, needs, exact: s.native(needs, exact=exact),
    ),
)
"""The steps of ``driver="auto"``, from the cheapest driver on."""

BY_NAME: dict[str, Callable[[Situation, Needs, bool], Driver]] = {
    "svd": lambda s, needs, exact: s.native(needs, exact=exact),
    "gram": lambda s, needs, exact: Gram(normalized=True, polished=s.polished),
}
"""What a name given by the caller stands for."""


def by_name(name: str, situation: Situation, needs: Needs, *, exact: bool) -> Driver:
    """The driver that a caller asked for."""
    return BY_NAME[name](situation, needs, exact)


def select(situation: Situation, needs: Needs, *, exact: bool) -> tuple[Driver, ...]:
    """The drivers to try in turn, the last good enough whatever the values.

    `exact` says that the derivative is promised to be exact, as that of every operator is.
    """
    drivers = []
    for step in LADDER:
        if step.applies(situation, needs):
            drivers.append(step.make(situation, needs, exact))
            if drivers[-1].exact:
                break
    return tuple(drivers)


def compute_factors(
    xp: Namespace,
    decomposition: Any,
    drivers: tuple[Driver, ...],
    A: Array,
    extent: Callable[[Array], Extent] | None = None,
    *,
    choose: Callable[[Array, Any, Callable[[], Any]], Any],
    look: bool = False,
) -> Any:
    """Factors by the first driver that is good enough.

    Parameters
    ----------
    extent : callable
        ``S -> (largest, smallest)``: the range of values that the function hinges on. Not needed
        for a single driver.
    choose : callable
        ``(enough, found, otherwise) -> factors``: `found` where the truth value says so, else
        ``otherwise()``.
    look : bool
        Whether values may be looked at from Python.
    """
    driver, *others = drivers
    finite = look and driver.exact and _is_finite(xp, A)
    found = replace(decomposition, driver=driver).compute(xp, A, finite=finite)
    if not others or extent is None:
        return found
    bounds = extent(found.S)

    def next_driver() -> Any:
        return compute_factors(
            xp, decomposition, tuple(others), A, extent, choose=choose, look=look
        )

    def unless_spoilt() -> Any:
        spoilt = ~xp.all(xp.isfinite(A), axis=(-2, -1))
        return choose(driver.resolves(xp, found.S, bounds, spoilt), found, next_driver)

    return choose(driver.resolves(xp, found.S, bounds), found, unless_spoilt)


def _is_finite(xp: Namespace, A: Array) -> bool:
    """Whether all entries are finite; False also where their sum overflows."""
    return cmath.isfinite(complex(xp.sum(A, axis=tuple(range(len(A.shape))))))

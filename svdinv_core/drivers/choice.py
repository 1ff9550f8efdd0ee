"""The choice of a driver: first by shape, dtype and device, then by the computed values.

:data:`LADDER` lists the steps. `select` keeps the drivers whose step applies, up to the first that
is accurate enough for every matrix. `compute_factors` tries them in this order.
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
from .jacobi import Jacobi
from .native import Native
from .qr import BlockQR

__all__ = [
    "BY_NAME",
    "BY_NAME_HERMITIAN",
    "LADDER",
    "LARGEST_JACOBI_ON_GPU",
    "TALL",
    "DriverName",
    "EighDriverName",
    "Looks",
    "Needs",
    "Rung",
    "Situation",
    "by_name",
    "compute_factors",
    "select",
]

Needs = Literal["large values", "all values", "factors", "eigenvectors"]
"""Which factors a function needs, and how accurate.

- "large values": the values above a threshold or a cut, and their vectors (`svt`, `low_rank`);
- "all values": all values, and the vectors of those that are not zero (`polar`, ...);
- "factors": every value to rounding error, and all vectors (`svd`, `svdvals`);
- "eigenvectors": the decomposition of a Hermitian matrix.
"""


Looks = Literal["free", "waits", "program", "never"]

TALL = 4
"""Ratio of the sides from which `qr` is tried."""

MANY = 1024
"""Number of matrices from which `jacobi` is tried."""

LARGEST_JACOBI_ON_GPU = 16
"""Largest shorter side at which rotations of a batch are faster on a GPU than its own SVD."""


@dataclass(frozen=True)
class Situation:
    """What is known of a batch of matrices without reading their values.

    Parameters
    ----------
    shape : tuple
        ``(..., m, n)``. An unknown length of the batch is None. m and n may be symbols if it is
        known which of them is larger.
    single : bool
        Whether the precision is single.
    looks : {"free", "waits", "program", "never"}
        How the choice of a driver may depend on computed values. "free": Python reads them.
        "waits": Python reads them and waits for the device, as the decompositions do anyway.
        "program": a conditional of the compiled program reads them. "never": not at all.
    worth_a_choice : float
        Smallest `work` for which trying a cheaper driver first saves time.
    doubles : {"never", "operators", "svd"}
        When to decompose single precision in double: never; for operators, whose derivative is
        promised to be exact; or for every SVD, because the framework's own loses digits.
    polished : bool
        Whether the framework's eigenvectors are not orthogonal to working precision.
    squares : bool
        Whether the framework's QR squares entries, so that it is wrong if these overflow or
        underflow.
    has_svd, has_eigh : bool
        Whether the framework has these decompositions here, to full precision.
    largest_jacobi : int
        Largest shorter side at which Jacobi rotations of a large batch are faster than the
        framework's own decompositions.
    jacobi_over_gram : int
        Largest shorter side at which they are also faster than the Gram matrix, where that can be
        tried.
    splits : bool
        Whether the framework's QR splits a long matrix into blocks itself.
    devices : int
        Number of devices over which the rows of a matrix may be distributed.
    guarded : bool
        Whether the framework sometimes returns vectors that are not orthogonal. They are then
        replaced by NaN, which the caller finds by reading values.
    """

    shape: tuple[Any, ...]
    single: bool
    looks: Looks = "never"
    worth_a_choice: float = 0.0
    doubles: Literal["never", "operators", "svd"] = "never"
    polished: bool = False
    squares: bool = False
    has_svd: bool = True
    has_eigh: bool = True
    largest_jacobi: int = 4
    jacobi_over_gram: int = 16
    splits: bool = False
    devices: int = 1
    guarded: bool = False

    @property
    def m(self) -> Any:
        """Number of rows."""
        return self.shape[-2]

    @property
    def n(self) -> Any:
        """Number of columns."""
        return self.shape[-1]

    @property
    def k(self) -> Any:
        """The shorter side."""
        return self.m if self.m < self.n else self.n

    @property
    def batch(self) -> int | None:
        """Number of matrices; None if not known."""
        lengths = self.shape[:-2]
        return math.prod(lengths) if all(isinstance(n, int) for n in lengths) else None

    @property
    def has_known_sides(self) -> bool:
        """Whether m and n are numbers, not symbols."""
        return isinstance(self.m, int) and isinstance(self.n, int)

    @property
    def work(self) -> float:
        """Entries of the batch times the shorter side: the cost of its decompositions."""
        if self.batch is None or not self.has_known_sides:
            return math.inf
        return float(self.batch * self.m * self.n * self.k)

    @property
    def looks_pay(self) -> bool:
        """Whether to try a driver that is not accurate enough for every matrix."""
        return self.looks != "never" and self.work >= self.worth_a_choice and self.has_svd

    @property
    def is_tall(self) -> bool:
        """Whether one side is so much longer that "qr" is faster than an SVD."""
        return self.has_known_sides and 0 < TALL * self.k <= max(self.m, self.n)

    @property
    def is_many(self) -> bool:
        """Whether there are many small matrices, so that the array operations of "jacobi" pay."""
        many = self.batch is not None and self.batch >= MANY and self.has_known_sides
        return many and 0 < int(self.k) <= self.largest_jacobi

    def prefers_jacobi(self, needs: Needs) -> bool:
        """Whether "jacobi" is the fastest driver that is accurate enough."""
        gram = self.looks_pay and _suits_gram(self, needs)
        return self.is_many and not (gram and int(self.k) > self.jacobi_over_gram)

    def native(self, needs: Needs, *, exact: bool) -> Native:
        """The framework's own decomposition, in double precision where `doubles` says so."""
        as_svd = self.doubles == "svd" and needs != "eigenvectors"
        double = self.single and (as_svd or (exact and self.doubles == "operators"))
        return Native(double=double, guarded=self.guarded)


class Rung(NamedTuple):
    """One step of the ladder: when it applies, in words and in code, and its driver."""

    driver: str
    when: str
    applies: Callable[[Situation, Needs], bool]
    make: Callable[[Situation, Needs, bool], Driver]


def _suits_gram(s: Situation, needs: Needs) -> bool:
    """Whether the Gram matrix is likely to be accurate enough; `Driver.resolves` decides later.

    If all values matter, nearly square matrices are excluded, because their condition number grows
    with their size. For a random matrix with twice as many rows as columns it is at most about 6.
    """
    far_from_square = s.has_known_sides and max(s.m, s.n) >= 2 * s.k
    return needs == "large values" or (needs == "all values" and far_from_square)


def _native(s: Situation, needs: Needs, exact: bool) -> Driver:
    return s.native(needs, exact=exact)


def _block_qr(s: Situation, needs: Needs, exact: bool) -> Driver:
    inner = Native(guarded=s.guarded) if s.has_svd else Jacobi()
    double = s.native(needs, exact=exact).double
    return BlockQR(
        double=double, inner=inner, normalized=s.squares, devices=s.devices, whole=s.splits
    )


LADDER: tuple[Rung, ...] = (
    Rung(
        "jacobi",
        f"a batch of at least {MANY} matrices whose shorter side is small",
        lambda s, needs: s.prefers_jacobi(needs),
        lambda s, needs, exact: Jacobi(),
    ),
    Rung(
        "gram",
        "values can be read, and the function needs the large values only, or all values and one "
        "side is at least twice the other",
        lambda s, needs: s.looks_pay and _suits_gram(s, needs),
        lambda s, needs, exact: Gram(polished=s.polished, guarded=s.guarded),
    ),
    Rung(
        "gram, double precision",
        "as for `gram`, in single precision, where double precision is available",
        lambda s, needs: (
            s.looks_pay and _suits_gram(s, needs) and s.single and s.doubles != "never"
        ),
        lambda s, needs, exact: Gram(double=True, polished=s.polished, guarded=s.guarded),
    ),
    Rung(
        "qr",
        f"one side is at least {TALL} times the other",
        lambda s, needs: s.is_tall and needs != "eigenvectors",
        _block_qr,
    ),
    Rung(
        "jacobi",
        "the framework has no decomposition here, or none of full precision",
        lambda s, needs: not (s.has_eigh if needs == "eigenvectors" else s.has_svd),
        lambda s, needs, exact: Jacobi(),
    ),
    Rung("svd", "always (`eigh` for a Hermitian matrix)", lambda s, needs: True, _native),
)
"""The steps of ``driver="auto"``, the cheapest driver first."""

DriverName = Literal["auto", "svd", "gram", "qr", "jacobi"]
EighDriverName = Literal["auto", "eigh", "jacobi"]

BY_NAME: dict[str, Callable[[Situation, Needs, bool], Driver]] = {
    "svd": _native,
    "gram": lambda s, needs, exact: Gram(normalized=True, polished=s.polished, guarded=s.guarded),
    "qr": _block_qr,
    "jacobi": lambda s, needs, exact: Jacobi(),
}
"""The drivers that a caller can name, for functions of the singular values."""

BY_NAME_HERMITIAN: dict[str, Callable[[Situation, Needs, bool], Driver]] = {
    "eigh": _native,
    "jacobi": lambda s, needs, exact: Jacobi(),
}
"""The drivers that a caller can name, for functions of the eigenvalues."""


def by_name(name: str, situation: Situation, needs: Needs, *, exact: bool) -> Driver:
    """The driver that the caller named."""
    names = BY_NAME_HERMITIAN if needs == "eigenvectors" else BY_NAME
    return names[name](situation, needs, exact)


def select(situation: Situation, needs: Needs, *, exact: bool) -> tuple[Driver, ...]:
    """The drivers to try in turn; the last is accurate for any values.

    `exact` is true if the derivative is promised to be exact, as for every operator.
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
    """Factors by the first driver that is accurate enough.

    Parameters
    ----------
    extent : callable
        ``S -> (largest, smallest)``: the range of values that the function depends on. Not needed
        for a single driver.
    choose : callable
        ``(enough, found, otherwise) -> factors``: `found` if the truth value `enough` is true, else
        ``otherwise()``.
    look : bool
        Whether Python may read values.
    """
    driver, *others = drivers
    finite = look and driver.exact and _is_finite(xp, A)
    same = look and decomposition.driver == driver
    decomposed = decomposition if same else replace(decomposition, driver=driver)
    found = decomposed.compute(xp, A, finite=finite)
    if not others or extent is None:
        return found
    bounds = extent(found.S)

    def next_driver(spoilt: Array) -> Any:
        rest = others
        # These values are accurate enough to see that the next driver would fail as well.
        if (
            look
            and len(rest) > 1
            and bool(xp.all(xp.isfinite(found.S), axis=_axes(found.S)))
            and not bool(rest[0].resolves(xp, found.S, bounds, spoilt))
        ):
            rest = rest[1:]
        return compute_factors(xp, decomposition, tuple(rest), A, extent, choose=choose, look=look)

    def unless_spoilt() -> Any:
        spoilt = ~xp.all(xp.isfinite(A), axis=(-2, -1))
        enough = driver.resolves(xp, found.S, bounds, spoilt)
        return choose(enough, found, lambda: next_driver(spoilt))

    return choose(driver.resolves(xp, found.S, bounds), found, unless_spoilt)


def _axes(x: Array) -> tuple[int, ...]:
    return tuple(range(len(x.shape)))


def _is_finite(xp: Namespace, A: Array) -> bool:
    """Whether all entries are finite; False also where their sum overflows."""
    return cmath.isfinite(complex(xp.sum(A, axis=_axes(A))))

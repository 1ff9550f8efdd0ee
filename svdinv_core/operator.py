"""The two things an adapter registers: a decomposition, and an operator on one.

An adapter decomposes once, from the input with its gradient stopped, and hands the factors
to the methods below. Where a derivative is differentiated again, it first makes the factors
differentiable functions of the input, by the decomposition's own ``jvp`` and ``vjp``.
Instances are frozen and hashable, so that a compiler can treat them as static.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

from .arrays import first
from .drivers import Driver, Needs
from .namespace import Array, Namespace
from .rules import default_degeneracy_rtol

__all__ = [
    "Constant",
    "Decomposition",
    "Operator",
    "Some",
    "Tangents",
    "unchanged",
    "undefined_at_ties",
]

Constant = Callable[[Array], Array]
Some = Callable[[Array], bool]


def unchanged(x: Array) -> Array:
    """`x`, where nothing is differentiated again."""
    return x


class Tangents(NamedTuple):
    """Tangents of A and of the parameters; absent ones are None."""

    A: Array | None
    params: tuple[Array | None, ...]


class Decomposition(Protocol):
    """``A -> factors``, with forward and reverse derivative."""

    @property
    def Factors(self) -> type[Any]:
        """Type of the factors, a named tuple."""

    @property
    def driver(self) -> Driver:
        """How the factors are computed."""

    @property
    def needs(self) -> Needs:
        """What a driver has to give."""

    @property
    def linear(self) -> bool:
        """Whether `vjp` is the adjoint of `jvp`, and so linear in the cotangents.

        If not, `jvp` and the derivative of `vjp` are those of `fallback`.
        """

    @property
    def fallback(self) -> Decomposition:
        """Itself if it is linear, else one that is: where `vjp` may be differentiated again, its
        factors are functions of A by this one.
        """

    def compute(self, xp: Namespace, A: Array, *, finite: bool = False) -> Any:
        """Factors of A; NaN for a matrix with a non-finite entry, of which `finite` denies any."""

    def jvp(self, xp: Namespace, factors: Any, dA: Array) -> Any:
        """Tangents of the factors."""

    def vjp(
        self,
        xp: Namespace,
        factors: Any,
        cotangents: tuple[Array | None, ...],
        *,
        constant: Constant = unchanged,
        some: Some | None = None,
    ) -> Array | None:
        """Cotangent of A; absent cotangents are None, and None comes back if all are.

        Parameters
        ----------
        constant : callable
            The framework's way to stop a gradient, where `vjp` may be differentiated again: put
            around what the part that is not linear is made of.
        some : callable, optional
            Whether any entry of a boolean array is true, where a look at values costs nothing: that
            part is left out where no values are tied.
        """


class Operator:
    """A function of a matrix that is computed from its decomposition.

    `needs` is what the function needs of its factors.

    `params` are its differentiable parameters besides A: arrays of the framework, or Python
    numbers, which get no derivative. An operator with more than one output takes and returns
    tuples of that length where one with a single output takes and returns an array.
    """

    decomposition: ClassVar[Decomposition]
    needs: ClassVar[Needs]
    outputs: ClassVar[int] = 1
    twice: ClassVar[bool] = False
    """Whether `second` and `hvp` are written; if not, its derivatives are differentiated."""

    def extent(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> tuple[Array, Array]:
        """The largest singular value, and the smallest that has to be told from others.

        ``(..., 1)`` each, from S in descending order.
        """
        raise NotImplementedError

    def apply(self, xp: Namespace, A: Array, factors: Any, params: tuple[Array, ...]) -> Any:
        """Value at A, from its factors."""
        raise NotImplementedError

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: Any,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> Any:
        """Tangent of the value; absent tangents are None (not all of them at once)."""
        raise NotImplementedError

    def vjp(
        self, xp: Namespace, A: Array, factors: Any, params: tuple[Array, ...], ct: Any
    ) -> tuple[Array, tuple[Array | None, ...]]:
        """Cotangents of A and of each parameter (None for one that has none)."""
        raise NotImplementedError

    def with_cotangent(self, params: tuple[Array, ...]) -> tuple[bool, ...]:
        """To which parameters `vjp` gives a cotangent."""
        return tuple(not isinstance(p, (int, float)) for p in params)

    def second(
        self,
        xp: Namespace,
        A: Array,
        factors: Any,
        params: tuple[Array, ...],
        one: Tangents,
        two: Tangents,
    ) -> Any:
        """Second derivative of the value, in two directions; None if it is zero."""
        raise NotImplementedError

    def hvp(
        self,
        xp: Namespace,
        A: Array,
        factors: Any,
        params: tuple[Array, ...],
        ct: Any,
        along: Tangents,
    ) -> tuple[Array | None, tuple[Array | None, ...]]:
        """Derivative of `vjp` at a fixed cotangent: the product with the Hessian of ``<ct, B>``.

        It is self-adjoint, as a map of the tangents of A and of the parameters.
        """
        raise NotImplementedError

    def moved(
        self, xp: Namespace, params: tuple[Array, ...], factors: Any, raw: Any
    ) -> tuple[Array, ...]:
        """Parameters that stand for functions of the raw factors, as functions of the others."""
        return params


def undefined_at_ties(xp: Namespace, factors: Any, raw: Any) -> Array:
    """0 for each matrix, ``(..., 1)``, whose derivative is NaN where values are repeated.

    For what is differentiated through factors and is not right there: better no number than a
    wrong one. `factors` are functions of A, `raw` the same without a derivative.
    """
    name = "S" if hasattr(raw, "S") else "eigenvalues"
    v, fixed = getattr(factors, name), getattr(raw, name)
    sizes = xp.abs(fixed)
    largest = xp.maximum(first(sizes), sizes[..., -1:])
    gaps = xp.abs(fixed[..., 1:] - fixed[..., :-1])
    apart = gaps > default_degeneracy_rtol(float(xp.finfo(fixed.dtype).eps)) * largest
    tied = xp.expand_dims(~xp.all(apart, axis=-1), axis=-1)
    d = xp.sum((v - fixed) ** 2, axis=-1, keepdims=True)
    root = xp.sqrt(xp.where(tied, d, xp.ones_like(d)))
    return xp.where(tied, root, xp.zeros_like(root))

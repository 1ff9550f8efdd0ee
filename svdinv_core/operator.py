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
    "Arrays",
    "Constant",
    "Decomposition",
    "Direction",
    "Look",
    "MatrixFunction",
    "Operator",
    "Point",
    "Some",
    "Tangents",
    "unchanged",
    "undefined_at_ties",
]

Constant = Callable[[Array], Array]
Look = Callable[[Array], bool]
Arrays = tuple[Array, ...]
Some = tuple[Array | None, ...]
"""Arrays, any of which may be absent."""


def unchanged(x: Array) -> Array:
    """`x`, where nothing is differentiated again."""
    return x


class Tangents(NamedTuple):
    """Tangents, or cotangents, of A and of the parameters; absent ones are None."""

    A: Array | None
    params: Some


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
        some: Look | None = None,
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


class Point(NamedTuple):
    """Where an operator is evaluated.

    Parameters
    ----------
    xp : namespace
    A : array (..., m, n)
    factors : named tuple
        Of A, as the operator's decomposition computes them.
    params : tuple of array
        The differentiable parameters besides A.
    wanted : tuple of bool, optional
        Which parameters `vjp` and `hvp` are asked for a cotangent of; None for all of them. The
        others may get None, which saves the work.
    """

    xp: Namespace
    A: Array
    factors: Any
    params: tuple[Array, ...] = ()
    wanted: tuple[bool, ...] | None = None

    def wants(self, i: int) -> bool:
        """Whether the i-th parameter is to get a cotangent."""
        return self.wanted is None or self.wanted[i]


class Operator:
    """A function of a matrix that is computed from its decomposition.

    Its values, and their tangents and cotangents, are tuples of `outputs` arrays. An absent
    tangent, cotangent or result is None, and stands for zeros.

    `needs` is what the function needs of its factors.
    """

    decomposition: ClassVar[Decomposition]
    needs: ClassVar[Needs]
    outputs: ClassVar[int] = 1
    twice: ClassVar[bool] = False
    """Whether `second` and `hvp` are written; if not, its derivatives are differentiated."""

    def extent(self, xp: Namespace, S: Array, params: Arrays) -> tuple[Array, Array]:
        """The largest singular value, and the smallest that has to be told from others.

        ``(..., 1)`` each, from S in descending order.
        """
        raise NotImplementedError

    def apply(self, at: Point) -> Arrays:
        """Values at A, from its factors."""
        raise NotImplementedError

    def jvp(self, at: Point, along: Tangents) -> Some:
        """Tangents of the values. At least one tangent is given."""
        raise NotImplementedError

    def vjp(self, at: Point, cts: Some) -> Tangents:
        """Cotangents of A and of the parameters. At least one of `cts` is given."""
        raise NotImplementedError

    def with_cotangent(self, params: Arrays) -> tuple[bool, ...]:
        """Which parameters `vjp` can give a cotangent."""
        return (True,) * len(params)

    def second(self, at: Point, one: Tangents, two: Tangents) -> Some:
        """Second derivatives of the values, in two directions."""
        raise NotImplementedError

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        """Derivative of `vjp` at fixed cotangents: the product with the Hessian of ``<ct, B>``.

        It is self-adjoint, as a map of the tangents of A and of the parameters.
        """
        raise NotImplementedError

    def moved(self, xp: Namespace, params: Arrays, factors: Any, raw: Any) -> Arrays:
        """Parameters that stand for functions of the raw factors, as functions of the others."""
        return params


class Direction(Protocol):
    """A tangent or cotangent of A in the basis of the factors."""

    @property
    def diagonal(self) -> Array:
        """Its part along the values, ``(..., k)``."""

    def map(self, more: Array | None) -> Array:
        """The derivative in this direction, and that through a variation `more` of the values."""


class MatrixFunction(Operator):
    """A function of a matrix that acts on its values: one output, one derivative for both modes.

    The derivative in A is a self-adjoint map D, which an engine computes: :mod:`.spectral` with the
    vectors of both sides, :mod:`.scaled` with those of one, :mod:`.hermitian` with eigenvectors.
    A function says what D is made of (`terms`, which the other methods get), and where its values
    vary otherwise as well, through parameters or by each other, `push` and `pull`.
    """

    def terms(self, at: Point) -> Any:
        """What depends on the values and the parameters alone, computed once."""
        raise NotImplementedError

    def direction(self, at: Point, terms: Any, G: Array) -> Direction:
        """A tangent or cotangent of A, for the map D."""
        raise NotImplementedError

    def recomposed(self, at: Point, terms: Any, df: Array) -> Array:
        """The matrix with other values."""
        raise NotImplementedError

    def push(self, at: Point, terms: Any, dparams: Some, diagonal: Array | None) -> Array | None:
        """Variation of the values that is not in D, or None.

        Through parameters, and from the `diagonal` of a direction; None stands for no variation.
        """
        return None

    def pull(self, at: Point, terms: Any, diagonal: Array) -> tuple[Some, Array | None]:
        """Adjoint of `push`: cotangents of the parameters, and of the diagonal."""
        return (None,) * len(at.params), None

    def jvp(self, at: Point, along: Tangents) -> Some:
        terms = self.terms(at)
        if along.A is None:
            df = self.push(at, terms, along.params, None)
            return (None if df is None else self.recomposed(at, terms, df),)
        direction = self.direction(at, terms, along.A)
        return (direction.map(self.push(at, terms, along.params, direction.diagonal)),)

    def vjp(self, at: Point, cts: Some) -> Tangents:
        terms = self.terms(at)
        direction = self.direction(at, terms, cts[0])
        ct_params, more = self.pull(at, terms, direction.diagonal)
        return Tangents(direction.map(more), ct_params)

    def second_map(self, at: Point, X: Array, Y: Array) -> Array:
        """``T[X, Y]``, the second derivative in A; X has the scale of A rather than Y."""
        raise NotImplementedError

    def second(self, at: Point, one: Tangents, two: Tangents) -> Some:
        if one.A is None or two.A is None:
            return (None,)
        return (self.second_map(at, one.A, two.A),)

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        T = None if along.A is None else self.second_map(at, along.A, cts[0])
        return Tangents(T, (None,) * len(at.params))


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

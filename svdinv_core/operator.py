"""The two objects whose derivatives an adapter registers: decompositions and operators.

An adapter decomposes once, from the input with its gradient stopped, and passes the factors to the
methods below. If a derivative is differentiated again, the adapter first makes the factors
differentiable functions of the input, by the decomposition's own ``jvp`` and ``vjp``. Instances are
frozen and hashable, so that a compiler can treat them as static.
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
    "any_tied",
    "unchanged",
    "undefined_at_ties",
]

Constant = Callable[[Array], Array]
Look = Callable[[Array], bool]
Arrays = tuple[Array, ...]
Some = tuple[Array | None, ...]
"""Arrays, any of which may be None."""


def unchanged(x: Array) -> Array:
    """Return `x`. Default for `constant`, if nothing is differentiated again."""
    return x


class Tangents(NamedTuple):
    """Tangents, or cotangents, of A and of the parameters; absent ones are None."""

    A: Array | None
    params: Some


class Decomposition(Protocol):
    """The map ``A -> factors``, with forward and reverse derivative."""

    @property
    def Factors(self) -> type[Any]:
        """Type of the factors, a named tuple."""

    @property
    def driver(self) -> Driver:
        """How the factors are computed."""

    @property
    def needs(self) -> Needs:
        """Which factors it needs from a driver."""

    @property
    def linear(self) -> bool:
        """Whether `vjp` is the adjoint of `jvp`, and so linear in the cotangents.

        If it is not, `jvp` and the derivative of `vjp` are those of `fallback`.
        """

    @property
    def fallback(self) -> Decomposition:
        """Itself if it is linear, else a linear one.

        Where `vjp` may be differentiated again, this one makes the factors functions of A.
        """

    def compute(self, xp: Namespace, A: Array, *, finite: bool = False) -> Any:
        """Compute the factors of A. A matrix with a non-finite entry gets NaN factors.

        Pass `finite=True` if there is no such matrix; the check is then skipped.
        """

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
        """Cotangent of A. An absent cotangent is None; if all are absent, so is the result.

        Parameters
        ----------
        constant : callable
            The framework's function to stop a gradient, if `vjp` may be differentiated again. It is
            applied to the inputs of the part that is not linear.
        some : callable, optional
            Whether any entry of a boolean array is true, if reading values is free. The part that
            is not linear is then skipped if no values are tied.
        """


class Point(NamedTuple):
    """Where an operator is evaluated.

    Parameters
    ----------
    xp : namespace
    A : array (..., m, n)
    factors : named tuple
        The factors of A, as the operator's decomposition computes them.
    params : tuple of array
        The differentiable parameters besides A.
    wanted : tuple of bool, optional
        Which parameters need a cotangent from `vjp` and `hvp`; None for all of them. The others may
        get None, which saves work.
    """

    xp: Namespace
    A: Array
    factors: Any
    params: tuple[Array, ...] = ()
    wanted: tuple[bool, ...] | None = None

    def wants(self, i: int) -> bool:
        """Whether parameter number i needs a cotangent."""
        return self.wanted is None or self.wanted[i]


class Operator:
    """A function of a matrix that is computed from its decomposition.

    Its values, their tangents and their cotangents are tuples of `outputs` arrays. None stands for
    a tangent, cotangent or result that is zero. `needs` says which factors the function needs.
    """

    decomposition: ClassVar[Decomposition]
    needs: ClassVar[Needs]
    outputs: ClassVar[int] = 1
    twice: ClassVar[bool] = False
    """Whether `second` and `hvp` are implemented; if not, `jvp` and `vjp` are differentiated."""

    def extent(self, xp: Namespace, S: Array, params: Arrays) -> tuple[Array, Array]:
        """The largest singular value, and the smallest one whose accuracy matters.

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
        """Which parameters have a cotangent in `vjp`."""
        return (True,) * len(params)

    def second(self, at: Point, one: Tangents, two: Tangents) -> Some:
        """Second derivatives of the values in two directions."""
        raise NotImplementedError

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        """Derivative of `vjp` at fixed cotangents: the product with the Hessian of ``<ct, B>``.

        As a map of the tangents of A and of the parameters it is self-adjoint.
        """
        raise NotImplementedError

    def moved(self, xp: Namespace, params: Arrays, factors: Any, raw: Any) -> Arrays:
        """Make parameters that depend on the factors functions of `factors` instead of `raw`."""
        return params


class Direction(Protocol):
    """A tangent or cotangent of A in the basis of the factors."""

    @property
    def diagonal(self) -> Array:
        """The derivative of the values in this direction, ``(..., k)``."""

    def map(self, more: Array | None) -> Array:
        """The derivative in this direction, plus that of a variation `more` of the values."""


class MatrixFunction(Operator):
    """A function of a matrix that acts on its values. It has one output.

    The derivative in A is a self-adjoint map D, so it serves both modes. An engine computes it:
    :mod:`.spectral` with the vectors of both sides, :mod:`.scaled` with those of one side,
    :mod:`.hermitian` with eigenvectors. A function implements `terms`, the quantities of which D is
    made; the other methods receive them. If its values also vary through parameters or depend on
    each other, it implements `push` and `pull`.
    """

    def terms(self, at: Point) -> Any:
        """Quantities that depend only on the values and the parameters, computed once."""
        raise NotImplementedError

    def direction(self, at: Point, terms: Any, G: Array) -> Direction:
        """Prepare a tangent or cotangent of A for the map D."""
        raise NotImplementedError

    def recomposed(self, at: Point, terms: Any, df: Array) -> Array:
        """The matrix with df in place of the values."""
        raise NotImplementedError

    def push(self, at: Point, terms: Any, dparams: Some, diagonal: Array | None) -> Array | None:
        """Variation of the values that is not in D; None if there is none.

        It comes from the parameters and from the `diagonal` of a direction.
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
        """``T[X, Y]``, the second derivative in A. X, not Y, is divided by the scale of A."""
        raise NotImplementedError

    def second(self, at: Point, one: Tangents, two: Tangents) -> Some:
        if one.A is None or two.A is None:
            return (None,)
        return (self.second_map(at, one.A, two.A),)

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        T = None if along.A is None else self.second_map(at, along.A, cts[0])
        return Tangents(T, (None,) * len(at.params))


def any_tied(xp: Namespace, values: Array, *, singular: bool = True) -> Array:
    """Whether two of the values ``(..., k)``, which are in order, are the same or nearly so.

    Singular values come in pairs, s and -s, so that 0 is a tie as well.
    """
    sizes = xp.abs(values)
    largest = xp.maximum(first(sizes), sizes[..., -1:])
    gaps = xp.abs(values[..., 1:] - values[..., :-1])
    gaps = xp.concat([gaps, sizes[..., -1:]], axis=-1) if singular else gaps
    apart = gaps > default_degeneracy_rtol(float(xp.finfo(values.dtype).eps)) * largest
    return ~xp.all(apart, axis=-1)


def undefined_at_ties(xp: Namespace, factors: Any, raw: Any) -> Array:
    """Zeros ``(..., 1)`` whose derivative is NaN for each matrix with `any_tied` values.

    Adding them turns a derivative through the factors, which is wrong at ties, into NaN there.
    `factors` are functions of A; `raw` are the same values without a derivative.
    """
    singular = hasattr(raw, "S")
    name = "S" if singular else "eigenvalues"
    v, fixed = getattr(factors, name), getattr(raw, name)
    tied = xp.expand_dims(any_tied(xp, fixed, singular=singular), axis=-1)
    d = xp.sum((v - fixed) ** 2, axis=-1, keepdims=True)
    root = xp.sqrt(xp.where(tied, d, xp.ones_like(d)))
    return xp.where(tied, root, xp.zeros_like(root))

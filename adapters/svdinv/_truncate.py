"""Public functions of the leading part of a matrix: its factors, product and projector."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, TypeVar

from svdinv_core import (
    SVD,
    BestApproximation,
    Dense,
    KeepColumns,
    Krylov,
    LeadingFactors,
    LeadingProjector,
    Linear,
    LinearProduct,
    LowRank,
    RangeProjector,
    Rule,
    Selection,
    SVDFactors,
    Triples,
    adjoint,
    get_rule,
    suits_krylov,
)
from svdinv_core.drivers import BY_NAME

from ._backend import Backend
from ._calls import Calls, Driver, as_array, needs
from ._checks import (
    Shape,
    check_computed,
    check_driver,
    check_known_rank,
    check_multiplets,
    check_number,
    check_of_operator,
    check_one_of,
    check_rank,
    dtype_name,
    is_floating,
)
from ._driver import Leading, factors_for, operate
from .operators import LinearOperator

__all__ = ["Multiplets", "Truncate", "TruncateDriver", "TruncatedSVDResult"]

ArrayT = TypeVar("ArrayT")
TruncateDriver = Literal[Driver, "krylov"]
Multiplets = Literal["keep", "drop", "cut"]


class TruncatedSVDResult(NamedTuple, Generic[ArrayT]):
    """The leading factors, how many of them are kept, and what that leaves out."""

    U: ArrayT
    S: ArrayT
    Vh: ArrayT
    rank: ArrayT
    error: ArrayT
    gap: ArrayT
    residual: ArrayT


class Truncate(Calls[ArrayT]):
    """Functions of the leading part of a matrix."""

    @needs("factors")
    def truncated_svd(
        self,
        x: ArrayT | LinearOperator,
        rank: int | None = None,
        *,
        rtol: float | None = None,
        atol: float | None = None,
        energy: float | None = None,
        multiplets: Multiplets = "keep",
        rule: str | Rule = "auto",
        driver: TruncateDriver = "auto",
        seed: int = 0,
    ) -> TruncatedSVDResult[ArrayT]:
        """The largest singular values and their vectors: by number, tolerance or energy.

        Parameters
        ----------
        x : array (..., m, n), sparse matrix or LinearOperator
            Real or complex floating point. A sparse matrix (of SciPy, JAX's BCOO, PyTorch) and a
            `svdinv.operators.LinearOperator` are never made dense; they need "krylov" and a
            `rank`.
        rank : int, optional
            Largest number of values to keep. It is the static length r of the result. Default
            ``min(m, n)``.
        rtol, atol : float, optional
            Values of at most ``rtol * S[..., 0]``, or at most `atol` in the units of the values,
            are dropped. Not differentiable.
        energy : float, optional
            A fraction in (0, 1]. The smallest number of values is kept whose squares add up to
            this fraction of the sum of all squares. For the truncated weight w of a tensor
            network it is ``1 - w``.
        multiplets : {"keep", "drop", "cut"}, default "keep"
            What to do if the cut goes through a repeated value: keep all of it, if `rank` has
            room; drop all of it; or cut where the other criteria say.
        rule : str or rule object, default "auto"
            As for `svd`, for ties among the kept values.
        driver : {"auto", "svd", "gram", "qr", "jacobi", "krylov"}, default "auto"
            As for `svd`. "krylov" and its gradient compute only the part that is kept, by products
            with thin blocks. "auto" takes it for one large matrix and a small `rank`, and
            decomposes the whole matrix if it does not converge.
        seed : int, default 0
            Selects one of the fixed starting blocks of "krylov". No random generator is read or
            changed.

        Returns
        -------
        TruncatedSVDResult
            ``U (..., m, r)``, ``S (..., r)``, ``Vh (..., r, n)``: the kept factors, filled with
            zeros. ``rank (...)``, int32: the number of values kept. ``error (...)``: the Frobenius
            norm of the dropped part relative to that of `x` (an estimate to some ten per cent
            where the entries are not known). ``gap (...)``: ``(S_r - S_{r+1})/S_r`` at the cut, 1
            where nothing is dropped. ``residual (...)``: the largest ``|x^H u - s v|/S_1`` of
            "krylov", 0 for other drivers. It does not tell how accurate the gradient is.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array or operator, `rank` or `seed` is not an integer,
            or a tolerance is not a number.
        ValueError
            If `x` has fewer than two dimensions, `rank`, `seed` or a tolerance is negative,
            `energy` is not in (0, 1], for an unknown `multiplets`, `rule` or `driver`, or for
            "krylov" without a `rank`.
        NotImplementedError
            For a second derivative of "krylov".

        Warns
        -----
        svdinv.ConvergenceWarning
            If "krylov" or the iteration of its gradient reaches its limit of iterations. The
            warning's attribute `residual` is the residual at that limit. The gradient has 1000
            steps, and a `gap` of 2e-4 needs no more in double precision, nor 5e-5 in single. JAX
            and `tf.function` cannot warn; there a gradient with less than half of its digits right
            is NaN.

        Notes
        -----
        Gradient: exact for U, S and Vh, including the part through the dropped vectors. Repeated
        values among the kept ones are treated as in `svd`; among the dropped ones they do no
        harm. The condition number is 1/`gap`. Where the cut splits a repeated value, `gap` is 0
        and there is no gradient; a finite one is returned. `rank`, `error`, `gap` and `residual`
        have no derivative. "krylov" finds the part outside the kept vectors by conjugate
        gradients, with a tolerance of a few units in the last place; in reverse mode it needs
        O((m + n) r) memory besides `x`.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> U, S, Vh, rank, error, *_ = svdinv.truncated_svd(np.diag([3.0, 2.0, 1e-3]), rtol=1e-2)
        >>> S, int(rank)
        (array([3., 2., 0.]), 2)
        """
        selection = _selection(rank, rtol, atol, energy, multiplets)
        chosen = get_rule(rule)
        check_driver(driver, (*BY_NAME, "krylov"))
        seed = check_rank(seed, "seed")
        backend, operator = self._operator(x)
        if operator is not None:
            check_of_operator(driver, rank)
            result: TruncatedSVDResult[ArrayT] = backend.uncompiled(
                self._truncated_operator, backend, operator, selection, chosen, seed
            )
            return result
        backend, array, dtype, shape = self._prepare(x)
        driver = _for_entries(shape, driver, rank)
        if _takes_krylov(backend, array, shape, selection, driver):
            found = _krylov(backend, array, shape, selection, driver, seed)
            factors = backend.apply(LeadingFactors(found.linear, chosen), *found.at)
            return self._triples(backend, factors, found.triples[3:], dtype)
        k = _shorter(shape)
        decomposition = SVD(chosen)
        raw = factors_for(backend, decomposition, array, driver=driver)
        whole = backend.decompose(decomposition, array, raw)
        kept = selection.of(backend.xp, raw.S)
        factors = backend.run(KeepColumns(selection.most(k)), *whole, kept.weights)
        measures = (kept.rank, kept.error, kept.gap, backend.xp.zeros_like(kept.gap))
        return self._triples(backend, factors, measures, dtype)

    def _operator(self, x: Any) -> tuple[Backend, LinearOperator | None]:
        """The backend of `x`, and `x` as an operator if it is one or is sparse, else None."""
        backend = self._find_backend(x)
        operator = x if isinstance(x, LinearOperator) else backend.sparse(x)
        if operator is not None:
            check_computed(operator.dtype)
        return backend, operator

    def _truncated_operator(
        self,
        backend: Backend,
        operator: LinearOperator,
        selection: Selection,
        rule: Rule,
        seed: int,
    ) -> TruncatedSVDResult[ArrayT]:
        """The leading part of a matrix that is known by its products."""
        found = _of_operator(backend, operator, selection, seed)
        factors = backend.apply(LeadingFactors(found.linear, rule), *found.at)
        return self._triples(backend, factors, found.triples[3:], operator.dtype)

    def _triples(
        self, backend: Backend, factors: Any, measures: tuple[Any, ...], dtype: Any
    ) -> TruncatedSVDResult[ArrayT]:
        """Make the result of factors and ``rank, error, gap, residual``."""
        U, S, Vh = (self._finish(backend, factor, dtype) for factor in factors)
        rank, *others = measures
        error, gap, residual = (self._finish(backend, other, dtype) for other in others)
        return TruncatedSVDResult(U, S, Vh, rank, error, gap, residual)

    @needs("large values")
    def low_rank(
        self,
        x: ArrayT,
        rank: int | None = None,
        *,
        rtol: float | None = None,
        atol: float | None = None,
        energy: float | None = None,
        multiplets: Multiplets = "keep",
        driver: TruncateDriver = "auto",
    ) -> ArrayT:
        """Best approximation of a lower rank, made of the largest singular values.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        rank : int, optional
            Largest number of values to keep, at least 0. Default ``min(m, n)``, which keeps all.
        rtol, atol, energy, multiplets : optional
            Further criteria, as for `truncated_svd`.
        driver : TruncateDriver, default "auto"
            As for `svt` and `truncated_svd`. The error of "gram" is about
            ``eps S[..., 0]^2 / (S[..., rank-1]^2 - S[..., rank]^2)``.

        Returns
        -------
        array (..., m, n)

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, `rank` is not an integer, or a tolerance is not a
            number.
        ValueError
            If `x` has fewer than two dimensions, `rank` or a tolerance is negative, `energy` is
            not in (0, 1], for an unknown `multiplets` or `driver`, or for "krylov" without a
            `rank`.

        Notes
        -----
        Gradient: exact, also for values repeated within the kept or within the dropped part.
        Its size grows as ``S[rank-1] / (S[rank-1] - S[rank])``. Where the cut splits a repeated
        value there is no gradient; a finite one is returned. For "krylov" see `truncated_svd`.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.low_rank(np.diag([3.0, 1.0]), 1)
        array([[3., 0.],
               [0., 0.]])
        >>> svdinv.low_rank(np.diag([3.0, 1.0]), rtol=0.5)
        array([[3., 0.],
               [0., 0.]])
        """
        selection = _selection(rank, rtol, atol, energy, multiplets)
        check_driver(driver, (*BY_NAME, "krylov"))
        backend, array, dtype, shape = self._prepare(x)
        driver = _for_entries(shape, driver, rank)
        if _takes_krylov(backend, array, shape, selection, driver):
            found = _krylov(backend, array, shape, selection, driver)
            (out,) = backend.apply(BestApproximation(found.linear), *found.at)
            return self._finish(backend, out, dtype)
        k = _shorter(shape)
        operator = LowRank(selection.most(k), selection if selection.by_value else None)
        return self._value(backend, operator, array, dtype, driver=driver)

    @needs("all values")
    def range_projector(
        self,
        x: ArrayT,
        /,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        driver: TruncateDriver = "auto",
    ) -> ArrayT:
        """Orthogonal projector onto the range, or onto the leading left singular vectors.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        rank : int, optional
            Number of singular vectors to keep. Default: those whose value is not zero.
        rtol : float, optional
            Without `rank`: values of at most ``rtol * S[..., 0]`` count as zero. Default
            ``eps * max(m, n)``.
        driver : TruncateDriver, default "auto"
            As for `pinv`, and with `rank` as for `truncated_svd`.

        Returns
        -------
        array (..., m, m)
            ``U_r U_r^H``. The identity minus it projects onto the null space of ``x^H``. Use these
            two projectors where you would use the extra vectors of ``full_matrices=True``; unlike
            those vectors they are unique.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, `rank` is not an integer or `rtol` not a number.
        ValueError
            If `x` has fewer than two dimensions, `rank` or `rtol` is negative, both are given, for
            an unknown `driver`, or for "krylov" without a `rank`.

        Notes
        -----
        Gradient: exact, also for values repeated within the kept or within the dropped part. With
        `rank` its size grows as ``1/(S[rank-1] - S[rank])``, and where the cut splits a repeated
        value there is none. Without `rank` it is exact for changes of `x` that keep its rank.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.range_projector(np.array([[3.0, 3.0], [0.0, 0.0]])).round(12)
        array([[1., 0.],
               [0., 0.]])
        """
        check_driver(driver, (*BY_NAME, "krylov"))
        check_one_of("rank", rank, "rtol", rtol)
        kept = None if rank is None else check_rank(rank)
        tolerance = check_number("rtol", rtol, at_least=0.0, optional=True)
        backend, array, dtype, shape = self._prepare(x)
        selection = Selection(kept)
        driver = _for_entries(shape, driver, kept)
        if _takes_krylov(backend, array, shape, selection, driver):
            found = _krylov(backend, array, shape, selection, driver)
            (out,) = backend.apply(LeadingProjector(found.linear), *found.at)
        else:
            (out,) = operate(backend, RangeProjector(kept, tolerance), array, driver=driver)
        return self._finish(backend, out, dtype)


def _shorter(shape: Shape) -> Any:
    m, n = shape[-2:]
    assert m is not None
    assert n is not None
    return m if m < n else n


def _selection(rank: Any, rtol: Any, atol: Any, energy: Any, multiplets: str) -> Selection:
    """Check the criteria, and make a `Selection` of them."""
    check_multiplets(multiplets)
    part = check_number("energy", energy, above=0.0, at_most=1.0, optional=True)
    return Selection(
        None if rank is None else check_rank(rank),
        check_number("rtol", rtol, at_least=0.0, optional=True),
        check_number("atol", atol, at_least=0.0, optional=True),
        part,
        multiplets,
    )


def _for_entries(shape: Shape, driver: TruncateDriver, rank: int | None) -> TruncateDriver:
    """The driver to use; matrices without entries leave nothing to iterate over."""
    if driver != "krylov" or 0 not in shape:
        return driver
    check_known_rank(rank)
    return "svd"


def _takes_krylov(
    backend: Backend, array: Any, shape: Shape, selection: Selection, driver: str
) -> bool:
    if driver == "krylov":
        check_known_rank(selection.rank)
        if not all(isinstance(n, int) for n in shape[-2:]):
            raise ValueError(f"driver: 'krylov' needs known lengths m and n, got shape {shape}")
        if not backend.iterates:
            raise ValueError(
                f"driver: 'krylov' reads values, which a {backend.array_name} does not have yet"
            )
        return True
    if driver != "auto" or selection.rank is None:
        return False
    return suits_krylov(backend.situation(array), selection.rank)


class _Found(NamedTuple):
    """Singular triples, and the arguments of `Backend.apply` for an operator on them."""

    triples: Triples
    linear: Linear
    at: tuple[Any, ...]


def _krylov(
    backend: Backend,
    array: Any,
    shape: Shape,
    selection: Selection,
    driver: str,
    seed: int = 0,
) -> _Found:
    """The leading part of an array."""
    m, n = (int(length) for length in shape[-2:] if length is not None)
    krylov = Krylov(Dense(), m, n, selection, tried=driver == "auto", seed=seed)
    triples = backend.of_values(Leading(backend, krylov), array, ())
    return _found(backend, Dense(), (array,), triples)


def _of_operator(
    backend: Backend, operator: LinearOperator, selection: Selection, seed: int = 0
) -> _Found:
    """The leading part of a matrix that is known by its products."""
    params = tuple(
        as_array(backend, "params", p) if is_floating(p.dtype) else p for p in operator.params
    )
    name = dtype_name(operator.dtype)
    number = next(p for p in params if is_floating(p.dtype))
    like = backend.constant([[0.0]], number, "complex" in name)
    like = backend.cast(like, getattr(backend.xp, name))
    krylov = Krylov(operator.linear, *operator.shape, selection, seed=seed)
    triples = backend.of_values(Leading(backend, krylov), like, params)
    return _found(backend, krylov.linear, params, triples)


def _found(backend: Backend, linear: Linear, arrays: tuple[Any, ...], triples: Triples) -> _Found:
    triples = Triples(*triples)
    V = adjoint(backend.xp, triples.Vh)
    (AV,) = backend.run(LinearProduct(linear), V, *arrays)
    (AHU,) = backend.run(LinearProduct(linear, adjoint=True), triples.U, *arrays)
    held = tuple(map(backend.stopped, arrays))
    return _Found(triples, linear, (AV, SVDFactors(*triples[:3]), (AHU, triples.gap, *held)))

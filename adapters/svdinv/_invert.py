"""Public functions that invert: the pseudoinverse, and least squares."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from svdinv_core import (
    Product,
    Pseudoinverse,
    SingularValues,
    SquaredResiduals,
    kept_values,
)

from ._calls import Calls, Driver, needs
from ._checks import check_driver, check_number, check_right_side
from ._driver import factors_for

__all__ = ["Invert", "LstsqResult"]

ArrayT = TypeVar("ArrayT")


class LstsqResult(NamedTuple, Generic[ArrayT]):
    """The solution of a least-squares problem, with the fields of ``numpy.linalg.lstsq``."""

    x: ArrayT
    residuals: ArrayT
    rank: ArrayT
    s: ArrayT


class Invert(Calls[ArrayT]):
    """Functions that invert."""

    @needs("all values")
    def pinv(self, x: ArrayT, /, *, rtol: float | None = None, driver: Driver = "auto") -> ArrayT:
        """Moore-Penrose inverse.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        rtol : float, optional
            Singular values of at most ``rtol * S[..., 0]`` count as zero. Default
            ``eps * max(m, n)``.
        driver : Driver, default "auto"
            As for `svt`. The error of "gram" is about ``eps (S[..., 0]/S[..., -1])^2``; do not
            use it for a matrix without full rank. "auto" tries it only where one side is at
            least twice the other.

        Returns
        -------
        array (..., n, m)

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, or `rtol` is not a number.
        ValueError
            If `x` has fewer than two dimensions, `rtol` is negative, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact for changes of `x` that keep its rank, whatever values are repeated,
        because the formula contains no difference of two values. Where a change of `x` raises
        its rank there is no derivative.

        References
        ----------
        Golub & Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
        problems whose variables separate", SIAM J. Numer. Anal. 10 (1973).

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.pinv(np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
        array([[0.5, 0. , 0. ],
               [0. , 0. , 0. ]])
        """
        check_driver(driver)
        operator = Pseudoinverse(check_number("rtol", rtol, at_least=0.0, optional=True))
        backend, array, dtype, _ = self._prepare(x)
        return self._value(backend, operator, array, dtype, driver=driver)

    @needs("all values")
    def lstsq(
        self, a: ArrayT, b: ArrayT, /, *, rtol: float | None = None, driver: Driver = "auto"
    ) -> LstsqResult[ArrayT]:
        """Least-squares solution of least norm, ``pinv(a) @ b``.

        Parameters
        ----------
        a : array (..., m, n)
            Real or complex floating point.
        b : array (..., m) or (..., m, c)
            One right-hand side for each matrix, or c of them.
        rtol, driver
            As for `pinv`.

        Returns
        -------
        LstsqResult
            ``x (..., n)`` or ``(..., n, c)``; ``residuals``, the sums ``|b - a x|^2``, ``(...)``
            or ``(..., c)``; ``rank (...)``, the number of singular values that are kept; and
            ``s (..., k)``, the singular values.

        Raises
        ------
        TypeError
            If `a` or `b` is not a floating-point array, `b` is complex and `a` is not, or `rtol`
            is not a number.
        ValueError
            If `a` has fewer than two dimensions, the shape of `b` does not match that of `a`,
            `rtol` is negative, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact in `a` and `b` at constant rank, repeated values included. ``rank`` has no
        gradient. Unlike NumPy, this returns ``residuals`` for any shape and rank.

        References
        ----------
        As for `pinv`.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> a = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
        >>> svdinv.lstsq(a, np.array([1.0, 3.0, 5.0])).x.round(12)
        array([1., 2.])
        """
        check_driver(driver)
        operator = Pseudoinverse(check_number("rtol", rtol, at_least=0.0, optional=True))
        backend, array, dtype, shape = self._prepare(a, "a")
        right = self._companion("b", b, backend, array)
        vector = check_right_side(backend.shape(right), shape)
        raw = factors_for(backend, operator, array, (), driver)
        (inverse,) = backend.apply(operator, array, raw, ())
        (S,) = backend.apply(SingularValues(), array, raw, ())
        (solution,) = backend.run(Product(vector), inverse, right)
        (residuals,) = backend.run(SquaredResiduals(vector), array, solution, right)
        kept = backend.xp.astype(kept_values(backend.xp, raw, operator.rtol), backend.xp.int32)
        return LstsqResult(
            self._finish(backend, solution, dtype),
            self._finish(backend, residuals, dtype),
            backend.xp.sum(kept, axis=-1),
            self._finish(backend, S, dtype),
        )

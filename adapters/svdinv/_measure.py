"""Public functions that measure: norms, and scalars of the singular values."""

from __future__ import annotations

from math import inf
from typing import TypeVar

from svdinv_core import Eigenvalues, Operator, SchattenNorm, SpectralNorm
from svdinv_core.drivers import BY_NAME_HERMITIAN

from ._calls import Calls, Driver, EighDriver, needs
from ._checks import check_driver, check_number, check_square

__all__ = ["Measure"]

ArrayT = TypeVar("ArrayT")


class Measure(Calls[ArrayT]):
    """Functions that measure a matrix."""

    @needs("eigenvectors")
    def eigvalsh(self, x: ArrayT, /, *, driver: EighDriver = "auto") -> ArrayT:
        """Eigenvalues of a Hermitian matrix, in ascending order.

        Parameters
        ----------
        x : array (..., n, n)
            Real or complex floating point; its Hermitian part is used.
        driver : EighDriver, default "auto"
            As for `eigh`.

        Returns
        -------
        array (..., n)
            Real. NaN for a matrix with a non-finite entry.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions or is not square, or for an unknown `driver`.

        Notes
        -----
        Gradient: ``Q diag(ct) Q^H``. It is exact where the values differ, and at a tie for every
        loss that is symmetric in the repeated values. It needs no division, hence no rule.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.eigvalsh(np.diag([3.0, -4.0]))
        array([-4.,  3.])
        """
        check_driver(driver, BY_NAME_HERMITIAN)
        backend, array, dtype, shape = self._prepare(x)
        check_square(shape)
        return self._value(backend, Eigenvalues(), array, dtype, driver=driver)

    @needs("large values")
    def spectral_norm(self, x: ArrayT, /, *, driver: Driver = "auto") -> ArrayT:
        """Largest singular value.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        driver : Driver, default "auto"
            As for `svt`.

        Returns
        -------
        array (...)
            Real.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions, or for an unknown `driver`.

        Notes
        -----
        Gradient: ``u v^H``. Where the largest value is repeated, it is the mean over the repeated
        values, which is the subgradient of least norm.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> float(svdinv.spectral_norm(np.diag([3.0, -4.0])))
        4.0
        """
        check_driver(driver)
        return self._norm(SpectralNorm(), x, driver)

    @needs("all values")
    def schatten_norm(self, x: ArrayT, p: float, /, *, driver: Driver = "auto") -> ArrayT:
        """Schatten norm, ``(sum S^p)^(1/p)``.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        p : float
            Greater than 0; 1 is the nuclear norm, 2 the Frobenius norm, ``inf`` the spectral
            norm. For ``p < 1`` the result is not a norm, but promotes low rank more strongly.
        driver : Driver, default "auto"
            As for `nuclear_norm`.

        Returns
        -------
        array (...)
            Real.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, or `p` is not a number.
        ValueError
            If `x` has fewer than two dimensions, `p` is not greater than 0, or for an unknown
            `driver`.

        Notes
        -----
        Gradient: ``U diag((S/norm)^(p-1)) Vh`` over the values that are not zero. For ``p <= 1``
        and a matrix without full rank it is the subgradient of least norm. `p` has no gradient.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> float(svdinv.schatten_norm(np.diag([3.0, -4.0]), 2))
        5.0
        """
        check_driver(driver)
        p = check_number("p", p, above=0.0, infinite=True)
        return self._norm(SpectralNorm() if p == inf else SchattenNorm(p), x, driver)

    def _norm(self, operator: Operator, x: ArrayT, driver: str) -> ArrayT:
        backend, array, dtype, _ = self._prepare(x)
        return self._value(backend, operator, array, dtype, driver=driver)

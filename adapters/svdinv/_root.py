"""Public functions of a Hermitian matrix: roots, powers, exponential and logarithm."""

from __future__ import annotations

from typing import TypeVar

from svdinv_core import Exponential, InverseSquareRoot, Logarithm, Operator, Power, SquareRoot
from svdinv_core.drivers import BY_NAME_HERMITIAN

from ._calls import Calls, EighDriver, needs
from ._checks import check_driver, check_number, check_square

__all__ = ["Root"]

ArrayT = TypeVar("ArrayT")


class Root(Calls[ArrayT]):
    """Functions of a Hermitian matrix that have a name."""

    def _hermitian(self, operator: Operator, x: ArrayT, driver: str) -> ArrayT:
        check_driver(driver, BY_NAME_HERMITIAN)
        backend, array, dtype, shape = self._prepare(x)
        check_square(shape)
        return self._value(backend, operator, array, dtype, driver=driver)

    @needs("eigenvectors")
    def sqrtm(
        self, x: ArrayT, /, *, rtol: float | None = None, driver: EighDriver = "auto"
    ) -> ArrayT:
        """Square root of a Hermitian positive semidefinite matrix.

        Parameters
        ----------
        x : array (..., n, n)
            Real or complex floating point; its Hermitian part is used.
        rtol : float, optional
            Eigenvalues of magnitude at most ``rtol`` times the largest magnitude are taken for
            rounding errors and count as 0. Default ``8 * eps * n``.
        driver : EighDriver, default "auto"
            As for `eigh`.

        Returns
        -------
        array (..., n, n)
            Hermitian. NaN for a matrix with a negative eigenvalue that is more than rounding, or
            with a non-finite entry; the rest of the batch is unaffected.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, or `rtol` is not a number.
        ValueError
            If `x` has fewer than two dimensions or is not square, `rtol` is negative, or for an
            unknown `driver`.

        Notes
        -----
        Gradient: exact for any eigenvalues, repeated and nearly repeated ones included. The part
        between two eigenvalues of 0 is infinite and is left out. So a loss of the root of a
        singular covariance ``y y^H`` has the right gradient in y.

        References
        ----------
        Higham, "Functions of Matrices" (2008), chapters 3 and 6.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.sqrtm(np.diag([4.0, 9.0]))
        array([[2., 0.],
               [0., 3.]])
        """
        rtol = check_number("rtol", rtol, at_least=0.0, optional=True)
        return self._hermitian(SquareRoot(rtol), x, driver)

    @needs("eigenvectors")
    def inv_sqrtm(
        self,
        x: ArrayT,
        /,
        *,
        floor: float | None = None,
        rtol: float | None = None,
        driver: EighDriver = "auto",
    ) -> ArrayT:
        """Inverse square root of a Hermitian positive definite matrix: whitening.

        Parameters
        ----------
        x : array (..., n, n)
            Real or complex floating point; its Hermitian part is used.
        floor : float, optional
            Smaller eigenvalues are replaced by this number, greater than 0, in the units of the
            eigenvalues. Without it a singular matrix has no inverse root.
        rtol : float, optional
            As for `sqrtm`.
        driver : EighDriver, default "auto"
            As for `eigh`.

        Returns
        -------
        array (..., n, n)
            Hermitian. NaN for a matrix with an eigenvalue of 0 and no `floor`, with a negative
            one that is more than rounding, or with a non-finite entry.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, or `floor` or `rtol` is not a number.
        ValueError
            If `x` has fewer than two dimensions or is not square, `floor` is not greater than 0,
            `rtol` is negative, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact for any eigenvalues, unless one equals the floor; there it is one-sided.

        References
        ----------
        As for `sqrtm`.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.inv_sqrtm(np.diag([4.0, 0.0]), floor=0.25)
        array([[0.5, 0. ],
               [0. , 2. ]])
        """
        floor = check_number("floor", floor, above=0.0, optional=True)
        rtol = check_number("rtol", rtol, at_least=0.0, optional=True)
        return self._hermitian(InverseSquareRoot(floor, rtol), x, driver)

    @needs("eigenvectors")
    def logm(self, x: ArrayT, /, *, driver: EighDriver = "auto") -> ArrayT:
        """Logarithm of a Hermitian positive definite matrix.

        Parameters
        ----------
        x : array (..., n, n)
            Real or complex floating point; its Hermitian part is used.
        driver : EighDriver, default "auto"
            As for `eigh`.

        Returns
        -------
        array (..., n, n)
            Hermitian. NaN for a matrix with an eigenvalue of 0 or less, or with a non-finite
            entry; the rest of the batch is unaffected.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions or is not square, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact for any eigenvalues, repeated and nearly repeated ones included.

        References
        ----------
        As for `sqrtm`, chapter 11.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.logm(np.eye(2))
        array([[0., 0.],
               [0., 0.]])
        """
        return self._hermitian(Logarithm(), x, driver)

    @needs("eigenvectors")
    def expm(self, x: ArrayT, /, *, driver: EighDriver = "auto") -> ArrayT:
        """Exponential of a Hermitian matrix.

        Parameters
        ----------
        x : array (..., n, n)
            Real or complex floating point; its Hermitian part is used.
        driver : EighDriver, default "auto"
            As for `eigh`.

        Returns
        -------
        array (..., n, n)
            Hermitian, positive definite.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions or is not square, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact for any eigenvalues, repeated and nearly repeated ones included. For a
        matrix that is not Hermitian use the matrix exponential of your framework.

        References
        ----------
        As for `sqrtm`, chapter 10.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.expm(np.zeros((2, 2)))
        array([[1., 0.],
               [0., 1.]])
        """
        return self._hermitian(Exponential(), x, driver)

    @needs("eigenvectors")
    def powm(
        self, x: ArrayT, p: float, /, *, rtol: float | None = None, driver: EighDriver = "auto"
    ) -> ArrayT:
        """Real power of a Hermitian positive semidefinite matrix.

        Parameters
        ----------
        x : array (..., n, n)
            Real or complex floating point; its Hermitian part is used.
        p : float
            Any real number; for a negative one the matrix has to be positive definite.
        rtol : float, optional
            As for `sqrtm`.
        driver : EighDriver, default "auto"
            As for `eigh`.

        Returns
        -------
        array (..., n, n)
            Hermitian. NaN for a matrix with a negative eigenvalue that is more than rounding,
            with an eigenvalue of 0 and a negative `p`, or with a non-finite entry.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, or `p` or `rtol` is not a number.
        ValueError
            If `x` has fewer than two dimensions or is not square, `p` is not finite, `rtol` is
            negative, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact in `x` for any eigenvalues, repeated and nearly repeated ones included.
        For ``0 < p < 1`` the part between two eigenvalues of 0 is infinite and is left out. `p`
        has no gradient.

        References
        ----------
        As for `sqrtm`, chapter 7.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.powm(np.diag([4.0, 9.0]), 1.5)
        array([[ 8.,  0.],
               [ 0., 27.]])
        """
        operator = Power(
            check_number("p", p), check_number("rtol", rtol, at_least=0.0, optional=True)
        )
        return self._hermitian(operator, x, driver)

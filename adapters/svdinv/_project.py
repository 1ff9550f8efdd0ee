"""Public functions that project onto balls of norms of the singular values."""

from __future__ import annotations

from typing import Any, TypeVar

from svdinv_core import NuclearBall, Operator, SingularValueClip

from ._calls import Calls, Driver, needs
from ._checks import check_driver, check_not_negative

__all__ = ["Project"]

ArrayT = TypeVar("ArrayT")


class Project(Calls[ArrayT]):
    """Functions that project."""

    @needs("large values")
    def singular_value_clip(self, x: ArrayT, maximum: Any, /, *, driver: Driver = "auto") -> ArrayT:
        """Nearest matrix whose spectral norm is at most `maximum`: ``U diag(min(S, maximum)) Vh``.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        maximum : float or array broadcastable to ``x.shape[:-2]``
            At least 0, in the units of the singular values; differentiable. The sign is checked
            for a number, not for an array.
        driver : Driver, default "auto"
            As for `svt`, with `maximum` as the threshold.

        Returns
        -------
        array (..., m, n)
            Equal to ``x - svt(x, maximum)``, but computed without the subtraction.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, or `maximum` is not real.
        ValueError
            If `x` has fewer than two dimensions, `maximum` does not broadcast or is a negative
            number, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact in `x` and in `maximum` for any singular values, repeated and zero ones
        included, as long as none equals `maximum`. Its norm never exceeds that of the cotangent.

        References
        ----------
        As for `svt`: the two are the parts of Moreau's decomposition.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.singular_value_clip(np.diag([3.0, 1.0]), 2.0)
        array([[2., 0.],
               [0., 1.]])
        """
        return self._project(SingularValueClip(), x, "maximum", maximum, driver)

    @needs("large values")
    def project_nuclear_ball(self, x: ArrayT, radius: Any, /, *, driver: Driver = "auto") -> ArrayT:
        """Nearest matrix whose nuclear norm is at most `radius`.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        radius : float or array broadcastable to ``x.shape[:-2]``
            At least 0, in the units of the singular values; differentiable. The sign is checked
            for a number, not for an array.
        driver : Driver, default "auto"
            As for `svt`. The projection is a thresholding; its threshold is 0 inside the ball.

        Returns
        -------
        array (..., m, n)
            `x` where it lies inside the ball; else `x` thresholded as by `svt`, with the threshold
            that makes its nuclear norm equal to `radius`.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, or `radius` is not real.
        ValueError
            If `x` has fewer than two dimensions, `radius` does not broadcast or is a negative
            number, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact in `x` and in `radius` for any repeated values. It is one-sided where `x`
        lies on the surface of the ball, or a value equals the threshold.

        References
        ----------
        Duchi, Shalev-Shwartz, Singer & Chandra, "Efficient projections onto the l1-ball for
        learning in high dimensions", ICML 2008.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.project_nuclear_ball(np.diag([3.0, 1.0]), 2.0)
        array([[2., 0.],
               [0., 0.]])
        """
        return self._project(NuclearBall(), x, "radius", radius, driver)

    def _project(self, operator: Operator, x: ArrayT, name: str, value: Any, driver: str) -> ArrayT:
        check_driver(driver)
        backend, array, dtype, shape = self._prepare(x)
        check_not_negative(name, value)
        params = (self._parameter(name, value, backend, array, shape),)
        return self._value(backend, operator, array, dtype, params, driver)

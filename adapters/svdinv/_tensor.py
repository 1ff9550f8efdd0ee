"""The public function of tensors: thresholding of slices under a transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from svdinv_core import AlongLastAxis, MoveAxis, SoftThreshold, cosine_transform, fourier_transform

from ._backend import Backend, Function
from ._calls import Calls, Driver, needs
from ._checks import (
    check_axis,
    check_driver,
    check_known_length,
    check_not_negative,
    check_same_shape,
    check_tensor,
    check_transform,
    dtype_name,
)
from ._driver import operate

__all__ = ["Tensor"]

ArrayT = TypeVar("ArrayT")


class Tensor(Calls[ArrayT]):
    """Functions of tensors."""

    @needs("large values")
    def tensor_svt(
        self,
        x: ArrayT,
        tau: Any,
        /,
        *,
        axis: int = -1,
        transform: str | ArrayT | tuple[Callable[..., Any], Callable[..., Any]] = "fft",
        driver: Driver = "auto",
    ) -> ArrayT:
        """Singular value thresholding of every slice of a tensor, transformed along one axis.

        Parameters
        ----------
        x : array (..., m, n, l)
            Real or complex floating point, at least three dimensions.
        tau : float or array broadcastable to the batch shape
            Threshold, at least 0, in the units of the slices' singular values; differentiable.
            The sign is checked for a number, not for an array. The batch shape is that of `x`
            without `axis` and without the last two of the other axes.
        axis : int, default -1
            The axis that is transformed, of length l. The last two of the other axes are those of
            the matrices.
        transform : {"fft", "dct"}, array (l, l) or pair of callables, default "fft"
            The discrete Fourier transform; the orthonormal cosine transform; a unitary matrix
            (real for a real `x`); or a transform and its inverse, which take and return an array
            ``(..., m, n, l)`` with `axis` last.
        driver : Driver, default "auto"
            As for `svt`.

        Returns
        -------
        array
            Of the shape of `x`. For the first three transforms it is the proximal operator of
            `tau` times the tensor nuclear norm: the mean over the slices of their nuclear norms
            for "fft", the sum for "dct" and a unitary matrix.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, `tau` is not real, `axis` is not an integer,
            `transform` is none of these, or a matrix is complex and `x` is not.
        ValueError
            If `x` has fewer than three dimensions, `axis` is out of range or its length is not
            known, `tau` does not broadcast or is a negative number, a matrix is not l-by-l, or
            for an unknown `transform` or `driver`.

        Notes
        -----
        Gradient: as for `svt`, exact in `x` and in `tau` unless a singular value of a slice equals
        the threshold. For a real tensor "fft" decomposes half of the slices, because the others
        are their conjugates. In NumPy and CuPy a pair of callables has no derivative.

        References
        ----------
        Kilmer, Braman, Hao & Hoover, SIAM J. Matrix Anal. Appl. 34 (2013); Lu, Feng, Chen, Liu,
        Lin & Yan, "Tensor robust principal component analysis with a new tensor nuclear norm",
        IEEE Trans. PAMI 42 (2020).

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> x = np.ones((2, 2, 3))  # one slice of the transform is not zero: 3 np.ones((2, 2))
        >>> svdinv.tensor_svt(x, 3.0)[..., 0].round(12)
        array([[0.5, 0.5],
               [0.5, 0.5]])
        """
        check_driver(driver)
        backend, array, dtype, shape = self._prepare(x)
        place = check_axis(axis, check_tensor(shape))
        length = check_known_length("x", shape, place)
        check_transform(transform)
        check_not_negative("tau", tau)
        others = (*shape[:place], *shape[place + 1 :])
        threshold = self._parameter("tau", tau, backend, array, others)
        forward, inverse = self._transforms(backend, transform, array, length)
        last = len(shape) - 1

        (turned,) = backend.run(MoveAxis(place, last), array)
        (slices,) = backend.run(MoveAxis(last, 0), forward(turned))
        (kept,) = operate(backend, SoftThreshold(), slices, (threshold,), driver)
        (turned,) = backend.run(MoveAxis(0, last), kept)
        (out,) = backend.run(MoveAxis(last, place), inverse(turned))
        return self._finish(backend, out, dtype)

    def _transforms(
        self, backend: Backend, transform: Any, like: Any, length: int
    ) -> tuple[Function, Function]:
        """A transform of the last axis, and its inverse."""
        if isinstance(transform, tuple):
            forward, inverse = (backend.caller_function("transform", fn) for fn in transform)
            return forward, inverse
        real = "complex" not in dtype_name(like.dtype)
        part = False
        if isinstance(transform, str):
            part = real and transform == "fft"
            rows = (
                cosine_transform(length) if transform == "dct" else fourier_transform(length, real)
            )
            there, back = (backend.constant(r, like, transform == "fft") for r in rows)
        else:
            there = self._companion("transform", transform, backend, like)
            check_same_shape("transform", backend.shape(there), (length, length))
            back = backend.xp.matrix_transpose(there)
            back = back if real else backend.xp.conj(back)
        return (
            lambda x: backend.run(AlongLastAxis(), there, x)[0],
            lambda x: backend.run(AlongLastAxis(real=part), back, x)[0],
        )

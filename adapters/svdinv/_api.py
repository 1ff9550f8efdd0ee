"""The public functions, written once for every framework.

A framework's module makes one :class:`Functions` over its :class:`Backend` and publishes
the bound methods; `svdinv` itself publishes those of a `Functions` that looks at the
array's type. Here stand the documentation, the checks and the delegation; formulas are in
`svdinv_core`, registration with a framework's differentiation in the framework's file.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from svdinv_core import SVD, Operator, Rule, SingularValues, SoftThreshold, get_rule

from ._checks import (
    Shape,
    check_matrix,
    check_parameter,
    check_thin,
    compute_dtype,
    dtype_name,
    real_dtype,
)

__all__ = ["Backend", "Functions", "SVDResult"]

ArrayT = TypeVar("ArrayT")


class SVDResult(NamedTuple, Generic[ArrayT]):
    """Thin factors of ``x = U @ diag(S) @ Vh``."""

    U: ArrayT
    S: ArrayT
    Vh: ArrayT


class Backend(Protocol):
    """What a framework's file provides: arrays in, and two registered derivatives."""

    @property
    def array_name(self) -> str:
        """How error messages call an array of this framework."""

    @property
    def xp(self) -> Any:
        """Its array functions, as `svdinv_core.Namespace` lists them."""

    def asarray(self, x: Any) -> Any:
        """The array `x` stands for, or None if the framework does not take it."""

    def shape(self, x: Any) -> Shape | None:
        """Static shape, None for a length (or a whole shape) that is not known yet."""

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        """A real parameter as an array of that dtype, or as the Python float it is."""

    def decompose(self, decomposition: SVD, x: Any) -> tuple[Any, ...]:
        """Factors of x, differentiable by the decomposition's rule."""

    def apply(self, operator: Operator, x: Any, params: tuple[Any, ...]) -> Any:
        """Value of an operator at x, differentiable by its own derivative."""


class Functions(Generic[ArrayT]):
    """The public functions for the frameworks that `find_backend` knows."""

    def __init__(self, find_backend: Callable[[Any], Backend]) -> None:
        self._find_backend = find_backend

    def _prepare(self, x: Any) -> tuple[Backend, Any, Any, Shape]:
        """Backend, the checked matrix in its computing dtype, the dtype to return, the shape."""
        backend = self._find_backend(x)
        array = backend.asarray(x)
        if array is None:
            raise TypeError(f"x: expected a {backend.array_name}, got {type(x).__name__}")
        shape = backend.shape(array)
        check_matrix(array.dtype, shape)
        assert shape is not None
        name = dtype_name(array.dtype)
        work = compute_dtype(name)
        computed = array if work == name else backend.xp.astype(array, getattr(backend.xp, work))
        return backend, computed, array.dtype, shape

    def _parameter(self, name: str, value: Any, backend: Backend, x: Any, shape: Shape) -> Any:
        """A checked real parameter, one for each matrix of x."""
        if isinstance(value, complex) or "complex" in dtype_name(getattr(value, "dtype", "")):
            raise TypeError(f"{name}: expected a real number or array, got a complex one")
        if not isinstance(value, numbers.Real) and not hasattr(value, "shape"):
            raise TypeError(f"{name}: expected a number or an array, got {type(value).__name__}")
        dtype = getattr(backend.xp, real_dtype(dtype_name(x.dtype)))
        parameter = backend.parameter(value, x, dtype)
        if parameter is None:
            raise TypeError(
                f"{name}: expected a number or a {backend.array_name}, got {type(value).__name__}"
            )
        if not isinstance(parameter, float):
            check_parameter(name, backend.shape(parameter) or (), shape)
        return parameter

    def svd(
        self, x: ArrayT, /, *, full_matrices: bool = False, rule: str | Rule = "inv"
    ) -> SVDResult[ArrayT]:
        """Singular value decomposition whose derivative survives repeated values.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point, any batch shape, any m and n.
        full_matrices : bool, default False
            Only the thin factors are available; True is an error.
        rule : str or rule object, default "inv"
            What the derivative does at (nearly) repeated singular values: "inv", "pinv",
            "plain", "tf", "clip", "taylor", "lorentzian", or an object of `svdinv.rules`,
            which carries the tolerances.

        Returns
        -------
        SVDResult
            ``U (..., m, k)``, ``S (..., k)`` real and descending, ``Vh (..., k, n)`` with
            ``k = min(m, n)``, in the framework, dtype and device of `x`. float16 and
            bfloat16 are computed in float32. A matrix with a non-finite entry gives NaN
            and leaves the rest of its batch alone.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions, for an unknown rule, or for
            ``full_matrices=True``.

        Notes
        -----
        Gradient: exact where the values differ by more than the rule's tolerance, the
        phases of complex singular vectors included. At a tie the cotangents do not
        determine it, and the rule decides; for a loss of ``U diag(f(S)) Vh`` use `svt`,
        which is exact there as well. Only losses that do not depend on the choice of
        singular vectors have a gradient at a tie.

        References
        ----------
        Zhang & Hu, "Differentiable SVD based on Moore-Penrose pseudoinverse for inverse
        imaging problems", arXiv 2411.14141, Theorems 3.1 and 3.2 (rule "inv").

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> U, S, Vh = svdinv.svd(np.eye(3))
        >>> S
        array([1., 1., 1.])
        """
        decomposition = SVD(get_rule(rule))
        check_thin(full_matrices)
        backend, array, dtype, _ = self._prepare(x)
        factors = backend.decompose(decomposition, array)
        U, S, Vh = (self._finish(backend, factor, dtype) for factor in factors)
        return SVDResult(U, S, Vh)

    def svdvals(self, x: ArrayT, /) -> ArrayT:
        """Singular values, in descending order.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.

        Returns
        -------
        array (..., min(m, n))
            Real. NaN for a matrix with a non-finite entry.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions.

        Notes
        -----
        Gradient: ``U diag(ct) Vh``, exact wherever the values differ, and at a tie for
        every loss that treats the repeated values alike. No division, no rule.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.svdvals(np.array([[3.0, 0.0], [0.0, -4.0]]))
        array([4., 3.])
        """
        backend, array, dtype, _ = self._prepare(x)
        return self._finish(backend, backend.apply(SingularValues(), array, ()), dtype)

    def svt(self, x: ArrayT, tau: Any, *, relative: bool = False) -> ArrayT:
        """Singular value thresholding, ``U diag(max(S - tau, 0)) Vh``.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        tau : float or array broadcastable to ``x.shape[:-2]``
            Threshold, not negative, in the units of the singular values; differentiable.
        relative : bool, default False
            The threshold is ``tau * S[..., 0]``, differentiated through as well.

        Returns
        -------
        array (..., m, n)
            In the framework, dtype and device of `x`. NaN for a matrix with a non-finite
            entry; the rest of the batch is unaffected.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, or `tau` is not real.
        ValueError
            If `x` has fewer than two dimensions, or `tau` does not broadcast.

        Notes
        -----
        Gradient: exact in `x` and in `tau` for any singular values, repeated and zero ones
        included, as long as none equals the threshold (there it is one-sided, as that of
        ``max``). Its norm never exceeds that of the cotangent. With ``relative=True`` and a
        repeated largest value, the derivative of the threshold is the mean over the
        repetition (the least-norm subgradient).

        References
        ----------
        Cai, Candes & Shen (2010), "A singular value thresholding algorithm for matrix
        completion"; Candes, Sing-Long & Trzasko (2012) for the derivative.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.svt(np.diag([3.0, 1.0]), 2.0)
        array([[1., 0.],
               [0., 0.]])
        """
        backend, array, dtype, shape = self._prepare(x)
        threshold = self._parameter("tau", tau, backend, array, shape)
        out = backend.apply(SoftThreshold(relative=bool(relative)), array, (threshold,))
        return self._finish(backend, out, dtype)

    @staticmethod
    def _finish(backend: Backend, out: Any, dtype: Any) -> ArrayT:
        """The result, in half precision again if the caller's matrix came in it."""
        name = dtype_name(dtype)
        result: ArrayT = out if compute_dtype(name) == name else backend.xp.astype(out, dtype)
        return result

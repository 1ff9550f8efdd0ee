"""The public functions, written once for every framework.

The module of a framework makes one :class:`Functions` over its :class:`Backend`.
`adapters/write_public.py` writes a function into that module for each method. The `Functions` of
`svdinv` itself finds the framework from the type of the array. This file holds documentation,
checks and delegation. The formulas are in `svdinv_core`, and each framework's file registers the
derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from svdinv_core import (
    SVD,
    EigenvalueJet,
    EigenvalueMap,
    Eigenvalues,
    Eigh,
    NuclearNorm,
    Polar,
    RealProduct,
    Recompose,
    RecomposeHermitian,
    Rule,
    SingularValueJet,
    SingularValueMap,
    SingularValues,
    SoftThreshold,
    SpectralFunction,
    SVDFactors,
    Unitary,
    WeightedThreshold,
    any_tied,
    counted,
    eigenvalue_coefficients,
    first,
    gauge_residual,
    get_rule,
    loewner_coefficients,
    mean_by_gauss,
    rule_residual,
    without_third,
)
from svdinv_core.drivers import BY_NAME_HERMITIAN

from ._align import Align, AlignmentResult
from ._backend import Backend, Function
from ._calls import Driver, EighDriver, as_array, needs
from ._checks import (
    check_broadcast,
    check_driver,
    check_dtype,
    check_factor_shapes,
    check_field,
    check_function_values,
    check_not_negative,
    check_same_shape,
    check_scalar_values,
    check_side,
    check_special,
    check_square,
    check_thin,
    check_value_weights,
    compute_dtype,
    dtype_name,
    real_dtype,
    unsuitable_function,
)
from ._driver import factors_for, operate
from ._gauge import Watch, check_mode
from ._invert import Invert, LstsqResult
from ._measure import Measure
from ._project import Project
from ._root import Root
from ._tensor import Tensor
from ._truncate import Multiplets, Truncate, TruncateDriver, TruncatedSVDResult

__all__ = [
    "AlignmentResult",
    "Driver",
    "EighDriver",
    "EighResult",
    "Functions",
    "Gauge",
    "LstsqResult",
    "Multiplets",
    "PolarResult",
    "SVDResult",
    "Side",
    "TruncateDriver",
    "TruncatedSVDResult",
    "documented_by",
]

ArrayT = TypeVar("ArrayT")
PublicT = TypeVar("PublicT", bound=Callable[..., Any])
Gauge = Literal["ignore", "warn", "raise"]
Side = Literal["auto", "right", "left"]


def documented_by(cls: type[Any]) -> Callable[[PublicT], PublicT]:
    """Decorate a function with the docstring of the method of `cls` that has the same name."""

    def document(function: PublicT) -> PublicT:
        function.__doc__ = getattr(cls, function.__name__).__doc__
        return function

    return document


class SVDResult(NamedTuple, Generic[ArrayT]):
    """Thin factors of ``x = U @ diag(S) @ Vh``."""

    U: ArrayT
    S: ArrayT
    Vh: ArrayT


class EighResult(NamedTuple, Generic[ArrayT]):
    """Factors of ``x = eigenvectors @ diag(eigenvalues) @ eigenvectors^H``, values ascending."""

    eigenvalues: ArrayT
    eigenvectors: ArrayT


class PolarResult(NamedTuple, Generic[ArrayT]):
    """Factors of ``x = unitary @ positive``, or of ``x = positive @ unitary`` (side "left")."""

    unitary: ArrayT
    positive: ArrayT


class Functions(
    Invert[ArrayT],
    Root[ArrayT],
    Measure[ArrayT],
    Project[ArrayT],
    Align[ArrayT],
    Tensor[ArrayT],
    Truncate[ArrayT],
):
    """The public functions, for the frameworks that `find_backend` knows."""

    @needs("factors")
    def svd(
        self,
        x: ArrayT,
        /,
        *,
        full_matrices: bool = False,
        rule: str | Rule = "auto",
        gauge: Gauge = "ignore",
        driver: Driver = "auto",
    ) -> SVDResult[ArrayT]:
        """Singular value decomposition whose derivative survives repeated values.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point, any batch shape, any m and n.
        full_matrices : bool, default False
            Only the thin factors are available; True is an error.
        rule : str or rule object, default "auto"
            What the derivative does at (nearly) repeated singular values: "auto", "inv", "pinv",
            "plain", "tf", "clip", "taylor", "lorentzian", "fit", or an object of
            `svdinv.rules`, which carries the tolerances. In forward mode and for second
            derivatives, "auto" and "fit" use "inv".
        gauge : {"ignore", "warn", "raise"}, default "ignore"
            What to do in reverse mode if the loss depends on the choice of singular vectors, and
            so has no gradient (see `gauge_residual`), or if the rule had to choose the gradient
            (see `rule_residual`). "warn" and "raise" read values, so they work in eager mode
            only, and in JAX not in forward mode.
        driver : Driver, default "auto"
            How the factors are computed, as for `svt`; docs/performance.md says what "auto"
            chooses. "gram" gives no vectors for zero values, and its error is about
            ``eps (S[..., 0]/S[..., -1])^2``.

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
            If `x` has fewer than two dimensions, for an unknown rule, `gauge` or `driver`, or for
            ``full_matrices=True``.
        svdinv.GaugeError
            In reverse mode, with ``gauge="raise"``.

        Notes
        -----
        Gradient: exact where the values differ by more than the rule's tolerance, including the
        phases of complex singular vectors. At a tie a loss has a gradient only if it does not
        depend on the choice of singular vectors. In reverse mode the default rule then reads the
        gradient from the cotangents. It is exact for a function of ``U f(S) Vh`` with one f, of
        ``U f(S) U^H`` or ``Vh^H f(S) Vh`` (projectors onto all vectors of a repeated value,
        ``U Vh``), of the values alone, and for sums of two of these. It is not exact for a sum of
        two such products with different f, because the cotangents do not tell them apart
        (`rule_residual`); for these use `svt` or another function of a product. Forward mode,
        second derivatives, and in PyTorch all derivatives under a compiled `torch.func` follow
        "inv", which is exact at a tie for ``f(S) = c S``.

        A loss of ``U[..., :r], S[..., :r], Vh[..., :r, :]`` gets the exact gradient too,
        including the part through the dropped vectors. If it depends on their product only (see
        `low_rank`), ties within the kept or within the dropped values do not matter. A cut
        through a tie has no gradient; the rule returns a finite one.

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
        check_mode(gauge)
        check_driver(driver)
        backend, array, dtype, _ = self._prepare(x)
        raw = factors_for(backend, decomposition, array, driver=driver)
        factors = backend.decompose(decomposition, array, raw)
        if gauge != "ignore":
            factors = backend.watch(SVDFactors(*factors), Watch(gauge, decomposition.rule))
        U, S, Vh = (self._finish(backend, factor, dtype) for factor in factors)
        return SVDResult(U, S, Vh)

    def gauge_residual(
        self, U: ArrayT, S: ArrayT, Vh: ArrayT, ct_U: ArrayT, ct_Vh: ArrayT
    ) -> ArrayT:
        """How much a loss depends on the choice of singular vectors, from its cotangents.

        Parameters
        ----------
        U : array (..., m, k)
        S : array (..., k)
        Vh : array (..., k, n)
            Factors, as `svd` returns them.
        ct_U : array (..., m, k)
        ct_Vh : array (..., k, n)
            Cotangents of U and Vh, as the framework gives them.

        Returns
        -------
        array (...)
            Real, relative to the cotangents: about eps for a loss that does not depend on the
            choice, of order 1 for one that does. The choice is that of the phase of each complex
            vector, and of a unitary mixing at repeated and at zero values. No value is read, so
            this runs in a traced function.

        Raises
        ------
        TypeError
            If an argument is not a floating-point array.
        ValueError
            If the shapes do not match.

        Notes
        -----
        A loss that depends on the choice has no gradient. A loss that does not has one, and at
        distinct values `svd` gives it. At a tie the gradient may depend on the rule;
        `rule_residual` measures this.

        Use it as a diagnostic, not as a loss: svdinv defines no derivative for it.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> U, S, Vh = svdinv.svd(np.eye(2))
        >>> float(svdinv.gauge_residual(U, S, Vh, 2 * U, 3 * Vh))  # loss |U|^2 + 1.5 |Vh|^2
        0.0
        """
        return self._residual(gauge_residual, U, S, Vh, ct_U, ct_Vh)

    def rule_residual(
        self,
        U: ArrayT,
        S: ArrayT,
        Vh: ArrayT,
        ct_U: ArrayT,
        ct_Vh: ArrayT,
        *,
        ct_S: ArrayT | None = None,
    ) -> ArrayT:
        """How much of a gradient at repeated values the rule decides, from the cotangents.

        Parameters
        ----------
        U : array (..., m, k)
        S : array (..., k)
        Vh : array (..., k, n)
            Factors, as `svd` returns them.
        ct_U : array (..., m, k)
        ct_Vh : array (..., k, n)
            Cotangents of U and Vh, as the framework gives them.
        ct_S : array (..., k), optional
            Cotangent of S. With it the result measures the rule "auto", which finds from it what
            other rules assume.

        Returns
        -------
        array (...)
            Real, relative to the cotangents. Without `ct_S`: about eps where every rule gives the
            same gradient, as at distinct values, and of order 1 where they differ. With `ct_S`:
            about eps where "auto" is right, because `ct_S` confirms it. It is of order 1 where
            "auto" cannot explain `ct_S`, and where the explanation has as many unknowns as `ct_S`
            has entries (a loss of a product and of the values, at a pair); then the gradient may
            or may not be right. No value is read, so this runs in a traced function.

        Raises
        ------
        TypeError
            If an argument is not a floating-point array.
        ValueError
            If the shapes do not match.

        Notes
        -----
        Meant for a loss that does not depend on the choice of singular vectors
        (`gauge_residual`). Where every rule gives the same gradient, that gradient is right, with
        one exception: a function of ``U f(S) Vh`` where f is zero at the repeated value and its
        derivative is not. With `ct_S` this exception is counted.

        Use it as a diagnostic, not as a loss: svdinv defines no derivative for it.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> U, S, Vh = svdinv.svd(np.eye(2))
        >>> C = np.array([[1.0, 2.0], [3.0, 5.0]])
        >>> ct_U, ct_Vh = C @ Vh.T, U.T @ C  # loss sum(C * (U @ Vh))
        >>> round(float(svdinv.rule_residual(U, S, Vh, ct_U, ct_Vh)), 2)
        1.13
        >>> float(svdinv.rule_residual(U, S, Vh, ct_U, ct_Vh, ct_S=np.zeros(2)))
        0.0
        """
        return self._residual(rule_residual, U, S, Vh, ct_U, ct_Vh, ct_S)

    def _residual(
        self,
        measure: Callable[..., Any],
        U: ArrayT,
        S: ArrayT,
        Vh: ArrayT,
        ct_U: ArrayT,
        ct_Vh: ArrayT,
        ct_S: ArrayT | None = None,
    ) -> ArrayT:
        """Check the factors and cotangents, and apply `measure` to them."""
        backend = self._find_backend(U)
        given = {"U": U, "S": S, "Vh": Vh, "ct_U": ct_U, "ct_Vh": ct_Vh}
        if ct_S is not None:
            given["ct_S"] = ct_S
        arrays = {name: as_array(backend, name, value) for name, value in given.items()}
        for name, array in arrays.items():
            check_dtype(array.dtype, name)
        dtype = arrays["U"].dtype
        work = compute_dtype(dtype_name(dtype))
        whole, real = (getattr(backend.xp, name) for name in (work, real_dtype(work)))
        for name, array in arrays.items():
            of_values = name in ("S", "ct_S")
            wanted = real if of_values else whole
            check_field(name, array.dtype, "complex" in work and not of_values)
            if array.dtype != wanted:
                arrays[name] = backend.xp.astype(array, wanted)
        shapes = {name: backend.shape(array) for name, array in arrays.items()}
        if shapes["U"] is not None and shapes["Vh"] is not None:
            check_factor_shapes(shapes["U"], shapes["Vh"])
            check_same_shape("S", shapes["S"], (*shapes["U"][:-2], shapes["U"][-1]))
            check_same_shape("ct_U", shapes["ct_U"], shapes["U"])
            check_same_shape("ct_Vh", shapes["ct_Vh"], shapes["Vh"])
            if ct_S is not None:
                check_same_shape("ct_S", shapes["ct_S"], (*shapes["U"][:-2], shapes["U"][-1]))
        for name in ("ct_U", "ct_Vh"):
            arrays[name] = backend.cotangent(arrays[name])

        def value(xp: Any, U: Any, S: Any, Vh: Any, *cts: Any) -> Any:
            return measure(xp, SVDFactors(U, S, Vh), *cts)

        residual = backend.call(value, *arrays.values())
        return self._finish(backend, residual, dtype)

    @needs("factors")
    def svdvals(self, x: ArrayT, /, *, driver: Driver = "auto") -> ArrayT:
        """Singular values, in descending order.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        driver : Driver, default "auto"
            As for `svd`. With "gram" the error of value i is about ``eps S[..., 0]^2 / S[..., i]``.

        Returns
        -------
        array (..., min(m, n))
            Real. NaN for a matrix with a non-finite entry.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions, or for an unknown `driver`.

        Notes
        -----
        Gradient: ``U diag(ct) Vh``. It is exact where the values differ, and at a tie for every
        loss that is symmetric in the repeated values. It needs no division, hence no rule.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.svdvals(np.array([[3.0, 0.0], [0.0, -4.0]]))
        array([4., 3.])
        """
        check_driver(driver)
        backend, array, dtype, _ = self._prepare(x)
        return self._value(backend, SingularValues(), array, dtype, driver=driver)

    @needs("large values")
    def svt(
        self,
        x: ArrayT,
        tau: float | ArrayT,
        weights: ArrayT | None = None,
        *,
        relative: bool = False,
        driver: Driver = "auto",
    ) -> ArrayT:
        """Singular value thresholding, ``U diag(max(S - tau, 0)) Vh``.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        tau : float or array broadcastable to ``x.shape[:-2]``
            Threshold, at least 0, in the units of the singular values; differentiable. The sign
            is checked for a number, not for an array: a negative entry makes the values grow. An
            array may have two more axes of length 1 in the place of the last two of `x`. NumPy
            arrays are accepted everywhere; an array of another framework is an error, because it
            would get no gradient.
        weights : array broadcastable to (..., k), optional
            The threshold of value i is ``tau * weights[..., i]``. Weights in ascending order give
            the proximal operator of the weighted nuclear norm. Differentiable; signs and order
            are not checked.
        relative : bool, default False
            Whether the threshold is ``tau * S[..., 0]``; the gradient includes this dependence.
            Not together with `weights`.
        driver : {"auto", "svd", "gram", "qr", "jacobi"}, default "auto"
            How the factors are computed. "svd" decomposes `x`. "gram" takes the eigendecomposition
            of ``x^H x`` (wide: ``x x^H``), several times faster, with an error of about
            ``eps (S[..., 0]/tau)^2``. "qr" decomposes the R of a tall or wide matrix. "jacobi"
            rotates columns in array operations: for large batches of small matrices, and for
            compilers without an SVD. "auto" takes the first of these that suits the shape and is
            accurate enough (relative error 1e-5 in single, 1e-12 in double precision);
            docs/performance.md says how each framework decides.

        Returns
        -------
        array (..., m, n)
            In the framework, dtype and device of `x`. NaN for a matrix with a non-finite
            entry; the rest of the batch is unaffected.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array, `tau` is not real, or `weights` is not an array
            of real numbers.
        ValueError
            If `x` has fewer than two dimensions, `tau` or `weights` does not broadcast, `tau` is
            a negative number, `weights` is given with ``relative=True``, or for an unknown
            `driver`.

        Notes
        -----
        Gradient: exact in `x` and in `tau` for any singular values, repeated and zero ones
        included, as long as none equals the threshold; there it is one-sided, as for ``max``.
        Its norm never exceeds that of the cotangent. With ``relative=True`` and a repeated
        largest value, the derivative of the threshold is the mean over the repeated values (the
        least-norm subgradient). With `weights` it is exact for repeated values of the same
        weight. For repeated values of different weights the result depends on the choice of
        singular vectors, so there is no derivative; a finite one is returned.

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
        check_driver(driver)
        backend, array, dtype, shape = self._prepare(x)
        check_not_negative("tau", tau)
        threshold = self._parameter("tau", tau, backend, array, shape)
        if weights is not None:
            check_value_weights(weights, relative)
            given = self._real("weights", weights, backend, array)
            m, n = array.shape[-2:]
            check_broadcast("weights", backend.shape(given), (*shape[:-2], min(m, n)))
            both = (threshold, given)
            return self._value(backend, WeightedThreshold(), array, dtype, both, driver)
        operator = SoftThreshold(relative=bool(relative))
        params = (threshold,)
        raw = factors_for(backend, operator, array, params, driver)
        kept = backend.largest_count(array, lambda: operator.counts(backend.xp, raw.S, params))
        ordinary = self._is_ordinary(backend, raw.S, threshold, operator.relative)
        operator = SoftThreshold(operator.relative, kept, ordinary)
        (out,) = backend.apply(operator, array, raw, params)
        return self._finish(backend, out, dtype)

    @staticmethod
    def _is_ordinary(backend: Backend, S: Any, threshold: Any, relative: bool) -> bool:
        """Whether values and thresholds need no guards; False where reading them costs time."""
        values = backend.extremes(S)
        given = None if values is None else backend.extremes(threshold)
        if values is None or given is None:
            return False
        if relative:
            of = backend.extremes(S[..., :1])
            assert of is not None
            given = given[0] * of[0], given[1] * of[1]
        smallest_normal = float(backend.xp.finfo(S.dtype).smallest_normal)
        return SoftThreshold.is_ordinary(smallest_normal, values, given)

    @needs("all values")
    def singular_value_map(
        self,
        x: ArrayT,
        fn: Callable[[ArrayT], ArrayT],
        *,
        elementwise: bool = True,
        driver: Driver = "auto",
    ) -> ArrayT:
        """``U diag(fn(S)) Vh`` for any smooth function.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        fn : callable
            Takes the singular values ``(..., k)``, real, and returns an array of that shape,
            in the framework's own operations. Arrays it closes over get their gradients. In NumPy
            and CuPy its derivative is taken by a complex step, so it has to be analytic there:
            ``np.tanh`` is, ``np.abs`` and ``s.real`` are not.
        elementwise : bool, default True
            Whether `fn` acts on each value alone. With False a result may depend on all values of
            its matrix, as in ``s / s.sum()``, and the Jacobian of `fn` replaces its derivative.
            `fn` must then be equivariant: if two values change places, so do their results.
        driver : Driver, default "auto"
            As for `svt`. The error of "gram" is about ``eps (S[..., 0]/S[..., -1])^2``; do not
            use it for a matrix without full rank. "auto" tries it only where one side is at
            least twice the other.

        Returns
        -------
        array (..., m, n)

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions, `fn` does not keep the shape, or for an unknown
            `driver`. Also if `fn` mixes the values with ``elementwise=True``, or is not analytic
            in NumPy; NumPy and CuPy raise this when the derivative is computed, the others at
            once. Under a compiler, and for values on a GPU, the gradient is NaN instead.

        Notes
        -----
        Gradient: exact for repeated values, where the derivative of `fn` replaces the divided
        difference. Between values nearer than ``3 eps^(1/3) S[0]`` it is the mean of the two
        derivatives (error about ``eps^(2/3)``). With ``fn(0) != 0`` there is no derivative at a
        zero value; a finite one is returned. Second derivatives are exact for repeated values as
        well, including the mixed ones in arrays that `fn` closes over; with
        ``elementwise=False`` they are NaN at a tie and at a value of 0.

        References
        ----------
        Daleckii & Krein (1965); Noferini, "A formula for the Frechet derivative of a
        generalized matrix function", SIAM J. Matrix Anal. Appl. 38 (2017).

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.singular_value_map(2 * np.eye(2), lambda s: s**3)
        array([[8., 0.],
               [0., 8.]])

        Shrinkage that leaves large values alone: of a minimax concave penalty, of SCAD, and of a
        Schatten p-norm, one step of its reweighting.

        >>> x, tau, p = np.diag([5.0, 3.0, 1.0]), 2.0, 0.5
        >>> def relu(s):
        ...     return np.maximum(s, 0)
        >>> def mcp(s, g=2.0):
        ...     return np.minimum(s, relu(s - tau) * g / (g - 1))
        >>> def scad(s, a=3.7):
        ...     return np.minimum(s, np.maximum(relu(s - tau), ((a - 1) * s - a * tau) / (a - 2)))
        >>> def schatten(s):
        ...     return relu(s - tau * p * (s + 1e-3) ** (p - 1))
        >>> [np.diag(svdinv.singular_value_map(x, f)).round(2).tolist() for f in (mcp, scad)]
        [[5.0, 2.0, 0.0], [3.59, 1.0, 0.0]]
        >>> np.diag(svdinv.singular_value_map(x, schatten)).round(2)
        array([4.55, 2.42, 0.  ])
        """
        check_driver(driver)
        backend, array, dtype, _ = self._prepare(x)
        values, derivative = self._values(backend, fn), self._derivative(backend, fn, elementwise)
        if not backend.differentiates:
            curvature = backend.curvature(fn) if elementwise else None
            operator = SingularValueMap(values, derivative, not elementwise, curvature)
            return self._value(backend, operator, array, dtype, driver=driver)
        raw = factors_for(backend, Recompose(), array, (), driver)
        if elementwise:
            params = self._jet(backend, fn, values, derivative, raw.S)
            (out,) = backend.apply(SingularValueJet(), array, raw, params)
            return self._finish(backend, out, dtype)
        (S,) = backend.apply(SingularValues(), array, raw, ())
        f = values(S)
        held, held_f = map(backend.held_for_derivative, (S, f))
        coefficients = loewner_coefficients(
            backend.xp, raw._replace(S=held), held_f, derivative(held)
        )._replace(values=f)
        (out,) = backend.apply(Recompose(nan_at_ties=True), array, raw, coefficients)
        return self._finish(backend, out, dtype)

    @staticmethod
    def _jet(
        backend: Backend, fn: Function, values: Function, derivative: Function, v: Any
    ) -> tuple[Any, ...]:
        """``fn(v)`` and its derivatives in v, differentiable in the arrays `fn` closes over."""
        return (values(v), derivative(v), *backend.bends(fn, v))

    @staticmethod
    def _derivative(backend: Backend, fn: Function, elementwise: bool) -> Function:
        """The slopes or the Jacobian of `fn`; an error where `fn` is not suitable."""

        def refuse(reason: str, flags: Any) -> None:
            if backend.any(flags):
                raise unsuitable_function(reason)

        return backend.derivative(fn, elementwise, refuse)

    @staticmethod
    def _values(backend: Backend, fn: Function) -> Function:
        """`fn` with a check of its result's shape."""

        def values(s: Any) -> Any:
            f = fn(s)
            shape = backend.shape(f) if hasattr(f, "shape") else None
            check_function_values(shape, backend.shape(s) or ())
            return f

        return values

    @needs("all values")
    def spectral_function(
        self, x: ArrayT, fn: Callable[[ArrayT], ArrayT], *, driver: Driver = "auto"
    ) -> ArrayT:
        """Scalar ``fn(S)`` for any smooth symmetric function: norms, energies, penalties.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        fn : callable
            Takes the singular values ``(..., k)``, real, and returns ``(...)``. It must be
            symmetric: its value does not change if two values change places. Otherwise as for
            `singular_value_map`.
        driver : Driver, default "auto"
            As for `singular_value_map`.

        Returns
        -------
        array (...)
            Real.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions, `fn` does not return one number for each matrix,
            or for an unknown `driver`.

        Notes
        -----
        Gradient: ``U diag(g) Vh`` with the gradient g of `fn`. Second derivatives are exact for
        repeated values too, where the Jacobian of g replaces divided differences. In elasticity,
        the tangent stiffness of an energy of the principal stretches is therefore right in the
        undeformed state.

        References
        ----------
        Lewis & Sendov, "Twice differentiable spectral functions", SIAM J. Matrix Anal. Appl. 23
        (2001).

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> float(svdinv.spectral_function(np.diag([3.0, -4.0]), lambda s: (s**2).sum(axis=-1)))
        25.0
        """
        check_driver(driver)
        backend, array, dtype, _ = self._prepare(x)
        xp = backend.xp

        def value(s: Any) -> Any:
            f = fn(s)
            shape = backend.shape(f) if hasattr(f, "shape") else None
            check_scalar_values(shape, (backend.shape(s) or ())[:-1])
            return f

        def along(s: Any) -> Any:
            return xp.expand_dims(value(s), axis=-1) + 0 * s

        if not backend.differentiates:
            jacobian_of = self._derivative(backend, along, False)

            def of_first(s: Any) -> Any:
                return xp.sum(first(xp.matrix_transpose(jacobian_of(s))), axis=-1)

            operator = SpectralFunction(value, of_first, backend.hessian(fn))
            return self._value(backend, operator, array, dtype, driver=driver)

        def gradient(s: Any) -> Any:
            return backend.product(along, s)(xp.where(counted(xp, s) == 1, xp.ones_like(s), 0.0))

        # f(x) = f(x0) + the integral of the gradient from x0 to x, by a Gauss rule whose
        # derivatives are right up to the third. x0 is x with its gradient stopped: the step
        # x - x0 is 0, and its derivative is that of x. So the second derivative is that of the
        # gradient, which is a map of the singular values and exact at ties.
        raw = factors_for(backend, Recompose(), array, (), driver)
        fixed = backend.stopped(array)
        way = array - fixed

        def slope(part: float) -> Any:
            there = fixed + part * way
            (S,) = backend.apply(SingularValues(), there, raw, ())
            g = gradient(S)
            held, held_g = map(backend.held_for_derivative, (S, g))
            coefficients = loewner_coefficients(
                xp, raw._replace(S=held), held_g, self._derivative(backend, gradient, False)(held)
            )._replace(values=g)
            return backend.apply(Recompose(), there, raw, coefficients)[0]

        (change,) = backend.run(RealProduct(), mean_by_gauss(slope), way)
        spoilt = without_third(xp, way, any_tied(xp, raw.S))  # the map's factors have none there
        return self._finish(backend, value(raw.S) + change + spoilt, dtype)

    @needs("all values")
    def nuclear_norm(self, x: ArrayT, /, *, driver: Driver = "auto") -> ArrayT:
        """Sum of the singular values.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        driver : Driver, default "auto"
            As for `svt`. The error of "gram" is about ``eps (S[..., 0]/S[..., -1])^2``; do not
            use it for a matrix without full rank. "auto" tries it only where one side is at
            least twice the other.

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
        Gradient: ``U Vh`` over the values that are not zero. It is exact at full rank, and
        otherwise the subgradient of least norm.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> float(svdinv.nuclear_norm(np.diag([3.0, -4.0])))
        7.0
        """
        check_driver(driver)
        backend, array, dtype, _ = self._prepare(x)
        return self._value(backend, NuclearNorm(), array, dtype, driver=driver)

    @needs("all values")
    def polar(
        self, x: ArrayT, /, *, side: Side = "auto", driver: Driver = "auto"
    ) -> PolarResult[ArrayT]:
        """Polar decomposition, ``x = unitary @ positive`` or ``x = positive @ unitary``.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        side : {"auto", "right", "left"}, default "auto"
            The side of ``positive``: "right" is ``unitary @ positive``, "left" is
            ``positive @ unitary``; "auto" is "right", and "left" for a wide matrix.
        driver : Driver, default "auto"
            As for `svt`. The error of "gram" is about ``eps (S[..., 0]/S[..., -1])^2``; do not
            use it for a matrix without full rank. "auto" tries it only where one side is at
            least twice the other.

        Returns
        -------
        PolarResult
            ``unitary (..., m, n)`` with orthonormal columns (wide: rows), and ``positive``,
            Hermitian positive semi-definite, ``(..., n, n)`` on the right and ``(..., m, m)`` on
            the left.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions, or for an unknown `side` or `driver`.

        Notes
        -----
        Gradient: exact for any repeated values; for ``positive`` on the longer side, at full rank.
        The gradient of ``unitary`` grows as 1 over the sum of the two smallest values (square
        matrix) or over the smallest value (tall, wide). It does not exist where that is 0; a
        finite one is returned.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.polar(np.diag([2.0, -3.0])).unitary
        array([[ 1.,  0.],
               [ 0., -1.]])
        """
        check_driver(driver)
        check_side(side)
        backend, array, dtype, _ = self._prepare(x)
        outs = operate(backend, Polar(side), array, driver=driver)
        unitary, positive = (self._finish(backend, y, dtype) for y in outs)
        return PolarResult(unitary, positive)

    @needs("all values")
    def procrustes(self, x: ArrayT, /, *, special: bool = False, driver: Driver = "auto") -> ArrayT:
        """Nearest matrix with orthonormal columns (wide: rows), or nearest rotation.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point; for ``special=True`` real and square.
        special : bool, default False
            Whether to look among matrices of determinant +1 only (the Kabsch problem).
        driver : Driver, default "auto"
            As for `svt`. The error of "gram" is about ``eps (S[..., 0]/S[..., -1])^2``; do not
            use it for a matrix without full rank. "auto" tries it only where one side is at
            least twice the other.

        Returns
        -------
        array (..., m, n)
            The maximiser R of ``Re tr(R^H x)``.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions, if `x` is complex or not square with
            ``special=True``, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact for any repeated values. It does not exist where R is not unique; a finite
        one is returned.

        References
        ----------
        Kabsch (1976); Umeyama, IEEE Trans. PAMI 13 (1991).

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.procrustes(np.diag([3.0, 2.0, -1.0]), special=True)
        array([[1., 0., 0.],
               [0., 1., 0.],
               [0., 0., 1.]])
        """
        check_driver(driver)
        backend, array, dtype, shape = self._prepare(x)
        if special:
            check_special(dtype_name(array.dtype), shape)
        operator = Unitary(special=bool(special))
        return self._value(backend, operator, array, dtype, driver=driver)

    @needs("eigenvectors")
    def eigh(
        self, x: ArrayT, /, *, rule: str | Rule = "auto", driver: EighDriver = "auto"
    ) -> EighResult[ArrayT]:
        """Eigendecomposition of a Hermitian matrix whose derivative survives repeated values.

        Parameters
        ----------
        x : array (..., n, n)
            Real or complex floating point; its Hermitian part is used.
        rule : str or rule object, default "auto"
            What the derivative does at (nearly) repeated eigenvalues, as for `svd`. At a tie
            "inv", "pinv" and "tf" agree here, and "auto" and "fit" are exact in reverse mode for
            a loss of ``Q f(w) Q^H`` with one f.
        driver : {"auto", "eigh", "jacobi"}, default "auto"
            "eigh" is the framework's own; "jacobi" rotates columns in array operations. "auto"
            chooses "jacobi" for large batches of small matrices (docs/performance.md).

        Returns
        -------
        EighResult
            ``eigenvalues (..., n)`` real and ascending, ``eigenvectors (..., n, n)``. NaN for
            a matrix with a non-finite entry.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions or is not square, or for an unknown rule or
            `driver`.

        Notes
        -----
        Gradient: Hermitian; exact where the values differ by more than the rule's tolerance.
        For a loss of ``Q f(w) Q^H`` use `eigenvalue_map`, which is exact everywhere.

        References
        ----------
        Zhang & Hu, arXiv 2411.14141, section 3.3.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.eigh(np.diag([2.0, 1.0])).eigenvalues
        array([1., 2.])
        """
        decomposition = Eigh(get_rule(rule))
        check_driver(driver, BY_NAME_HERMITIAN)
        backend, array, dtype, shape = self._prepare(x)
        check_square(shape)
        raw = factors_for(backend, decomposition, array, driver=driver)
        values, vectors = (
            self._finish(backend, factor, dtype)
            for factor in backend.decompose(decomposition, array, raw)
        )
        return EighResult(values, vectors)

    @needs("eigenvectors")
    def eigenvalue_map(
        self,
        x: ArrayT,
        fn: Callable[[ArrayT], ArrayT],
        *,
        elementwise: bool = True,
        driver: EighDriver = "auto",
    ) -> ArrayT:
        """``Q diag(fn(w)) Q^H`` for any smooth function, of a Hermitian matrix.

        Parameters
        ----------
        x : array (..., n, n)
            Real or complex floating point; its Hermitian part is used.
        fn : callable
            Takes the eigenvalues ``(..., n)``, real and ascending; otherwise as for
            `singular_value_map`.
        elementwise : bool, default True
            Whether fn acts on each value alone; as for `singular_value_map`.
        driver : EighDriver, default "auto"
            As for `eigh`.

        Returns
        -------
        array (..., n, n)
            Hermitian.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array.
        ValueError
            If `x` has fewer than two dimensions or is not square, for an unknown `driver`, or if
            `fn` is not suitable (as for `singular_value_map`).

        Notes
        -----
        Gradient: exact for repeated eigenvalues. Nearly repeated ones: as for
        `singular_value_map`.

        References
        ----------
        Daleckii & Krein (1965); Higham, "Functions of Matrices" (2008), theorem 3.11.

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> svdinv.eigenvalue_map(4 * np.eye(2), lambda w: w**-0.5)
        array([[0.5, 0. ],
               [0. , 0.5]])
        """
        check_driver(driver, BY_NAME_HERMITIAN)
        backend, array, dtype, shape = self._prepare(x)
        check_square(shape)
        values, derivative = self._values(backend, fn), self._derivative(backend, fn, elementwise)
        if not backend.differentiates:
            curvature = backend.curvature(fn) if elementwise else None
            operator = EigenvalueMap(values, derivative, not elementwise, curvature)
            return self._value(backend, operator, array, dtype, driver=driver)
        raw = factors_for(backend, RecomposeHermitian(), array, driver=driver)
        if elementwise:
            params = self._jet(backend, fn, values, derivative, raw.eigenvalues)
            (out,) = backend.apply(EigenvalueJet(), array, raw, params)
            return self._finish(backend, out, dtype)
        (w,) = backend.apply(Eigenvalues(), array, raw, ())
        f = values(w)
        held, held_f = map(backend.held_for_derivative, (w, f))
        gamma = eigenvalue_coefficients(
            backend.xp, raw._replace(eigenvalues=held), held_f, derivative(held)
        )
        (out,) = backend.apply(RecomposeHermitian(nan_at_ties=True), array, raw, (f, gamma))
        return self._finish(backend, out, dtype)

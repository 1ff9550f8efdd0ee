"""The public functions, written once for every framework.

A framework's module makes one :class:`Functions` over its :class:`Backend`, and has a function
for each method, which `adapters/write_public.py` writes; the `Functions` of `svdinv` itself looks
at the array's type. Here stand the documentation, the checks and the delegation; formulas are in
`svdinv_core`, registration with a framework's differentiation in the framework's file.
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
    counted,
    eigenvalue_coefficients,
    first,
    gauge_residual,
    get_rule,
    loewner_coefficients,
    mean_by_gauss,
    rule_residual,
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
    """A decorator that gives a function the documentation of the method of its name."""

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
    """``x = eigenvectors @ diag(eigenvalues) @ eigenvectors^H``, values ascending."""

    eigenvalues: ArrayT
    eigenvectors: ArrayT


class PolarResult(NamedTuple, Generic[ArrayT]):
    """``x = unitary @ positive``, or ``x = positive @ unitary`` on the left."""

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
    """The public functions for the frameworks that `find_backend` knows."""

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
            `svdinv.rules`, which carries the tolerances. Of "auto" and "fit" forward mode and
            second derivatives are those of "inv".
        gauge : {"ignore", "warn", "raise"}, default "ignore"
            What to do in reverse mode about a loss that depends on the choice of singular
            vectors, and so has no gradient (see `gauge_residual`), and about one whose gradient
            is the rule's choice (see `rule_residual`). "warn" and "raise" look at values:
            eagerly only, and in JAX without forward mode.
        driver : {"auto", "svd", "gram", "qr", "jacobi"}, default "auto"
            Where the factors come from, as for `svt`; docs/performance.md says what "auto" takes.
            "gram" has no vectors of zero values, and is off by ``eps (S[..., 0]/S[..., -1])^2``.

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
        Gradient: exact where the values differ by more than the rule's tolerance, the
        phases of complex singular vectors included. Only losses that do not depend on the choice
        of singular vectors have a gradient at a tie. There the default rule reads it from the
        cotangents in reverse mode: it is exact for a function of ``U f(S) Vh`` with one f, of
        ``U f(S) U^H`` or ``Vh^H f(S) Vh`` (projectors onto all vectors of a repeated value,
        ``U Vh``), of the values alone, and for sums of two of these. It is not where two such
        products with different f are added: the cotangents do not tell them apart
        (`rule_residual`), and `svt` and its like are exact. Forward mode and second derivatives,
        and in PyTorch all derivatives by a compiled `torch.func`, are those of "inv", which is
        exact at a tie for ``f(S) = c S``.

        A loss of ``U[..., :r], S[..., :r], Vh[..., :r, :]`` gets the exact gradient too, the
        part through the dropped vectors included; ties within the kept or the dropped values
        do not matter if it is one of the kept part's product (see `low_rank`). A cut through
        a tie has no gradient; what the rule gives there is finite.

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
            choice, of order 1 for one that does. Single phases of complex vectors count, and
            unitary mixing at repeated and zero values. An array like any other: no value is
            looked at.

        Raises
        ------
        TypeError
            If an argument is not a floating-point array.
        ValueError
            If the shapes do not go together.

        Notes
        -----
        A loss that depends on the choice has no gradient. One that does not depend on it has a
        gradient, and at distinct values `svd` gives it; at a tie the rule may have a say in it,
        which `rule_residual` tells.

        A measure to look at, and no function to train on: it has no derivative of svdinv's own.

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
            Cotangent of S. With it the measure is of the rule "auto", which reads from it what
            other rules decide.

        Returns
        -------
        array (...)
            Real, relative to the cotangents. Without `ct_S` about eps where every rule gives the
            same gradient, as at distinct values, and of order 1 where they differ. With it about
            eps where "auto" is right: ct_S confirms what it reads. Of order 1 where ct_S is not
            explained, and where it is with as many numbers as it has (a product beside the values
            at a pair), which may or may not be right. An array like any other: no value is looked
            at.

        Raises
        ------
        TypeError
            If an argument is not a floating-point array.
        ValueError
            If the shapes do not go together.

        Notes
        -----
        For a loss that does not depend on the choice of singular vectors (`gauge_residual`). Where
        every rule gives the same gradient it is the right one, unless f is zero at the repeated
        value in a function ``U f(S) Vh``, and its derivative is not; with `ct_S` that is counted.

        A measure to look at, and no function to train on: it has no derivative of svdinv's own.

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
        """A measure of factors and cotangents, all of them checked."""
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
        residual = measure(
            backend.xp,
            SVDFactors(arrays["U"], arrays["S"], arrays["Vh"]),
            backend.cotangent(arrays["ct_U"]),
            backend.cotangent(arrays["ct_Vh"]),
            *((arrays["ct_S"],) if ct_S is not None else ()),
        )
        return self._finish(backend, residual, dtype)

    @needs("factors")
    def svdvals(self, x: ArrayT, /, *, driver: Driver = "auto") -> ArrayT:
        """Singular values, in descending order.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        driver : {"auto", "svd", "gram", "qr", "jacobi"}, default "auto"
            As for `svd`. "gram" is off by ``eps S[..., 0]^2 / S[..., i]`` in the i-th value.

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
        Gradient: ``U diag(ct) Vh``, exact wherever the values differ, and at a tie for
        every loss that treats the repeated values alike. No division, no rule.

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
            Threshold, at least 0, in the units of the singular values; differentiable. An array
            is not looked at: a negative value in it makes the values grow. It may have two more
            axes of length 1 where `x` has those of its matrices. An array of another framework is
            refused, since it would get no gradient; one of NumPy is taken.
        weights : array broadcastable to (..., k), optional
            The threshold of value i is ``tau * weights[..., i]``: the weighted nuclear norm, for
            weights in ascending order. Differentiable, and not looked at.
        relative : bool, default False
            The threshold is ``tau * S[..., 0]``, differentiated through as well; without
            `weights`.
        driver : {"auto", "svd", "gram", "qr", "jacobi"}, default "auto"
            Where the factors come from. "svd" decomposes `x`. "gram" takes the eigendecomposition
            of ``x^H x`` (wide: ``x x^H``), several times faster, with an error of about
            ``eps (S[..., 0]/tau)^2``. "qr" decomposes the R of a tall or wide matrix. "jacobi"
            rotates columns in array operations: for large batches of small matrices, and for
            compilers without an SVD. "auto" takes the first of these that suits the shape and is
            good enough (relative error 1e-5 in single, 1e-12 in double precision);
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
        included, as long as none equals the threshold (there it is one-sided, as that of
        ``max``). Its norm never exceeds that of the cotangent. With ``relative=True`` and a
        repeated largest value, the derivative of the threshold is the mean over the
        repetition (the least-norm subgradient). With `weights`: exact for repeated values of the
        same weight; repeated values of different weights have a result that depends on the choice
        of singular vectors, and no derivative; it is finite there.

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
        """Whether values and thresholds need no guards, where a look at them costs nothing."""
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
            ``np.tanh`` is, and ``np.abs`` and ``s.real`` are not.
        elementwise : bool, default True
            Whether fn acts on each value alone. With False a result may depend on all values
            of its matrix, as that of ``s / s.sum()`` does: the Jacobian of fn takes the place of
            its slope. fn has to treat the values alike: exchanged values have exchanged results.
        driver : {"auto", "svd", "gram", "qr", "jacobi"}, default "auto"
            As for `svt`. The error of "gram" is about ``eps (S[..., 0]/S[..., -1])^2``, and a
            matrix without full rank is not for it; "auto" tries it only where one side is at
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
            `driver`; and where `fn` mixes the values with ``elementwise=True``, or is not analytic
            for NumPy: when the derivative is asked for there, at once elsewhere. Under a compiler,
            and where values are on a GPU, the gradient is NaN instead.

        Notes
        -----
        Gradient: exact for repeated values, where the derivative of `fn` stands for the
        divided difference; between values nearer than ``3 eps^(1/3) S[0]`` the mean of the
        two derivatives (error about ``eps^(2/3)``). With ``fn(0) != 0`` there is no derivative
        at a zero value; it is finite there. Second derivatives are
        exact for repeated values as well, with the mixed ones in what
        `fn` closes over; with ``elementwise=False`` they are NaN at a tie.

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
        """A function of each value and its derivatives, as functions of what it closes over."""
        return (values(v), derivative(v), *backend.bends(fn, v))

    @staticmethod
    def _derivative(backend: Backend, fn: Function, elementwise: bool) -> Function:
        """Slopes or Jacobian of a function of the values; an error where they are not to be had."""

        def refuse(reason: str, flags: Any) -> None:
            if backend.any(flags):
                raise unsuitable_function(reason)

        return backend.derivative(fn, elementwise, refuse)

    @staticmethod
    def _values(backend: Backend, fn: Function) -> Function:
        """fn, whose result is checked."""

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
            Takes the singular values ``(..., k)``, real, and returns ``(...)``; of equal values
            none may count for more than another. Otherwise as for `singular_value_map`.
        driver : {"auto", "svd", "gram", "qr", "jacobi"}, default "auto"
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
        repeated values too, where the Jacobian of g stands for divided differences: the tangent
        of an energy of the principal stretches is right in the undeformed state.

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

        # The integral of the gradient along the way from here: right up to the third derivative.
        # Differentiated twice, the product with the way has the derivative of the map of the
        # gradient for its own.
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
        return self._finish(backend, value(raw.S) + change, dtype)

    @needs("all values")
    def nuclear_norm(self, x: ArrayT, /, *, driver: Driver = "auto") -> ArrayT:
        """Sum of the singular values.

        Parameters
        ----------
        x : array (..., m, n)
            Real or complex floating point.
        driver : {"auto", "svd", "gram", "qr", "jacobi"}, default "auto"
            As for `svt`. The error of "gram" is about ``eps (S[..., 0]/S[..., -1])^2``, and a
            matrix without full rank is not for it; "auto" tries it only where one side is at
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
        Gradient: ``U Vh`` over the values that are not zero; exact at full rank, and else the
        subgradient of least norm.

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
        driver : {"auto", "svd", "gram", "qr", "jacobi"}, default "auto"
            As for `svt`. The error of "gram" is about ``eps (S[..., 0]/S[..., -1])^2``, and a
            matrix without full rank is not for it; "auto" tries it only where one side is at
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
        Gradient: exact for any repeated values; that of ``positive`` on the longer side at full
        rank. That of ``unitary`` grows as one over the sum
        of the two smallest values (square) or over the smallest (tall, wide), and does not
        exist where that is 0; it is finite there.

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
            Among matrices of determinant +1 (the Kabsch problem).
        driver : {"auto", "svd", "gram", "qr", "jacobi"}, default "auto"
            As for `svt`. The error of "gram" is about ``eps (S[..., 0]/S[..., -1])^2``, and a
            matrix without full rank is not for it; "auto" tries it only where one side is at
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
            If `x` has fewer than two dimensions, for an unknown `driver`, or for ``special=True``
            is complex or not square.

        Notes
        -----
        Gradient: exact for any repeated values; it does not exist where R is not unique, and
        is finite there.

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
            What the derivative does at (nearly) repeated eigenvalues, as for `svd`; on a tie
            "inv", "pinv" and "tf" are the same here, and "auto" and "fit" are exact in reverse
            mode for a loss of ``Q f(w) Q^H`` with one f.
        driver : {"auto", "eigh", "jacobi"}, default "auto"
            "eigh" is the framework's own; "jacobi" rotates columns in array operations. "auto"
            takes "jacobi" for large batches of small matrices (docs/performance.md).

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
        """``Q diag(fn(w)) Q^H`` of a Hermitian matrix: matrix square roots, whitening, ...

        Parameters
        ----------
        x : array (..., n, n)
            Real or complex floating point; its Hermitian part is used.
        fn : callable
            Takes the eigenvalues ``(..., n)``, real and ascending; otherwise as for
            `singular_value_map`.
        elementwise : bool, default True
            Whether fn acts on each value alone; as for `singular_value_map`.
        driver : {"auto", "eigh", "jacobi"}, default "auto"
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
            If `x` has fewer than two dimensions or is not square, or `fn` does not keep the
            shape or is not what `elementwise` says (as for `singular_value_map`).

        Notes
        -----
        Gradient: exact for repeated eigenvalues; near ones as for `singular_value_map`.

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

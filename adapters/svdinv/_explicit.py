"""Frameworks without automatic differentiation: forward values, and explicit `vjp` and `jvp`.

A public function calls :meth:`ExplicitBackend.decompose`, :meth:`ExplicitBackend.apply`,
:meth:`ExplicitBackend.run` and :meth:`ExplicitBackend.cast`. `vjp` and `jvp` run the same public
function over a backend that records these calls, and then ask the core for the derivative of each
recorded call in turn.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from svdinv_core import (
    Decomposition,
    Operator,
    Point,
    Refuse,
    Situation,
    Step,
    SVDFactors,
    Tangents,
    complex_step_curvature,
    complex_step_hessian,
    complex_step_jacobian,
    complex_step_slope,
)
from svdinv_core.drivers import Looks

from ._api import Functions
from ._backend import Backend, Function
from ._checks import check_field, check_same_shape, dtype_name
from ._frameworks import is_foreign
from ._gauge import Watch
from ._scipy import is_sparse, operator_of
from .operators import LinearOperator

__all__ = ["Explicit", "ExplicitBackend"]


@dataclass
class _Call:
    """One recorded call: its input arrays, its results and its derivatives."""

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    jvp: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    vjp: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    hvp: Callable[[tuple[Any, ...], tuple[Any, ...]], tuple[Any, ...]] | None = None
    """Derivative of `vjp` along tangents of the inputs, at fixed cotangents; None if not known."""


class ExplicitBackend(Backend):
    """Values through an array API namespace."""

    differentiates = False

    def __init__(
        self,
        xp: Any,
        array_name: str,
        asarray: Callable[[Any], Any],
        quiet: Callable[[], AbstractContextManager[Any]] = nullcontext,
        looks: Looks = "never",
        largest_jacobi: int = 4,
    ) -> None:
        self.xp = xp
        self.array_name = array_name
        self._asarray = asarray
        self._looks: Looks = looks  # "never" where reading a value waits for a device or computes
        self._largest_jacobi = largest_jacobi
        self.quiet = quiet  # silences warnings about inf and NaN, which the formulas handle

    def asarray(self, x: Any) -> Any:
        return self._asarray(x)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        if isinstance(value, numbers.Real):  # includes scalars of NumPy
            device = getattr(like, "device", None)
            return self.xp.asarray(float(value), dtype=dtype, device=device)
        package = self.array_name.partition(".")[0]
        if is_foreign(value, package, f"_{package}"):
            return None
        array = self.asarray(value)
        return None if array is None else self.cast(array, dtype)

    def situation(self, x: Any) -> Situation:
        return Situation(
            tuple(x.shape),
            single=float(self.xp.finfo(x.dtype).eps) > 1e-10,
            looks=self._looks,
            largest_jacobi=self._largest_jacobi,
        )

    def of_values(self, function: Callable[..., Any], x: Any, params: tuple[Any, ...]) -> Any:
        with self.quiet():
            return function(x, *params)

    def sparse(self, x: Any) -> LinearOperator | None:
        return operator_of(x) if is_sparse(x) else None

    def some(self, flags: Any) -> bool:
        return not bool(self.xp.all(~flags))

    def failed(self, values: Any) -> bool:
        return self._looks == "free" and bool(self.xp.any(self.xp.isnan(values)))

    def extremes(self, x: Any) -> tuple[float, float] | None:
        if self._looks != "free" or 0 in x.shape:
            return None
        return float(self.xp.min(x)), float(self.xp.max(x))

    def largest_count(self, x: Any, counts: Callable[[], Any]) -> int | None:
        """As in the base class; None where values may not be read."""
        if self._looks != "free" or 0 in x.shape:
            return None
        with self.quiet():
            return int(self.xp.max(counts()))

    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> Any:
        return raw

    def apply(
        self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        with self.quiet():
            return operator.apply(Point(self.xp, x, raw, params))

    def constant(self, rows: Any, like: Any, is_complex: bool) -> Any:
        double = dtype_name(like.dtype) in ("float64", "complex128")
        names = ("complex64", "complex128") if is_complex else ("float32", "float64")
        dtype = getattr(self.xp, names[double])
        return self.xp.asarray(rows, dtype=dtype, device=getattr(like, "device", None))

    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        return factors

    def derivative(self, fn: Function, elementwise: bool, refuse: Refuse) -> Function:
        by_complex_step = complex_step_slope if elementwise else complex_step_jacobian
        return by_complex_step(self.xp, fn, refuse)

    def any(self, flags: Any) -> bool:
        return self._looks == "free" and bool(self.xp.any(flags))

    def curvature(self, fn: Function) -> Function:
        return complex_step_curvature(self.xp, fn)

    def hessian(self, fn: Function) -> Function:
        return complex_step_hessian(self.xp, fn)


class _Recorder(ExplicitBackend):
    """A backend that records its differentiable calls."""

    def __init__(self, backend: ExplicitBackend) -> None:
        super().__init__(
            backend.xp,
            backend.array_name,
            backend._asarray,
            backend.quiet,
            backend._looks,
            backend._largest_jacobi,
        )
        self.iterates = backend.iterates
        self._situation_of = backend.situation
        self.calls: list[_Call] = []
        self.given: list[tuple[Any, Any]] = []  # arguments, and the arrays made of them

    def situation(self, x: Any) -> Situation:
        return self._situation_of(x)

    def asarray(self, x: Any) -> Any:
        array = super().asarray(x)
        self.given.append((x, array))
        return array

    def sparse(self, x: Any) -> LinearOperator | None:
        operator = super().sparse(x)
        if operator is not None:
            self.given.append((x, operator.params[0]))
        return operator

    def array_of(self, argument: Any) -> Any:
        """The array that was made of an argument of the public function, or None."""
        return next((array for given, array in self.given if given is argument), None)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        array = super().parameter(value, like, dtype)
        if isinstance(value, numbers.Real):
            self.given.append((value, array))
        return array

    def cast(self, x: Any, dtype: Any) -> Any:
        out = super().cast(x, dtype)
        if out is not x:

            def forward(tangents: tuple[Any, ...]) -> tuple[Any, ...]:
                return (_cast(self.xp, tangents[0], out),)

            def reverse(cts: tuple[Any, ...]) -> tuple[Any, ...]:
                inexact = ("real floating", "complex floating")
                return (_cast(self.xp, cts[0], x) if self.xp.isdtype(x.dtype, inexact) else cts[0],)

            self.calls.append(_Call((x,), (out,), forward, reverse, lambda cts, tangents: (None,)))
        return out

    def run(self, step: Step, *arrays: Any) -> tuple[Any, ...]:
        outputs = super().run(step, *arrays)

        def forward(tangents: tuple[Any, ...]) -> tuple[Any, ...]:
            return step.jvp(self.xp, arrays, _filled(self.xp, tangents, arrays))

        def reverse(cts: tuple[Any, ...]) -> tuple[Any, ...]:
            return step.vjp(self.xp, arrays, _filled(self.xp, cts, outputs))

        def bent(cts: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, ...]:
            cts = _filled(self.xp, cts, outputs)
            return step.hvp(self.xp, arrays, cts, _filled(self.xp, tangents, arrays))

        self.calls.append(_Call(arrays, outputs, forward, reverse, bent))
        return outputs

    def without_matrix_axes(self, parameter: Any) -> Any:
        out = super().without_matrix_axes(parameter)

        def forward(tangents: tuple[Any, ...]) -> tuple[Any, ...]:
            return (tangents[0][..., 0, 0],)

        def reverse(cts: tuple[Any, ...]) -> tuple[Any, ...]:
            return (self.xp.reshape(cts[0], parameter.shape),)

        self.calls.append(
            _Call((parameter,), (out,), forward, reverse, lambda cts, tangents: (None,))
        )
        return out

    def caller_function(self, name: str, fn: Function) -> Function:
        raise TypeError(f"{name}: a pair of functions has no derivative here; give a matrix")

    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> Any:
        factors = decomposition.Factors(*raw)

        def forward(tangents: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(decomposition.jvp(self.xp, factors, tangents[0]))

        def reverse(cts: tuple[Any, ...]) -> tuple[Any, ...]:
            some = None if self._looks == "never" else self.some
            return (decomposition.vjp(self.xp, factors, cts, some=some),)

        self.calls.append(_Call((x,), tuple(raw), forward, reverse))
        return raw

    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        call = self.calls[-1]
        reverse = call.vjp

        def watched(cts: tuple[Any, ...]) -> tuple[Any, ...]:
            _look(self.xp, watch, factors, cts)
            return reverse(cts)

        call.vjp = watched
        return factors

    def apply(
        self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        outputs = super().apply(operator, x, raw, params)
        at = Point(self.xp, x, raw, params)

        def forward(tangents: tuple[Any, ...]) -> tuple[Any, ...]:
            dx, *dparams = tangents
            dx = self.xp.zeros_like(x) if dx is None else dx
            return operator.jvp(at, Tangents(dx, tuple(dparams)))

        def reverse(cts: tuple[Any, ...]) -> tuple[Any, ...]:
            ct_x, ct_params = operator.vjp(at, cts)
            return (ct_x, *ct_params)

        def bent(cts: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, ...]:
            ct_x, ct_params = operator.hvp(at, cts, Tangents(tangents[0], tangents[1:]))
            return (ct_x, *ct_params)

        known = bent if operator.twice else None
        self.calls.append(_Call((x, *params), outputs, forward, reverse, known))
        return outputs

    def push(self, tangents: dict[int, Any], inner: bool = False) -> None:
        """Propagate tangents, keyed by the `id` of arrays, through the calls in order.

        Adds the tangents of the results to `tangents`; with `inner`, only of results that are
        inputs of other calls.
        """
        used = {id(array) for call in self.calls for array in call.inputs}
        for call in self.calls:
            if inner and used.isdisjoint(map(id, call.outputs)):
                continue
            given = tuple(tangents.get(id(array)) for array in call.inputs)
            if any(d is not None for d in given):
                tangents.update(zip(map(id, call.outputs), call.jvp(given), strict=True))

    def pull(self, cts: dict[int, Any]) -> None:
        """Propagate cotangents, keyed by the `id` of arrays, through the calls in reverse order."""
        for call in reversed(self.calls):
            given = tuple(cts.get(id(array)) for array in call.outputs)
            if all(ct is None for ct in given):
                continue
            for array, ct in zip(call.inputs, call.vjp(given), strict=True):
                if ct is not None:
                    before = cts.get(id(array))
                    cts[id(array)] = ct if before is None else before + ct

    def pull_twice(
        self, cts: dict[int, Any], tangents: dict[int, Any], moved: dict[int, Any]
    ) -> bool:
        """As `pull`, and in `moved` the derivatives of the cotangents along the tangents.

        Returns False where a call has no second derivative. `cts` is computed for results of calls
        only; the cotangents of the original inputs are not needed.
        """
        made = {id(array) for call in self.calls for array in call.outputs}
        for call in reversed(self.calls):
            given, along, change = (
                tuple(values.get(id(array)) for array in arrays)
                for values, arrays in (
                    (cts, call.outputs),
                    (tangents, call.inputs),
                    (moved, call.outputs),
                )
            )
            found: list[tuple[dict[int, Any], tuple[Any, ...]]] = []
            if any(ct is not None for ct in given):
                if not made.isdisjoint(map(id, call.inputs)):
                    found.append((cts, call.vjp(given)))
                if any(d is not None for d in along):
                    if call.hvp is None:
                        return False
                    found.append((moved, call.hvp(given, along)))
            if any(ct is not None for ct in change):
                found.append((moved, call.vjp(change)))
            for values, more in found:
                for array, ct in zip(call.inputs, more, strict=True):
                    if ct is not None:
                        before = values.get(id(array))
                        values[id(array)] = ct if before is None else before + ct
        return True


def _filled(xp: Any, values: tuple[Any, ...], like: tuple[Any, ...]) -> tuple[Any, ...]:
    """`values` with zeros for those that are None."""
    return tuple(
        xp.zeros_like(array) if value is None else value
        for value, array in zip(values, like, strict=True)
    )


def _cast(xp: Any, x: Any, like: Any) -> Any:
    """`x` in the dtype of `like`; None stays None."""
    return x if x is None or x.dtype == like.dtype else xp.astype(x, like.dtype)


def _checked(backend: ExplicitBackend, name: str, value: Any, like: Any) -> Any:
    """Check a cotangent or tangent of the array `like`, and cast it to its dtype."""
    array = backend.asarray(value)
    if array is None and isinstance(value, numbers.Number):
        array = backend.xp.asarray(value, device=getattr(like, "device", None))
    if array is None:
        raise TypeError(f"{name}: expected a {backend.array_name}, got {type(value).__name__}")
    check_field(name, array.dtype, "complex" in dtype_name(like.dtype))
    check_same_shape(name, tuple(array.shape), tuple(like.shape))
    return _cast(backend.xp, array, like)


def _look(xp: Any, watch: Watch, factors: Any, cts: tuple[Any, ...]) -> None:
    """Warn or raise if the cotangents show that the loss has no gradient, or a chosen one."""

    def numbers(residual: Any) -> list[float]:
        flat = xp.reshape(residual, (-1,))
        return [float(flat[i]) for i in range(flat.shape[0])]

    given = (xp.zeros_like(f) if ct is None else ct for ct, f in zip(cts, factors, strict=True))
    watch.look(xp, factors, tuple(given), numbers)


def _is_array(a: Any) -> bool:
    return hasattr(a, "shape") and not is_sparse(a) and not isinstance(a, LinearOperator)


def _public_name(fn: Any) -> str | None:
    """Name of a public function of svdinv or of one of its modules; None for anything else."""
    name = getattr(fn, "__name__", "_")
    ours = str(getattr(fn, "__module__", "")).partition(".")[0] == __package__
    return name if ours and not name.startswith("_") and hasattr(Functions, name) else None


def _checked_cotangents(backend: ExplicitBackend, cts: Any, out: Any) -> Iterator[tuple[int, Any]]:
    """Check the cotangents of a result; yield each with the `id` of its array."""
    if not isinstance(out, tuple):
        out, cts, names = (out,), (cts,), ["ct_out"]
    else:
        names = [f"ct_{field}" for field in out._fields]  # type: ignore[attr-defined]
        if not isinstance(cts, (tuple, list)) or len(cts) != len(names):
            count = f"{len(cts)}" if isinstance(cts, (tuple, list)) else type(cts).__name__
            raise TypeError(f"ct_out: expected a tuple ({', '.join(names)}), got {count}")
    for name, ct, array in zip(names, cts, out, strict=True):
        if ct is not None:
            yield id(array), _checked(backend, name, ct, array)


class Explicit:
    """`vjp`, `jvp` and `hvp` of the public functions, for explicit backends."""

    def __init__(self, find_backend: Callable[[Any], ExplicitBackend]) -> None:
        self._find_backend = find_backend

    @staticmethod
    def _record(
        backend: ExplicitBackend, fn: Any, arguments: tuple[Any, ...], kwargs: Any
    ) -> tuple[_Recorder, Any, tuple[Any, ...]]:
        """Run a public function; return the recorder, the result and the arguments as arrays."""
        name = _public_name(fn)
        if name is None:
            raise TypeError(
                f"fn: expected a function of svdinv, such as svdinv.svt, got {fn!r}; other "
                "functions cannot be differentiated here"
            )
        recorder = _Recorder(backend)
        # Copies: arrays are known by their `id`, and the same array may be given twice.
        arguments = tuple(a[...] if _is_array(a) else a for a in arguments)
        out = getattr(Functions[Any](lambda _: recorder), name)(*arguments, **kwargs)
        if not recorder.calls:
            raise TypeError(f"fn: svdinv defines no derivative for {name}, which is a diagnostic")
        arrays = tuple(map(recorder.array_of, arguments))
        if arrays[0] is None:
            raise TypeError(
                "x: a LinearOperator has no derivative here, where nobody differentiates its "
                "products; give a sparse matrix"
            )
        return recorder, out, arrays

    def vjp(self, fn: Any, x: Any, *args: Any, **kwargs: Any) -> tuple[Any, Callable[[Any], Any]]:
        """Value and pullback of a function of svdinv, as ``jax.vjp`` (NumPy, CuPy, Dask, ...).

        Parameters
        ----------
        fn : function
            A public function of svdinv, such as `svdinv.svt`.
        x : array (..., m, n)
        *args, **kwargs
            Further arguments of `fn`. Those given by position are differentiated (the
            ``tau`` of `svt`), those given by keyword are not.

        Returns
        -------
        out
            ``fn(x, *args, **kwargs)``.
        pullback : callable
            Takes a cotangent of `out` (for `svd` a triple, None for an absent one) and returns a
            tuple of cotangents: ``(ct_x,)``, or ``(ct_x, ct_tau)``. Complex cotangents follow
            the convention ``dL = Re tr(ct^H dx)``.

        Raises
        ------
        TypeError
            If `fn` is not a function of svdinv with a derivative, or `x` is an array of a
            framework with automatic differentiation. From the pullback: if a cotangent is not an
            array, or is complex for a real result.
        ValueError
            From the pullback, if the shape of a cotangent is not that of its result.
        svdinv.GaugeError
            From the pullback of ``svd(gauge="raise")``.

        Examples
        --------
        >>> import numpy as np
        >>> from svdinv.numpy import svt, vjp
        >>> B, pullback = vjp(svt, np.eye(2), 0.5)
        >>> ct_x, ct_tau = pullback(np.ones((2, 2)))
        >>> ct_x
        array([[1., 1.],
               [1., 1.]])
        >>> float(ct_tau)
        -2.0
        """
        backend = self._find_backend(x)
        recorder, out, arrays = self._record(backend, fn, (x, *args), kwargs)

        def pullback(ct_out: Any) -> tuple[Any, ...]:
            cts = dict(_checked_cotangents(backend, ct_out, out))
            with backend.quiet():
                recorder.pull(cts)
            ct_x, *ct_args = (None if array is None else cts.get(id(array)) for array in arrays)
            differentiated = [
                backend.xp.zeros_like(array) if ct is None else ct
                for array, ct in zip(arrays[1:], ct_args, strict=True)
                if array is not None
            ]
            first = backend.xp.zeros_like(arrays[0]) if ct_x is None else ct_x
            return (first, *differentiated)

        return out, pullback

    def jvp(
        self, fn: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...], **kwargs: Any
    ) -> tuple[Any, Any]:
        """Value and tangent of a function of svdinv, as ``jax.jvp`` (NumPy, CuPy, Dask, ...).

        Parameters
        ----------
        fn : function
            A public function of svdinv, such as `svdinv.svt`.
        primals, tangents : tuple
            ``(x,)`` or ``(x, tau)``, and their tangents (None for none).
        **kwargs
            Further arguments of `fn`.

        Returns
        -------
        out, dout
            ``fn(*primals, **kwargs)`` and its tangent, of the same structure, shapes and dtypes.

        Raises
        ------
        TypeError, ValueError
            As for `vjp`, with tangents instead of cotangents; and if there are no tangents, or more
            tangents than primals.

        Examples
        --------
        >>> import numpy as np
        >>> from svdinv.numpy import jvp, svdvals
        >>> S, dS = jvp(svdvals, (np.diag([2.0, 1.0]),), (np.eye(2),))
        >>> dS
        array([1., 1.])
        """
        if not primals or not 0 < len(tangents) <= len(primals):
            raise TypeError(
                f"tangents: expected one for each of {len(primals)} primals, got {len(tangents)}"
            )
        backend = self._find_backend(primals[0])
        recorder, out, arrays = self._record(backend, fn, tuple(primals), kwargs)
        given: dict[int, Any] = {}
        for i, (array, d) in enumerate(zip(arrays, tangents, strict=False)):
            if d is None:
                continue
            if array is None:
                raise TypeError(f"tangents[{i}]: expected None, for an argument without one")
            given[id(array)] = _checked(backend, f"tangents[{i}]", d, array)
        with backend.quiet():
            recorder.push(given)

        def tangent(array: Any) -> Any:
            d = given.get(id(array))
            return backend.xp.zeros_like(array) if d is None else _cast(backend.xp, d, array)

        if isinstance(out, tuple):
            return out, type(out)(*map(tangent, out))
        return out, tangent(out)

    def hvp(
        self, fn: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...], ct: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Hessian-vector product of ``Re <ct, fn(x)>`` (NumPy, CuPy, Dask, ...).

        Parameters
        ----------
        fn : function
            A public function of svdinv, such as `svdinv.svt`; not `svd`, `svdvals` or `eigh`,
            which have no second derivative at a tie.
        primals, tangents : tuple
            ``(x,)`` or ``(x, tau)``, and their tangents (None for none).
        ct : array
            A cotangent of the result (for `polar` a pair, None for an absent one).
        **kwargs
            Further arguments of `fn`.

        Returns
        -------
        tuple of array
            The tangent of what the pullback of `vjp` returns for `ct`.

        Raises
        ------
        TypeError
            As for `vjp`, and if `fn` has no second derivative here.

        Notes
        -----
        Exact for repeated values, wherever the second derivative exists. For `singular_value_map`
        and `eigenvalue_map` the second derivative of `fn` is taken by a complex step, and is NaN
        where `fn` has a kink within a thousandth of a value.

        Examples
        --------
        >>> import numpy as np
        >>> from svdinv.numpy import hvp, nuclear_norm
        >>> x, dx = np.eye(2), np.array([[0.0, 1.0], [0.0, 0.0]])
        >>> hvp(nuclear_norm, (x,), (dx,), np.array(1.0))[0]
        array([[ 0. ,  0.5],
               [-0.5,  0. ]])
        """
        backend = self._find_backend(primals[0])
        recorder, out, arrays = self._record(backend, fn, tuple(primals), kwargs)
        along: dict[int, Any] = {}
        for i, (d, array) in enumerate(zip(tangents, arrays, strict=False)):
            if d is not None and array is not None:
                along[id(array)] = _checked(backend, f"tangents[{i}]", d, array)
        cts = dict(_checked_cotangents(backend, ct, out))
        moved: dict[int, Any] = {}
        with backend.quiet():
            recorder.push(along, inner=True)
            if not recorder.pull_twice(cts, along, moved):
                raise TypeError(f"fn: {fn.__name__} has no second derivative here")
        return tuple(
            backend.xp.zeros_like(array) if moved.get(id(array)) is None else moved[id(array)]
            for array in arrays
            if array is not None
        )

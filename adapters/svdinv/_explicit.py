"""Frameworks without automatic differentiation: forward values, and `vjp` and `jvp` by name.

A public function makes one call of :meth:`ExplicitBackend.decompose` or
:meth:`ExplicitBackend.apply`. `vjp` and `jvp` run the same public function over a backend
that remembers this one call, and then ask the core for its derivative.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from svdinv_core import (
    Decomposition,
    Operator,
    Situation,
    SVDFactors,
    complex_step_slope,
)

from ._api import Functions
from ._backend import Backend, Function
from ._gauge import Watch

__all__ = ["Explicit", "ExplicitBackend"]


@dataclass
class _Call:
    """One differentiable call: what was called, on what, and its value in the computing dtype."""

    operation: Decomposition | Operator
    x: Any
    factors: Any
    params: tuple[Any, ...]
    out: Any
    watch: Watch | None = None


class ExplicitBackend(Backend):
    """Values through an array API namespace."""

    differentiates = False

    def __init__(
        self,
        xp: Any,
        array_name: str,
        asarray: Callable[[Any], Any],
        quiet: Callable[[], AbstractContextManager[Any]] = nullcontext,
        looks: Literal["free", "never"] = "never",
    ) -> None:
        self.xp = xp
        self.array_name = array_name
        self._asarray = asarray
        self._looks = looks  # "never": a look waits for a device, or for a lazy array
        self.quiet = quiet  # silences the floating-point warnings of inf and NaN by design

    def asarray(self, x: Any) -> Any:
        return self._asarray(x)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        if isinstance(value, numbers.Real):  # scalars of NumPy among them
            return float(value)
        array = self.asarray(value)
        return None if array is None else self.xp.astype(array, dtype)

    def situation(self, x: Any) -> Situation:
        return Situation(
            tuple(x.shape),
            single=float(self.xp.finfo(x.dtype).eps) > 1e-10,
            looks=self._looks,
        )

    def of_values(self, function: Callable[..., Any], x: Any, params: tuple[Any, ...]) -> Any:
        with self.quiet():
            return function(x, *params)

    def largest_count(self, x: Any, counts: Callable[[], Any]) -> int | None:
        """Where values may be looked at."""
        if self._looks == "never" or 0 in x.shape:
            return None
        return int(self.xp.max(counts()))

    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> Any:
        return raw

    def apply(self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]) -> Any:
        with self.quiet():
            return operator.apply(self.xp, x, raw, params)

    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        return factors

    def slope(self, fn: Function) -> Function:
        return complex_step_slope(self.xp, fn)


class _Recorder(ExplicitBackend):
    """The same backend, remembering its one call; every parameter becomes an array."""

    call: _Call | None = None

    def __init__(self, backend: ExplicitBackend) -> None:
        super().__init__(
            backend.xp, backend.array_name, backend._asarray, backend.quiet, backend._looks
        )

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        array = super().parameter(value, like, dtype)
        if isinstance(array, float):
            device = getattr(like, "device", None)
            return self.xp.asarray(array, dtype=dtype, device=device)
        return array

    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> Any:
        self.call = _Call(decomposition, x, raw, (), raw)
        return raw

    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        assert self.call is not None
        self.call.watch = watch
        return factors

    def apply(self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]) -> Any:
        out = super().apply(operator, x, raw, params)
        self.call = _Call(operator, x, raw, params, out)
        return out


def _cast(xp: Any, x: Any, like: Any) -> Any:
    """`x` in the dtype of `like`; None stays None."""
    return x if x is None or x.dtype == like.dtype else xp.astype(x, like.dtype)


def _as_tangent(xp: Any, d: Any, param: Any) -> Any:
    """A parameter's tangent as an array of its dtype."""
    if d is None or hasattr(d, "shape"):
        return _cast(xp, d, param)
    return xp.zeros_like(param) + float(d)


def _look(xp: Any, watch: Watch, factors: Any, cts: tuple[Any, ...]) -> None:
    """Warn or raise about what the cotangents say of the loss."""

    def numbers(residual: Any) -> list[float]:
        flat = xp.reshape(residual, (-1,))
        return [float(flat[i]) for i in range(flat.shape[0])]

    given = (xp.zeros_like(f) if ct is None else ct for ct, f in zip(cts, factors, strict=True))
    watch.look(xp, factors, tuple(given), numbers)


def _public_name(fn: Any) -> str | None:
    """Name of a public function of svdinv or of one of its modules; None of anything else."""
    name = getattr(fn, "__name__", "_")
    ours = str(getattr(fn, "__module__", "")).partition(".")[0] == __package__
    return name if ours and not name.startswith("_") and hasattr(Functions, name) else None


class Explicit:
    """`vjp` and `jvp` over the public functions of explicit backends."""

    def __init__(self, find_backend: Callable[[Any], ExplicitBackend]) -> None:
        self._find_backend = find_backend

    @staticmethod
    def _record(
        backend: ExplicitBackend, fn: Any, x: Any, args: Any, kwargs: Any
    ) -> tuple[_Call, Any]:
        """Run a public function, and tell what it did."""
        name = _public_name(fn)
        if name is None:
            raise TypeError(
                f"fn: expected a function of svdinv, such as svdinv.svt, got {fn!r}; there is no "
                "automatic differentiation of others here"
            )
        recorder = _Recorder(backend)
        out = getattr(Functions[Any](lambda _: recorder), name)(x, *args, **kwargs)
        if recorder.call is None:
            raise TypeError(f"fn: {name} is a measure, and has no derivative here")
        return recorder.call, out

    def vjp(self, fn: Any, x: Any, *args: Any, **kwargs: Any) -> tuple[Any, Callable[[Any], Any]]:
        """Value and pullback of a function of svdinv, as in ``jax.vjp``; NumPy, CuPy, Dask, ...

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
            Takes a cotangent of `out` (for `svd` a triple, absent ones None) and returns a
            tuple of cotangents: ``(ct_x,)``, or ``(ct_x, ct_tau)``. Complex cotangents
            follow ``dL = Re tr(ct^H dx)``.

        Raises
        ------
        TypeError
            If `fn` is not a function of svdinv with a derivative, or `x` is an array of a
            framework that differentiates by itself.
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
        call, out = self._record(backend, fn, x, args, kwargs)
        x_array, cast = backend.asarray(x), partial(_cast, backend.xp)

        def pullback(ct_out: Any) -> tuple[Any, ...]:
            if isinstance(call.out, tuple):
                cts: Any = tuple(map(cast, ct_out, call.out))
            else:
                cts = cast(ct_out, call.out)
            if call.watch is not None:
                _look(backend.xp, call.watch, call.factors, cts)
            ct_params: tuple[Any, ...] = ()
            with backend.quiet():
                if isinstance(call.operation, Operator):
                    ct_x, ct_params = call.operation.vjp(
                        backend.xp, call.x, call.factors, call.params, cts
                    )
                else:
                    ct_x = call.operation.vjp(backend.xp, call.factors, cts)
            if ct_x is None:
                ct_x = backend.xp.zeros_like(x_array)
            return (cast(ct_x, x_array), *ct_params[: len(args)])

        return out, pullback

    def jvp(
        self, fn: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...], **kwargs: Any
    ) -> tuple[Any, Any]:
        """Value and tangent of a function of svdinv, as in ``jax.jvp``; NumPy, CuPy, Dask, ...

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
            ``fn(*primals, **kwargs)`` and its tangent, of the same form, shapes and dtypes.

        Raises
        ------
        TypeError
            As for `vjp`.
        NotImplementedError
            For ``rule="fit"``, which has no forward mode.

        Examples
        --------
        >>> import numpy as np
        >>> from svdinv.numpy import jvp, svdvals
        >>> S, dS = jvp(svdvals, (np.diag([2.0, 1.0]),), (np.eye(2),))
        >>> dS
        array([1., 1.])
        """
        x, *args = primals
        backend = self._find_backend(x)
        call, out = self._record(backend, fn, x, args, kwargs)
        cast = partial(_cast, backend.xp)
        dx, *given = tangents
        dx = backend.xp.zeros_like(call.x) if dx is None else cast(dx, call.x)
        given += [None] * (len(call.params) - len(given))
        dparams = tuple(map(partial(_as_tangent, backend.xp), given, call.params))
        with backend.quiet():
            if isinstance(call.operation, Operator):
                dout: Any = call.operation.jvp(
                    backend.xp, call.x, call.factors, call.params, dx, dparams
                )
            else:
                dout = call.operation.jvp(backend.xp, call.factors, dx)
        if isinstance(out, tuple):
            return out, type(out)(*map(cast, dout, out))
        return out, cast(dout, out)

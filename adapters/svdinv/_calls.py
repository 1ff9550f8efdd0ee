"""The first and last steps of every public function: check the arguments, finish the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from svdinv_core import Operator
from svdinv_core.drivers import DriverName as Driver
from svdinv_core.drivers import EighDriverName as EighDriver
from svdinv_core.drivers import Needs

from ._backend import Backend
from ._checks import (
    Shape,
    check_dtype,
    check_field,
    check_matrix,
    check_parameter,
    check_real,
    compute_dtype,
    dtype_name,
    real_dtype,
)
from ._driver import operate

__all__ = ["Calls", "Driver", "EighDriver", "as_array", "needs"]

ArrayT = TypeVar("ArrayT")
Method = TypeVar("Method", bound=Callable[..., Any])


def needs(what: Needs) -> Callable[[Method], Method]:
    """Record which factors a public function needs, for `svdinv.drivers.explain`."""

    def note(method: Method) -> Method:
        setattr(method, "needs", what)  # noqa: B010
        return method

    return note


class Calls(Generic[ArrayT]):
    """Base of the classes whose methods are the public functions."""

    def __init__(self, find_backend: Callable[[Any], Backend]) -> None:
        self._find_backend = find_backend

    def _prepare(self, x: Any, name: str = "x") -> tuple[Backend, Any, Any, Shape]:
        """Backend, the checked matrix in the dtype it is computed in, the result's dtype, shape."""
        backend = self._find_backend(x)
        array = as_array(backend, name, x)
        shape = backend.shape(array)
        check_matrix(array.dtype, shape, name)
        assert shape is not None
        work = getattr(backend.xp, compute_dtype(dtype_name(array.dtype)))
        return backend, backend.cast(array, work), array.dtype, shape

    def _parameter(self, name: str, value: Any, backend: Backend, x: Any, shape: Shape) -> Any:
        """Check a real parameter with one value for each matrix of x, and return it as an array."""
        parameter = self._real(name, value, backend, x)
        of_parameter = backend.shape(parameter)
        if of_parameter == ():
            return parameter
        given = check_parameter(name, of_parameter, shape)
        return backend.without_matrix_axes(parameter) if given == "image" else parameter

    @staticmethod
    def _real(name: str, value: Any, backend: Backend, x: Any) -> Any:
        """Check a real parameter of any shape, and return it in the precision of x."""
        check_real(name, value)
        parameter = backend.parameter(
            value, x, getattr(backend.xp, real_dtype(dtype_name(x.dtype)))
        )
        if parameter is None:
            raise TypeError(
                f"{name}: expected a number or a {backend.array_name}, got {type(value).__name__}"
            )
        return parameter

    @staticmethod
    def _companion(name: str, value: Any, backend: Backend, x: Any) -> Any:
        """Check a second array, and return it in the dtype of x."""
        array = as_array(backend, name, value)
        check_dtype(array.dtype, name)
        check_field(name, array.dtype, "complex" in dtype_name(x.dtype))
        return backend.cast(array, x.dtype)

    def _value(
        self,
        backend: Backend,
        operator: Operator,
        x: Any,
        dtype: Any,
        params: tuple[Any, ...] = (),
        driver: str = "auto",
    ) -> ArrayT:
        """The value at x of an operator that has one, as `_finish` returns it."""
        (out,) = operate(backend, operator, x, params, driver)
        return self._finish(backend, out, dtype)

    @staticmethod
    def _finish(backend: Backend, out: Any, dtype: Any) -> ArrayT:
        """The result in the dtype of the caller's matrix, which may be half precision."""
        name = dtype_name(dtype)
        result: ArrayT = out if compute_dtype(name) == name else backend.cast(out, dtype)
        return result


def as_array(backend: Backend, name: str, value: Any) -> Any:
    """Return an argument as an array of the framework, or raise a TypeError."""
    array = backend.asarray(value)
    if array is None:
        raise TypeError(f"{name}: expected a {backend.array_name}, got {type(value).__name__}")
    return array

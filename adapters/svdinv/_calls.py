"""What every public function does first and last: its arguments checked, its result handed back."""

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
    """What a public function needs of its factors, which `svdinv.drivers.explain` goes by."""

    def note(method: Method) -> Method:
        setattr(method, "needs", what)  # noqa: B010
        return method

    return note


class Calls(Generic[ArrayT]):
    """Base of the classes whose methods are the public functions."""

    def __init__(self, find_backend: Callable[[Any], Backend]) -> None:
        self._find_backend = find_backend

    def _prepare(self, x: Any, name: str = "x") -> tuple[Backend, Any, Any, Shape]:
        """Backend, the checked matrix in its computing dtype, the dtype to return, the shape."""
        backend = self._find_backend(x)
        array = as_array(backend, name, x)
        shape = backend.shape(array)
        check_matrix(array.dtype, shape, name)
        assert shape is not None
        work = getattr(backend.xp, compute_dtype(dtype_name(array.dtype)))
        return backend, backend.cast(array, work), array.dtype, shape

    def _parameter(self, name: str, value: Any, backend: Backend, x: Any, shape: Shape) -> Any:
        """A checked real parameter, one for each matrix of x."""
        parameter = self._real(name, value, backend, x)
        of_parameter = backend.shape(parameter)
        if of_parameter == ():
            return parameter
        given = check_parameter(name, of_parameter, shape)
        return backend.without_matrix_axes(parameter) if given == "image" else parameter

    @staticmethod
    def _real(name: str, value: Any, backend: Backend, x: Any) -> Any:
        """A real parameter of any shape, in the precision of x."""
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
        """Another array, in the dtype of x."""
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
        """The one value of an operator at x, as `_finish` hands it back."""
        (out,) = operate(backend, operator, x, params, driver)
        return self._finish(backend, out, dtype)

    @staticmethod
    def _finish(backend: Backend, out: Any, dtype: Any) -> ArrayT:
        """The result, in half precision again if the caller's matrix came in it."""
        name = dtype_name(dtype)
        result: ArrayT = out if compute_dtype(name) == name else backend.cast(out, dtype)
        return result


def as_array(backend: Backend, name: str, value: Any) -> Any:
    """An argument as an array of the framework."""
    array = backend.asarray(value)
    if array is None:
        raise TypeError(f"{name}: expected a {backend.array_name}, got {type(value).__name__}")
    return array

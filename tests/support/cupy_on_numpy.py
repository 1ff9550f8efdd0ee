"""A stand-in for CuPy on a machine without a GPU: its names and signatures, computed by NumPy.

It has nothing that CuPy does not have. Every name is looked up in the real package, which can be
imported without a GPU, and every call is bound to the signature there. An array has the attributes
of a CuPy array and is not accepted as an array of NumPy. It counts how often values are read,
because this waits for a GPU.

    python -m support.cupy_on_numpy run svdinv.cupy --device cuda -k soft
"""

from __future__ import annotations

import inspect
import operator
import sys
import types
from typing import Any

import numpy as np

__all__ = ["install", "looks"]

looks: list[str] = []
"""Each reading of values, by the method that did it."""

_real: Any = None
_UFUNC = {"out", "where", "dtype", "casting"}


def _inside(value: Any) -> Any:
    """Convert an argument for NumPy; refuse arrays of NumPy, as CuPy does."""
    if isinstance(value, Array):
        return value.inside
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_inside, value))
    return value


def _outside(value: Any) -> Any:
    """Convert a result as CuPy would: a number becomes an array without dimensions."""
    if isinstance(value, (np.ndarray, np.generic)):
        return Array(np.asarray(value))
    if isinstance(value, (list, tuple)):
        return tuple(map(_outside, value))  # CuPy has no named tuples
    return value


class Array:
    """An array of CuPy."""

    __slots__ = ("inside",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, inside: np.ndarray[Any, Any]) -> None:
        self.inside = inside

    @property
    def device(self) -> Any:
        return Device()

    def __getattr__(self, name: str) -> Any:
        if name == "inside" or not hasattr(_real.ndarray, name):
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        value = getattr(self.inside, name)
        if not callable(value):
            return _outside(value)

        def method(*args: Any, **kwargs: Any) -> Any:
            if name in ("item", "tolist", "get"):
                looks.append(name)
                return value(*args, **kwargs)
            given = {key: _inside(v) for key, v in kwargs.items()}
            return _outside(value(*map(_inside, args), **given))

        return method

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _outside(getattr(ufunc, method)(*map(_inside, inputs), **kwargs))

    def __getitem__(self, index: Any) -> Any:
        whole = index if isinstance(index, tuple) else (index,)
        return _outside(self.inside[tuple(map(_inside, whole))])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.inside[_inside(index)] = _inside(value)

    def __len__(self) -> int:
        return len(self.inside)

    def __repr__(self) -> str:
        return repr(self.inside)


def _binary(name: str) -> Any:
    function = getattr(np.ndarray, name)

    def method(self: Array, other: Any) -> Any:
        return _outside(function(self.inside, _inside(other)))

    return method


def _unary(name: str) -> Any:
    function = getattr(operator, name)
    return lambda self: _outside(function(self.inside))


def _look(name: str) -> Any:
    def method(self: Array) -> Any:
        looks.append(name)
        return getattr(self.inside, name)()

    return method


_ARITHMETIC = ("add", "sub", "mul", "truediv", "pow", "matmul", "and", "or", "xor", "mod")
for _name in (*_ARITHMETIC, *(f"r{name}" for name in _ARITHMETIC)):
    setattr(Array, f"__{_name}__", _binary(f"__{_name}__"))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Array, f"__{_name}__", _binary(f"__{_name}__"))
for _name in ("__neg__", "__abs__", "__invert__"):
    setattr(Array, _name, _unary(_name))
for _name in ("__bool__", "__float__", "__int__", "__complex__"):
    setattr(Array, _name, _look(_name))
Array.__name__ = Array.__qualname__ = "ndarray"
Array.__module__ = "cupy"


class Device:
    """The one device."""

    id = 0

    def __init__(self, device: Any = None) -> None:
        assert device is None or isinstance(device, (int, Device))

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *args: Any) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return 0

    def synchronize(self) -> None:
        pass


def _function(real: Any, own: Any, where: str) -> Any:
    """A function of CuPy, computed by that of NumPy; accepts only the arguments of CuPy."""
    try:
        signature: Any = inspect.signature(real)
    except ValueError:  # a universal function
        signature = None

    def call(*args: Any, **kwargs: Any) -> Any:
        if own is None:
            raise NotImplementedError(f"{where} has no counterpart in NumPy")
        if signature is not None:
            signature.bind(*args, **kwargs)
        elif not set(kwargs) <= _UFUNC:
            raise TypeError(f"{where}: got {kwargs}")
        given = {key: _inside(value) for key, value in kwargs.items()}
        return _outside(own(*map(_inside, args), **given))

    call.__name__ = where.rpartition(".")[2]
    if signature is not None:
        setattr(call, "__signature__", signature)  # noqa: B010
    return call


def _module(real: Any, own: Any, name: str) -> Any:
    module = types.ModuleType(name)
    for key, value in vars(real).items():
        if key.startswith("__") or isinstance(value, types.ModuleType):
            continue
        counterpart = getattr(own, key, None)
        kept = not callable(value) or isinstance(value, type) or key.startswith("_")
        setattr(module, key, value if kept else _function(value, counterpart, f"{name}.{key}"))
    if hasattr(real, "__all__"):
        setattr(module, "__all__", list(real.__all__))  # noqa: B010
    return module


def install() -> Any:
    """Install the stand-in where CuPy is imported from, and return it."""
    global _real
    import cupy as real

    _real = real
    own = _module(real, np, "cupy")
    own.__path__, own.__spec__ = [], real.__spec__
    own.__version__ = real.__version__
    own.ndarray = Array
    own.asnumpy = lambda a: a.inside if isinstance(a, Array) else np.asarray(a)

    def array(a: Any, dtype: Any = None, copy: bool = True, **kwargs: Any) -> Array:
        inside = a.inside if isinstance(a, Array) else a
        return Array(np.array(inside, dtype=dtype, copy=copy or None))

    def asarray(a: Any, dtype: Any = None, **kwargs: Any) -> Array:
        inspect.signature(real.asarray).bind(a, dtype, **kwargs)
        return a if isinstance(a, Array) and dtype in (None, a.dtype) else array(a, dtype, False)

    own.array, own.asarray = array, asarray
    own.cuda = types.ModuleType("cupy.cuda")
    own.cuda.__path__ = []
    own.cuda.Device = Device
    own.cuda.device = types.ModuleType("cupy.cuda.device")
    own.cuda.device.Device = Device
    own.cuda.runtime = types.SimpleNamespace(getDeviceCount=lambda: 1)
    own.cuda.get_current_stream = lambda: types.SimpleNamespace(synchronize=lambda: None)
    own.linalg = _module(real.linalg, np.linalg, "cupy.linalg")
    own.fft = _module(real.fft, np.fft, "cupy.fft")
    for name in [n for n in sys.modules if n.partition(".")[0] == "cupy"]:
        del sys.modules[name]
    for module in (own, own.linalg, own.fft, own.cuda, own.cuda.device):
        sys.modules[module.__name__] = module
    return own


if __name__ == "__main__":
    from svdinv_conformance.__main__ import main

    install()
    raise SystemExit(main(sys.argv[1:]))

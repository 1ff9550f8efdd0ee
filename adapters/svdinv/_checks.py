"""What input is accepted, and the words it is refused in: one place for every framework."""

from __future__ import annotations

import numbers
import operator
from typing import Any

__all__ = [
    "check_driver",
    "check_dtype",
    "check_factor_shapes",
    "check_field",
    "check_function_values",
    "check_matrix",
    "check_not_negative",
    "check_parameter",
    "check_rank",
    "check_real",
    "check_same_shape",
    "check_special",
    "check_square",
    "check_thin",
    "compute_dtype",
    "dtype_name",
    "real_dtype",
]

Shape = tuple[int | None, ...]  # None: a length that a traced function does not know yet

# Computed in: itself, but for the half precisions.
_COMPUTED_IN = {
    "float16": "float32",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
    "complex64": "complex64",
    "complex128": "complex128",
}
_REAL_PART = {"complex64": "float32", "complex128": "float64"}


def dtype_name(dtype: Any) -> str:
    """Plain name of a dtype, the same in every framework ("float32")."""
    name = getattr(dtype, "name", None)
    return name if isinstance(name, str) else str(dtype).rsplit(".", 1)[-1]


def compute_dtype(name: str) -> str:
    """Name of the dtype a matrix of dtype `name` is computed in."""
    return _COMPUTED_IN[name]


def real_dtype(name: str) -> str:
    """Name of the dtype of the singular values of a matrix of dtype `name`."""
    return _REAL_PART.get(name, name)


def show(shape: Shape) -> str:
    """A shape as a tuple, with "?" for an unknown length."""
    lengths = ["?" if n is None else str(n) for n in shape]
    return f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"


def check_dtype(dtype: Any, argument: str = "x") -> None:
    """Refuse what is not floating point.

    Raises
    ------
    TypeError
        If the dtype is not one of float16, bfloat16, float32, float64, complex64, complex128.
    """
    name = dtype_name(dtype)
    if name not in _COMPUTED_IN:
        raise TypeError(
            f"{argument}: expected a real or complex floating-point array "
            f"({', '.join(_COMPUTED_IN)}), got dtype {name}; convert it first, for example to "
            "float64"
        )


def check_matrix(dtype: Any, shape: Shape | None) -> None:
    """Refuse what is not a batch of floating-point matrices of known size.

    Raises
    ------
    TypeError
        As in `check_dtype`.
    ValueError
        If there are fewer than two dimensions, or m or n is not known yet.
    """
    check_dtype(dtype)
    if shape is None:
        raise ValueError(
            "x: the number of dimensions is not known here; give the traced function a static "
            "rank, for example with an input signature of shape (None, m, n)"
        )
    if len(shape) < 2:
        raise ValueError(
            f"x: expected at least 2 dimensions (..., m, n), got shape {show(shape)}; give a "
            "matrix or a batch of matrices"
        )
    if None in shape[-2:]:
        raise ValueError(
            f"x: the lengths m and n of the last two dimensions are not known here, got shape "
            f"{show(shape)}; give the traced function static ones (the batch may stay unknown)"
        )


def check_factor_shapes(U: Shape, Vh: Shape) -> None:
    """Refuse factors that are no ``(..., m, k)`` and ``(..., k, n)``."""
    if len(U) < 2:
        raise ValueError(f"U: expected at least 2 dimensions (..., m, k), got shape {show(U)}")
    check_same_shape("Vh", Vh, (*U[:-2], U[-1], Vh[-1] if Vh else None))


def check_field(name: str, dtype: Any, is_complex: bool) -> None:
    """Refuse a complex array where a real one is needed: its imaginary part would be lost."""
    given = dtype_name(dtype)
    if "complex" in given and not is_complex:
        raise TypeError(f"{name}: expected a real array here, got dtype {given}")


def check_same_shape(name: str, shape: Shape | None, expected: Shape) -> None:
    """Refuse an argument whose shape does not go with that of another."""
    known = () if shape is None else shape
    fits = len(known) == len(expected) and all(
        None in (n, e) or n == e for n, e in zip(known, expected, strict=True)
    )
    if shape is not None and not fits:
        raise ValueError(f"{name}: expected shape {show(expected)}, got {show(shape)}")


def check_thin(full_matrices: bool) -> None:
    """Refuse ``full_matrices=True``."""
    if full_matrices:
        raise ValueError(
            "full_matrices: got True, but only the thin factors are given (the columns beyond "
            "them are arbitrary, and so is their derivative); use full_matrices=False"
        )


def check_driver(driver: str) -> None:
    """Refuse an unknown driver."""
    if driver not in ("auto", "svd", "gram"):
        raise ValueError(f"driver: expected 'auto', 'svd' or 'gram', got {driver!r}")


def check_square(shape: Shape) -> None:
    """Refuse matrices that are not square."""
    if shape[-2] != shape[-1]:
        raise ValueError(f"x: expected square matrices (..., n, n), got shape {show(shape)}")


def check_rank(rank: Any) -> int:
    """A rank as a Python int, not negative."""
    try:
        value = operator.index(rank)
    except (TypeError, AttributeError):  # the latter from TensorFlow
        raise TypeError(f"rank: expected an integer, got {type(rank).__name__}") from None
    if value < 0:
        raise ValueError(f"rank: expected an integer of at least 0, got {value}")
    return value


def check_special(name: str, shape: Shape) -> None:
    """Refuse what has no nearest rotation: complex or rectangular matrices."""
    check_square(shape)
    if "complex" in name:
        raise ValueError(
            f"special: a rotation is real, got a matrix of dtype {name}; use special=False for "
            "the nearest unitary matrix"
        )


def check_function_values(shape: Shape | None, expected: Shape) -> None:
    """Refuse a function of the values that does not act elementwise."""
    if shape != expected:
        raise ValueError(
            f"fn: expected an array of the shape of its argument {show(expected)}, got "
            f"{'no array' if shape is None else f'shape {show(shape)}'}; fn acts on each value"
        )


def check_real(name: str, value: Any) -> None:
    """Refuse a parameter that is not a real number or an array of them."""
    dtype = dtype_name(getattr(value, "dtype", ""))
    if isinstance(value, complex) or "complex" in dtype:
        raise TypeError(f"{name}: expected a real number or array, got a complex one")
    if isinstance(value, numbers.Real):
        return
    if not hasattr(value, "shape"):
        raise TypeError(f"{name}: expected a number or an array, got {type(value).__name__}")
    if not dtype.startswith(("float", "bfloat", "int", "uint", "bool")):
        raise TypeError(f"{name}: expected a real number or array, got one of dtype {dtype}")


def check_not_negative(name: str, value: Any) -> None:
    """Refuse a number that is negative or NaN; arrays are not looked at."""
    if isinstance(value, numbers.Real) and not float(value) >= 0:
        raise ValueError(f"{name}: expected a number of at least 0, got {float(value):g}")


def check_parameter(name: str, shape: Shape, x_shape: Shape) -> None:
    """Refuse a per-matrix parameter that does not broadcast to the batch shape of x."""
    batch = x_shape[:-2]
    fits = len(shape) <= len(batch) and all(
        n == 1 or b is None or n is None or n == b
        for n, b in zip(reversed(shape), reversed(batch), strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name}: shape {show(shape)} does not broadcast to the batch shape {show(batch)} of "
            f"x with shape {show(x_shape)}; give a number, or one value for each matrix"
        )

"""Checks of the input and their error messages, in one place for every framework."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable
from math import isfinite
from typing import Any

from svdinv_core import MIXES, Selection
from svdinv_core.drivers import BY_NAME

__all__ = [
    "check_axis",
    "check_broadcast",
    "check_computed",
    "check_driver",
    "check_dtype",
    "check_factor_shapes",
    "check_field",
    "check_function_values",
    "check_known_length",
    "check_known_rank",
    "check_matrix",
    "check_multiplets",
    "check_not_negative",
    "check_number",
    "check_of_operator",
    "check_one_of",
    "check_operator",
    "check_parameter",
    "check_points",
    "check_product",
    "check_rank",
    "check_real",
    "check_right_side",
    "check_same_shape",
    "check_scalar_values",
    "check_side",
    "check_special",
    "check_square",
    "check_tensor",
    "check_thin",
    "check_transform",
    "check_value_weights",
    "compute_dtype",
    "dtype_name",
    "is_floating",
    "real_dtype",
    "unsuitable_function",
]

Shape = tuple[int | None, ...]  # None: a length that a traced function does not know yet

# The dtype a matrix is computed in: its own, except for the half precisions.
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
    """Name of a dtype or scalar type, the same in every framework ("float32")."""
    for attribute in ("name", "__name__"):
        name = getattr(dtype, attribute, None)
        if isinstance(name, str):
            return name
    return str(dtype).rsplit(".", 1)[-1]


def compute_dtype(name: str) -> str:
    """Name of the dtype a matrix of dtype `name` is computed in."""
    return _COMPUTED_IN[name]


def real_dtype(name: str) -> str:
    """Name of the dtype of the singular values of a matrix of dtype `name`."""
    return _REAL_PART.get(name, name)


def is_floating(dtype: Any) -> bool:
    """Whether a dtype is real or complex floating point."""
    return dtype_name(dtype) in _COMPUTED_IN


def show(shape: Shape) -> str:
    """A shape as a tuple, with "?" for an unknown length."""
    lengths = ["?" if n is None else str(n) for n in shape]
    return f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"


def check_dtype(dtype: Any, argument: str = "x") -> None:
    """Refuse an array that is not floating point.

    Raises
    ------
    TypeError
        If the dtype is not one of float16, bfloat16, float32, float64, complex64, complex128.
    """
    if not is_floating(dtype):
        raise TypeError(
            f"{argument}: expected a real or complex floating-point array "
            f"({', '.join(_COMPUTED_IN)}), got dtype {dtype_name(dtype)}; convert it first, for "
            "example to float64"
        )


def check_matrix(dtype: Any, shape: Shape | None, name: str = "x") -> None:
    """Refuse an array that is not a batch of floating-point matrices of known size.

    Raises
    ------
    TypeError
        As for `check_dtype`.
    ValueError
        If there are fewer than two dimensions, or m or n is not known yet.
    """
    check_dtype(dtype, name)
    if shape is None:
        raise ValueError(
            f"{name}: the number of dimensions is not known here; give the traced function a "
            "static rank, for example with an input signature of shape (None, m, n)"
        )
    if len(shape) < 2:
        raise ValueError(
            f"{name}: expected at least 2 dimensions (..., m, n), got shape {show(shape)}; give a "
            "matrix or a batch of matrices"
        )
    if None in shape[-2:]:
        raise ValueError(
            f"{name}: the lengths m and n of the last two dimensions are not known here, got shape "
            f"{show(shape)}; give the traced function static lengths (the batch may be unknown)"
        )


def check_factor_shapes(U: Shape, Vh: Shape) -> None:
    """Refuse factors whose shapes are not ``(..., m, k)`` and ``(..., k, n)``."""
    if len(U) < 2:
        raise ValueError(f"U: expected at least 2 dimensions (..., m, k), got shape {show(U)}")
    check_same_shape("Vh", Vh, (*U[:-2], U[-1], Vh[-1] if Vh else None))


def check_field(name: str, dtype: Any, is_complex: bool) -> None:
    """Refuse a complex array where a real one is needed; its imaginary part would be lost."""
    given = dtype_name(dtype)
    if "complex" in given and not is_complex:
        raise TypeError(f"{name}: expected a real array here, got dtype {given}")


def check_same_shape(name: str, shape: Shape | None, expected: Shape) -> None:
    """Refuse an argument whose shape does not match that of another."""
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
            "full_matrices: got True, but only the thin factors are available (the further columns "
            "are arbitrary, and so is their derivative); use full_matrices=False"
        )


def check_driver(driver: str, names: Iterable[str] = BY_NAME) -> None:
    """Refuse an unknown driver."""
    known = ["auto", *names]
    if driver not in known:
        shown = ", ".join(map(repr, known[:-1]))
        raise ValueError(f"driver: expected {shown} or {known[-1]!r}, got {driver!r}")


def check_square(shape: Shape) -> None:
    """Refuse matrices that are not square."""
    if shape[-2] != shape[-1]:
        raise ValueError(f"x: expected square matrices (..., n, n), got shape {show(shape)}")


def check_rank(rank: Any, name: str = "rank") -> int:
    """Return a rank or another count as a Python int; refuse a negative one."""
    try:
        value = operator.index(rank)
    except (TypeError, AttributeError):  # the latter from TensorFlow
        raise TypeError(f"{name}: expected an integer, got {type(rank).__name__}") from None
    if value < 0:
        raise ValueError(f"{name}: expected an integer of at least 0, got {value}")
    return value


def check_known_rank(rank: int | None) -> None:
    """Refuse "krylov" without a number of vectors to compute."""
    if rank is None:
        raise ValueError("rank: 'krylov' needs the largest number of vectors to keep, got None")


def check_of_operator(driver: str, rank: int | None) -> None:
    """Refuse any driver but "krylov" for a matrix that is known by its products only."""
    if driver not in ("auto", "krylov"):
        raise ValueError(f"driver: expected 'auto' or 'krylov' for an operator, got {driver!r}")
    check_known_rank(rank)


def check_operator(shape: Any, products: tuple[Any, ...], params: Any) -> None:
    """Refuse arguments of an operator that are not of the right kind."""
    if (
        not isinstance(shape, tuple)
        or [isinstance(n, numbers.Integral) for n in shape] != [True] * 2
    ):
        raise ValueError(f"shape: expected two integers (m, n), got {shape}")
    if min(shape) < 0:
        raise ValueError(f"shape: expected two integers of at least 0, got {shape}")
    for name, product in zip(("matmul", "rmatmul"), products, strict=True):
        if not callable(product):
            raise TypeError(f"{name}: expected a function, got {type(product).__name__}")
    if not isinstance(params, tuple):
        raise TypeError(f"params: expected a tuple of arrays, got {type(params).__name__}")
    for param in params:
        if not (hasattr(param, "dtype") and hasattr(param, "shape")):
            raise TypeError(f"params: expected arrays, got {type(param).__name__}")
    if not any(is_floating(param.dtype) for param in params):
        raise TypeError("params: expected a floating-point array among them, got none")


def check_computed(dtype: Any) -> None:
    """Refuse other dtypes for an operator, whose products svdinv cannot cast."""
    name = dtype_name(dtype)
    if _COMPUTED_IN.get(name) != name:
        raise TypeError(
            "x: expected an operator in float32, float64, complex64 or complex128, got dtype "
            f"{name}"
        )


def check_product(name: str, shape: Shape, expected: Shape, dtype: Any, of_operator: Any) -> None:
    """Refuse a product of the caller's that is not what an operator's shape and dtype promise."""
    check_same_shape(name, shape, expected)
    given, promised = dtype_name(dtype), dtype_name(of_operator)
    if given != promised:
        raise TypeError(f"{name}: expected dtype {promised}, as the operator has, got {given}")


def check_multiplets(multiplets: Any) -> None:
    """Refuse an unknown mode."""
    if multiplets not in Selection.MODES:
        raise ValueError(f"multiplets: expected 'keep', 'drop' or 'cut', got {multiplets!r}")


def check_special(name: str, shape: Shape) -> None:
    """Refuse complex or rectangular matrices, which have no nearest rotation."""
    check_square(shape)
    if "complex" in name:
        raise ValueError(
            f"special: a rotation is real, got a matrix of dtype {name}; use special=False for "
            "the nearest unitary matrix"
        )


def check_function_values(shape: Shape | None, expected: Shape) -> None:
    """Refuse a function of the values whose result has another shape."""
    if shape != expected:
        raise ValueError(
            f"fn: expected an array of the shape of its argument {show(expected)}, got "
            f"{'no array' if shape is None else f'shape {show(shape)}'}; fn maps each value"
        )


def unsuitable_function(reason: str) -> ValueError:
    """The error for a function that mixes the values or is not analytic."""
    if reason == MIXES:
        return ValueError(
            "fn: a result depends on other values of the matrix, not on its own value only; use "
            "elementwise=False"
        )
    return ValueError(
        "fn: its derivative by a complex step disagrees with its values, so fn is not analytic; "
        "write it without abs, real, conj and sign"
    )


def check_scalar_values(shape: Shape | None, expected: Shape) -> None:
    """Refuse a function of the values that does not return one number for each matrix."""
    if shape != expected:
        raise ValueError(
            f"fn: expected an array of shape {show(expected)}, one number for each matrix, got "
            f"{'no array' if shape is None else f'shape {show(shape)}'}"
        )


def check_real(name: str, value: Any) -> None:
    """Refuse a parameter that is not a real number or a real array."""
    if isinstance(value, (int, float)):  # first, because a compiler's number has no attributes
        return
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
    """Refuse a number that is negative or NaN; the values of an array are not checked."""
    if isinstance(value, (int, float, numbers.Real)) and not float(value) >= 0:
        raise ValueError(f"{name}: expected a number of at least 0, got {float(value):g}")


def check_parameter(name: str, shape: Shape | None, x_shape: Shape) -> str:
    """Refuse a per-matrix parameter that does not broadcast to the batch shape of x.

    Returns "batch" if it broadcasts as it is, and "image" if it does without its last two axes,
    which then have length 1.
    """
    batch = x_shape[:-2]
    if shape is None:
        raise ValueError(
            f"{name}: the number of dimensions is not known here; give the traced function a "
            "static rank, for example with an input signature of shape (None,)"
        )
    if _broadcasts(shape, batch):
        return "batch"
    if shape[-2:] == (1, 1) and _broadcasts(shape[:-2], batch):
        return "image"
    raise ValueError(
        f"{name}: shape {show(shape)} does not broadcast to the batch shape {show(batch)} of "
        f"x with shape {show(x_shape)}; give a number, or one value for each matrix"
    )


def _broadcasts(shape: Shape, batch: Shape) -> bool:
    return len(shape) <= len(batch) and all(
        n == 1 or b is None or n is None or n == b
        for n, b in zip(reversed(shape), reversed(batch), strict=False)
    )


def check_broadcast(name: str, shape: Shape | None, expected: Shape) -> None:
    """Refuse an argument that does not broadcast to the expected shape."""
    known = () if shape is None else shape
    fits = len(known) <= len(expected) and all(
        n == 1 or e is None or n is None or n == e
        for n, e in zip(reversed(known), reversed(expected), strict=False)
    )
    if not fits:
        raise ValueError(f"{name}: shape {show(known)} does not broadcast to {show(expected)}")


def check_value_weights(weights: Any, relative: bool) -> None:
    """Refuse weights that are not an array, and weights with ``relative=True``."""
    if isinstance(weights, numbers.Real):
        raise TypeError(f"weights: expected an array, got {type(weights).__name__}")
    if relative:
        raise ValueError("weights: got an array with relative=True; use one of them")


def check_number(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    optional: bool = False,
    infinite: bool = False,
) -> Any:
    """Return a real number as a Python float, or None where it is optional; check its range."""
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a real number, got {type(value).__name__}")
    number = float(value)
    if at_least is not None and not number >= at_least:
        raise ValueError(f"{name}: expected a number of at least {at_least:g}, got {number:g}")
    if above is not None and not number > above:
        raise ValueError(f"{name}: expected a number greater than {above:g}, got {number:g}")
    if at_most is not None and not number <= at_most:
        raise ValueError(f"{name}: expected a number of at most {at_most:g}, got {number:g}")
    if not isfinite(number) and not (infinite and number > 0):
        raise ValueError(f"{name}: expected a finite number, got {number:g}")
    return number


def check_one_of(name: str, value: Any, other: str, other_value: Any) -> None:
    """Refuse two arguments that say the same thing."""
    if value is not None and other_value is not None:
        raise ValueError(f"{name}: got {value} beside {other}={other_value}; give one of them")


def check_side(side: Any) -> None:
    """Refuse an unknown side."""
    if side not in ("auto", "right", "left"):
        raise ValueError(f"side: expected 'auto', 'right' or 'left', got {side!r}")


def check_right_side(shape: Shape | None, matrix: Shape) -> bool:
    """Whether a right-hand side is one vector for each matrix; refuse a shape that does not fit."""
    given = () if shape is None else shape
    vector = len(given) == len(matrix) - 1
    expected = matrix[:-1] if vector else (*matrix[:-1], None)
    if len(given) != len(expected):
        raise ValueError(
            f"b: expected shape {show(matrix[:-1])} or {show((*matrix[:-1], None))}, got "
            f"{show(given)}"
        )
    check_same_shape("b", given, expected)
    return vector


def check_points(dtype: Any, shape: Shape) -> None:
    """Refuse points that are complex or have no coordinates."""
    check_field("p", dtype, False)
    if shape[-1] == 0:
        raise ValueError(f"p: expected points of at least one dimension, got shape {show(shape)}")


def check_axis(axis: Any, dimensions: int) -> int:
    """Return an axis of a tensor as an index that is not negative."""
    try:
        place = operator.index(axis)
    except (TypeError, AttributeError):  # the latter from TensorFlow
        raise TypeError(f"axis: expected an integer, got {type(axis).__name__}") from None
    if not -dimensions <= place < dimensions:
        raise ValueError(
            f"axis: expected an integer from {-dimensions} to {dimensions - 1}, got {place}"
        )
    return place % dimensions


def check_tensor(shape: Shape) -> int:
    """Return the number of dimensions; refuse fewer than three."""
    if len(shape) < 3:
        raise ValueError(
            f"x: expected at least 3 dimensions (..., m, n, l), got shape {show(shape)}"
        )
    return len(shape)


def check_transform(transform: Any) -> None:
    """Refuse an unknown transform of an axis."""
    if isinstance(transform, str):
        if transform not in ("fft", "dct"):
            raise ValueError(f"transform: expected 'fft' or 'dct', got {transform!r}")
    elif isinstance(transform, tuple):
        if len(transform) != 2 or not all(map(callable, transform)):
            raise TypeError("transform: expected a pair of functions, got another tuple")
    elif not hasattr(transform, "shape"):
        raise TypeError(
            "transform: expected a name, a matrix or a pair of functions, got "
            f"{type(transform).__name__}"
        )


def check_known_length(name: str, shape: Shape, place: int) -> int:
    """Return the length of an axis; refuse one that is not known."""
    length = shape[place]
    if length is None:
        raise ValueError(
            f"{name}: the length of axis {place} is not known here, got shape {show(shape)}; give "
            "the traced function a static length"
        )
    return length

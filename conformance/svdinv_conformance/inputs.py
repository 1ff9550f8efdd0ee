"""The matrices on which gradients are compared: small built-in ones, photographs, the user's own.

An :class:`Input` is a name, a description and a float64 or complex128 array ``(..., m, n)``. The
built-in ones are made from a chosen spectrum and random orthogonal (unitary) factors, or from a
photograph of scikit-image. Each can be real or complex; the complex form of a photograph is the
photograph times a smooth phase, as in magnetic resonance imaging.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ARRANGEMENTS",
    "BUILT_IN",
    "Input",
    "InputError",
    "arrange",
    "built_in",
    "from_image",
    "from_npy",
    "normal",
]

Array = NDArray[Any]


class InputError(ValueError):
    """An input that cannot be compared on; the message is one line, for the user."""


@dataclass(frozen=True)
class Input:
    """One input of a comparison."""

    name: str
    """Its name in the table."""
    description: str
    """One line: what is special about it."""
    real: Array | None
    """The matrices, float64, ``(..., m, n)``; ``None`` if the input is complex only."""
    complex: Array
    """The same for complex computing types, complex128."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the matrices, batch first."""
        return self.complex.shape

    def matrices(self, dtype: str) -> Array | None:
        """Round the matrices to a computing type; ``None`` if the type cannot hold them."""
        source = self.complex if np.dtype(dtype).kind == "c" else self.real
        if source is None:
            return None
        with np.errstate(over="ignore", under="ignore"):
            rounded = source.astype(dtype)
        return rounded if np.isfinite(rounded).all() else None


# --- from a spectrum -----------------------------------------------------------------------------


def normal(shape: tuple[int, ...], dtype: Any, seed: int | np.random.Generator) -> Array:
    """Draw standard normal numbers.

    Parameters
    ----------
    shape
        Of the array.
    dtype
        Complex entries have standard normal real and imaginary parts. The narrower types are
        roundings of the wider ones, and the real part of a complex array is the real array of the
        same seed.
    seed
        Seed of the generator, or the generator.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        drawn = drawn + 1j * rng.standard_normal(shape)
    return np.asarray(drawn, dtype=dtype)


def _orthonormal(rng: np.random.Generator, m: int, k: int, is_complex: bool) -> Array:
    q, r = np.linalg.qr(normal((m, k), np.complex128 if is_complex else np.float64, rng))
    d = np.diagonal(r)
    return np.asarray(q * (d / np.abs(d)))


def _with_spectrum(m: int, n: int, values: list[float], is_complex: bool, seed: int) -> Array:
    """Build an ``m`` by ``n`` matrix with given singular values and random factors."""
    rng = np.random.default_rng(seed)
    k = min(m, n)
    u, v = _orthonormal(rng, m, k, is_complex), _orthonormal(rng, n, k, is_complex)
    return np.asarray((u * np.array(values)) @ np.conj(v.T))


def _spectra(m: int, n: int, *spectra: list[float]) -> Callable[[bool], Array]:
    """A matrix for each of some spectra; one alone is no batch."""

    def build(c: bool) -> Array:
        made = [_with_spectrum(m, n, s, c, seed) for seed, s in enumerate(spectra, 7)]
        return made[0] if len(made) == 1 else np.stack(made)

    return build


def _fixed(x: Array) -> Callable[[bool], Array]:
    return lambda c: x.astype(np.complex128 if c else np.float64)


# --- from a photograph ---------------------------------------------------------------------------

ARRANGEMENTS: dict[str, str] = {
    "none": "the crop as it is",
    "tiled": "[[C, 0], [0, C]]: every singular value exactly twice",
    "symmetric": "[[C, D], [D, C]], C the left half of the crop, D its mirror image: equal pairs",
    "zero-rows": "the crop with every second row black: half of the values are zero",
}
"""Ways to arrange a crop, by name."""


def arrange(crop: Array, how: str) -> Array:
    """Lay out square crops ``(..., c, c)`` so that their singular values tie or vanish.

    ``tiled`` gives ``[[C, 0], [0, C]]``. ``symmetric`` gives ``[[C, D], [D, C]]``, C the left half
    of the crop (black beyond it) and D its mirror image: the singular values are those of
    ``C + D`` and of ``C - D``, which differ by the signs of columns, so they come in equal pairs.
    ``zero-rows`` blanks every second row.
    """
    if how == "none":
        return crop
    if how == "tiled":
        zero = np.zeros_like(crop)
        return np.block([[crop, zero], [zero, crop]])
    if how == "symmetric":
        half = crop.shape[-1] // 2
        left = crop.copy()
        left[..., half:] = 0
        right = left[..., ::-1]
        return np.block([[left, right], [right, left]])
    if how == "zero-rows":
        blanked = crop.copy()
        blanked[..., 1::2, :] = 0
        return blanked
    raise InputError(f"unknown arrangement {how!r}; choose from {', '.join(ARRANGEMENTS)}")


def _channels(image: Array) -> Array:
    """Turn an image ``(h, w)`` or ``(h, w, 3 or 4)`` into matrices ``(..., h, w)`` in [0, 1]."""
    if image.dtype == np.bool_:
        scaled = image.astype(np.float64)
    elif image.dtype.kind in "ui":
        scaled = image.astype(np.float64) / np.iinfo(image.dtype).max
    else:
        scaled = image.astype(np.float64)
        largest = np.max(np.abs(scaled), initial=0)
        scaled = scaled / largest if largest > 1 else scaled
    if scaled.ndim == 3:
        scaled = np.moveaxis(scaled[..., :3] if scaled.shape[-1] > 1 else scaled, -1, 0)
    return scaled


def _crop(channels: Array, size: int) -> Array:
    """Cut out the central square, or the largest central square of a smaller image."""
    h, w = channels.shape[-2:]
    size = min(size, h, w)
    top, left = (h - size) // 2, (w - size) // 2
    return channels[..., top : top + size, left : left + size]


def _phased(channels: Array) -> Array:
    """Multiply by a smooth phase that turns about once over the picture."""
    y, x = np.meshgrid(
        np.linspace(-1, 1, channels.shape[-2]),
        np.linspace(-1, 1, channels.shape[-1]),
        indexing="ij",
    )
    return np.asarray(channels * np.exp(1j * np.pi * (0.6 * x + 0.4 * y - 0.5 * x * y)))


def _astronaut(size: int) -> Array:
    try:
        from skimage import data
    except ImportError:
        raise InputError(
            "the photo cases need scikit-image, which is not installed (pip install scikit-image)"
        ) from None
    image = np.asarray(data.astronaut())
    return _crop(_channels(image[30:200, 140:310]), size)  # around the face


def _photo(size: int, how: str) -> Callable[[bool], Array]:
    def build(c: bool) -> Array:
        crop = _astronaut(size)
        return arrange(_phased(crop) if c else crop, how)

    return build


BUILT_IN: dict[str, tuple[str, Callable[[bool], Array]]] = {
    "identity": ("8x8 identity: all values the same, the classic NaN", _fixed(np.eye(8))),
    "tied-pair": (
        "6x6, two equal values among distinct ones",
        _spectra(6, 6, [3.0, 2.0, 2.0, 1.0, 0.6, 0.2]),
    ),
    "triple-tie": (
        "6x6, three equal values and two equal values",
        _spectra(6, 6, [3.0, 3.0, 3.0, 1.0, 1.0, 0.2]),
    ),
    "all-equal": ("6x6, a random orthogonal matrix times 2", _spectra(6, 6, [2.0] * 6)),
    "near-tie": (
        "6x6, two values 1e-12 apart",
        _spectra(6, 6, [3.0, 2.0 + 1e-12, 2.0, 1.0, 0.6, 0.2]),
    ),
    "zeros": ("6x6 of rank 3: three zero values", _spectra(6, 6, [3.0, 2.0, 1.0, 0.0, 0.0, 0.0])),
    "zero": ("6x6, nothing but zeros", _fixed(np.zeros((6, 6)))),
    "tall": ("12x5 with a tied pair", _spectra(12, 5, [3.0, 2.0, 2.0, 1.0, 0.5])),
    "wide": ("5x12 with a tied pair", _spectra(5, 12, [3.0, 2.0, 2.0, 1.0, 0.5])),
    "batch": (
        "three 6x6: distinct values, ties, ties and zeros",
        _spectra(
            6, 6, [3.0, 2.5, 2, 1.5, 1, 0.5], [2.0, 2, 2, 1, 1, 0.5], [1.0, 0.8, 0.8, 0, 0, 0]
        ),
    ),
    "distinct": (
        "6x6, well separated values: nothing should go wrong here",
        _spectra(6, 6, [3.0, 2.4, 1.9, 1.3, 0.8, 0.4]),
    ),
    "tiny-scale": (
        "6x6 with a tied pair, all entries near 1e-12",
        _spectra(6, 6, [3e-12, 2e-12, 2e-12, 1e-12, 6e-13, 2e-13]),
    ),
    "photo": ("astronaut, 64x64 crop, one matrix per colour", _photo(64, "none")),
    "photo-tiled": (
        "astronaut, 32x32 crop C as [[C, 0], [0, C]]: every value exactly twice",
        _photo(32, "tiled"),
    ),
    "photo-symmetric": (
        "astronaut, 32x32 crop and its mirror image: pairs of equal values",
        _photo(32, "symmetric"),
    ),
    "photo-zero-rows": (
        "astronaut, 64x64 crop, every second row black: half of the values are zero",
        _photo(64, "zero-rows"),
    ),
}
"""Description and builder (real or complex) of each built-in case."""


def built_in(name: str) -> Input:
    """Build a case by name.

    Raises
    ------
    InputError
        If the name is unknown, or a photo is asked for and scikit-image is missing.
    """
    if name not in BUILT_IN:
        raise InputError(f"unknown case {name!r}; --list-cases shows them all")
    description, build = BUILT_IN[name]
    return Input(name, description, build(False), build(True))


# --- from the user's files -----------------------------------------------------------------------


MOST_ENTRIES = 10**8
"""Largest number of entries of a file; the comparison keeps copies in extended precision."""


def read_text(path: str | Path) -> str:
    """Read a text file.

    Raises
    ------
    InputError
        If it is missing or is not text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: cannot be read (not a text file)") from None


def _complaint(path: Path, error: Exception) -> str:
    """Why a file is not a plain array. NumPy takes every unknown file for a pickle."""
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return (
            "it holds pickled objects" if "objects" in str(error) else "it is damaged or cut short"
        )
    if start.startswith(b"\x80"):
        return "it holds pickled objects"
    return "it does not begin as one" if start else "it is empty"


def from_npy(path: str | Path) -> Input:
    """Read matrices ``(..., m, n)`` from a ``.npy`` file.

    Raises
    ------
    InputError
        If the file is missing, is not a plain numeric array of two or more dimensions, is empty,
        or holds infinities or NaN. Pickled objects are refused, not loaded.
    """
    path = Path(path)
    try:
        with np.errstate(all="ignore"):  # a corrupt file may have a huge length
            array = np.load(path, mmap_mode="r", allow_pickle=False)  # no entry is read yet
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, OverflowError) as error:
        raise InputError(
            f"{path}: not a plain NumPy array ({_complaint(path, error)}); write it with numpy.save"
        ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: an npz archive; give one array, written with numpy.save")
    for wrong, words in (
        (array.dtype.kind not in "biufc", f"holds {array.dtype}, not numbers"),
        (array.ndim < 2, f"has shape {array.shape}; at least two dimensions are needed"),
        (array.size == 0, f"has shape {array.shape}, nothing to decompose"),
        (
            array.size > MOST_ENTRIES,
            f"has shape {array.shape}, too large; at most {MOST_ENTRIES:,} entries",
        ),
    ):
        if wrong:
            raise InputError(f"{path}: {words}")
    wide = array.astype(np.complex128)
    if not np.isfinite(wide).all():
        raise InputError(f"{path}: holds infinities or NaN")
    real = None if array.dtype.kind == "c" else array.astype(np.float64)
    return Input(path.name, f"{path.name}, {array.dtype}", real, wide)


def from_image(path: str | Path, crop: int, how: str) -> Input:
    """Read an image; its colour channels become a batch of matrices with entries in [0, 1].

    Parameters
    ----------
    path
        Anything Pillow can read.
    crop
        Side of the central square to cut, in pixels.
    how
        One of :data:`ARRANGEMENTS`.

    Raises
    ------
    InputError
        If the file is missing or is not an image, or Pillow is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        from PIL import Image  # comes with matplotlib and with scikit-image
    except ImportError:
        raise InputError(
            "--image needs Pillow, which is not installed (pip install pillow)"
        ) from None
    try:
        with Image.open(path) as picture:
            has_levels = picture.mode in ("1", "L", "RGB", "I;16", "I", "F")
            image = np.asarray(picture if has_levels else picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InputError(f"{path}: cannot be read as an image") from None
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] > 4) or image.size == 0:
        raise InputError(f"{path}: has shape {image.shape}; a grey or colour picture is needed")
    crops = _crop(_channels(image), crop)
    description = f"{path.name}, {crops.shape[-1]}x{crops.shape[-1]} crop, {ARRANGEMENTS[how]}"
    name = path.name if how == "none" else f"{path.name} ({how})"
    return Input(name, description, arrange(crops, how), arrange(_phased(crops), how))

"""Images to train on and to test on: from folders the user names, or from what pip brings.

Colour: CIFAR-100 in its binary distribution (``train.bin``), as mosaics (PNG files of 25 by 40
images of 32 by 32 pixels), or any folder of pictures; by default the photographs of scikit-image.
Dynamic: a folder of ``.npz`` or ``.h5`` files with an array ``frames``, one file a subject; by
default a computed phantom of a beating heart.

A set that is named and not given a folder is looked for under ``$SVDINV_DATA``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import io

__all__ = [
    "DYNAMIC_SETS",
    "TEST_SETS",
    "TRAINING_SETS",
    "DataError",
    "Images",
    "Series",
    "data_folder",
    "dynamic_series",
    "name_of",
    "phantom",
    "photograph_crops",
    "photograph_middles",
    "photographs",
    "smooth_phase",
    "training_images",
    "whole_images",
]

Array = NDArray[Any]

SIDE = 32
"""Pixels of a training image, each way."""
_MOSAIC = (25, 40)  # images down and across
_PHOTOGRAPHS = ("astronaut.png", "rocket.jpg", "motorcycle_left.png", "hubble_deep_field.jpg")
_TEST_PHOTOGRAPHS = ("chelsea.png", "coffee.png", "ihc.png", "retina.jpg")
_TEST_SIDE = 256

TRAINING_SETS = ("photographs", "cifar100")
TEST_SETS = ("photographs", "sipi")
DYNAMIC_SETS = ("phantom", "scd_cine")


class DataError(Exception):
    """Data asked for that is not there, or not what it should be."""


def data_folder(name: str) -> Path:
    """The folder of a named set.

    Raises
    ------
    DataError
        If it is not found.
    """
    root = os.environ.get("SVDINV_DATA")
    if root and (Path(root) / name).exists():
        return Path(root) / name
    raise DataError(
        f"no data set {name!r}: set SVDINV_DATA to the folder that holds {name}/, or give a folder"
    )


def name_of(source: str) -> str:
    """A set's name, or that of its folder: where it lies on somebody's disk is of no interest."""
    return Path(source).resolve().name


@dataclass(frozen=True)
class Images:
    """Colour images of one size.

    Attributes
    ----------
    pixels
        ``(N, 3, H, W)``, uint8.
    source
        Where they are from, in words.
    """

    pixels: NDArray[np.uint8]
    source: str

    def batch(self, rng: np.random.Generator, count: int, side: int = SIDE) -> Array:
        """A random draw, mirrored or not, cut to `side`: ``(count, 3, side, side)`` in [0, 1]."""
        chosen = rng.choice(len(self.pixels), count, replace=count > len(self.pixels))
        images = self.pixels[chosen].astype(np.float32) / 255
        top, left = rng.integers(0, SIDE - side + 1, 2)
        images = images[:, :, top : top + side, left : left + side]
        mirrored = rng.random(count) < 0.5
        images[mirrored] = images[mirrored, :, :, ::-1]
        return images


def _read_picture(path: Path) -> NDArray[np.uint8]:
    """A colour picture ``(H, W, 3)``."""
    try:
        picture = np.asarray(io.imread(path))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} is not a picture: {error}") from error
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=-1)
    if picture.ndim != 3 or picture.shape[-1] < 3 or picture.dtype != np.uint8:
        raise DataError(f"{path}: want 8-bit colour, got {picture.shape} of {picture.dtype}")
    return np.asarray(picture[..., :3])


def _photographs(names: tuple[str, ...]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    for name in names:
        yield Path(name).stem, _read_picture(folder / name)


def _middle(picture: NDArray[np.uint8], side: int = _TEST_SIDE) -> NDArray[np.uint8]:
    top, left = ((n - min(n, side)) // 2 for n in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def photographs() -> list[NDArray[np.uint8]]:
    """The training photographs, ``(3, H, W)`` each."""
    return [p.transpose(2, 0, 1) for _, p in _photographs(_PHOTOGRAPHS)]


def photograph_crops(
    pictures: Sequence[NDArray[np.uint8]], rng: np.random.Generator, count: int, side: int
) -> Array:
    """Random cuts, mirrored or not: ``(count, 3, side, side)`` in [0, 1]."""
    crops = []
    for _ in range(count):
        picture = pictures[int(rng.integers(len(pictures)))]
        top, left = (int(rng.integers(n - side + 1)) for n in picture.shape[1:])
        crop = picture[:, top : top + side, left : left + side]
        crops.append(crop[:, :, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(crops).astype(np.float32) / 255


def photograph_middles(side: int = 128) -> Array:
    """The middles of the training photographs, ``(N, 3, side, side)``, float32 in [0, 1]."""
    middles = [_middle(picture, side) for _, picture in _photographs(_PHOTOGRAPHS)]
    return np.stack(middles).transpose(0, 3, 1, 2).astype(np.float32) / 255


def _tiles(picture: NDArray[np.uint8], step: int = SIDE) -> NDArray[np.uint8]:
    """Every `step` pixels one tile of a picture: ``(N, 3, 32, 32)``."""
    height, width = picture.shape[:2]
    tiles = [
        picture[i : i + SIDE, j : j + SIDE].transpose(2, 0, 1)
        for i in range(0, height - SIDE + 1, step)
        for j in range(0, width - SIDE + 1, step)
    ]
    return np.stack(tiles) if tiles else np.empty((0, 3, SIDE, SIDE), np.uint8)


def _mosaic(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    down, across = _MOSAIC
    tiled = picture.reshape(down, SIDE, across, SIDE, 3)
    return np.asarray(tiled.transpose(0, 2, 4, 1, 3).reshape(down * across, 3, SIDE, SIDE))


def _binary(path: Path) -> NDArray[np.uint8]:
    record = 2 + 3 * SIDE * SIDE  # two labels, then the pixels, channel by channel
    content = np.fromfile(path, dtype=np.uint8)
    if content.size == 0 or content.size % record:
        raise DataError(f"{path}: {content.size} bytes are no whole number of CIFAR-100 records")
    return content.reshape(-1, record)[:, 2:].reshape(-1, 3, SIDE, SIDE)


def training_images(source: str = "photographs", limit: int | None = None) -> Images:
    """Images of 32 by 32 pixels to train on.

    Parameters
    ----------
    source
        A name of :data:`TRAINING_SETS`, or a folder: one with ``train.bin`` (CIFAR-100, binary),
        with mosaics, or with other pictures, which are cut into tiles.
    limit
        At most so many images.

    Raises
    ------
    DataError
        If there are none.
    """
    if source == "photographs":
        tiles = [_tiles(picture, SIDE // 2) for _, picture in _photographs(_PHOTOGRAPHS)]
        name = "photographs of scikit-image"
        return Images(np.concatenate(tiles)[:limit], name)
    folder = data_folder(source) if source in TRAINING_SETS else Path(source)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder, and no name of {', '.join(TRAINING_SETS)}")
    if (folder / "train.bin").exists():
        return Images(_binary(folder / "train.bin")[:limit], "CIFAR-100")
    mosaics = sorted(folder.glob("train_*.png"))
    size = (_MOSAIC[0] * SIDE, _MOSAIC[1] * SIDE)
    parts, name = [], folder.name
    for path in mosaics or sorted(folder.glob("*.png")):
        picture = _read_picture(path)
        is_mosaic = bool(mosaics) and picture.shape[:2] == size
        parts.append(_mosaic(picture) if is_mosaic else _tiles(picture))
        if is_mosaic:
            name = "CIFAR-100"
        if limit is not None and sum(map(len, parts)) >= limit:
            break
    if not parts or not sum(map(len, parts)):
        raise DataError(f"{folder}: no train.bin, and no PNG pictures of {SIDE} pixels or more")
    return Images(np.concatenate(parts)[:limit], name)


def whole_images(source: str = "photographs") -> dict[str, Array]:
    """Whole pictures to test on, by name: ``(3, H, W)``, float32 in [0, 1].

    Parameters
    ----------
    source
        A name of :data:`TEST_SETS`, or a folder of PNG pictures.
    """
    if source == "photographs":
        found = [(name, _middle(picture)) for name, picture in _photographs(_TEST_PHOTOGRAPHS)]
    else:
        folder = data_folder(source) if source in TEST_SETS else Path(source)
        found = [(path.stem, _read_picture(path)) for path in sorted(folder.glob("*.png"))]
        if not found:
            raise DataError(f"{folder}: no PNG pictures")
    return {
        name: np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32) / 255
        for name, picture in found
    }


@dataclass(frozen=True)
class Series:
    """Series of complex frames by subject.

    Attributes
    ----------
    subjects
        For each subject ``(slices, T, H, W)``, complex64, the largest magnitude of a slice 1.
    source
        Where they are from, in words.
    """

    subjects: dict[str, NDArray[np.complex64]]
    source: str


def smooth_phase(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    """A phase in radians, ``(T, H, W)``: quadratic in space, drifting a little in time.

    Magnitude images have lost theirs. A field of this kind is what the coils and the
    inhomogeneity of the magnet leave: a turn or so over the image.
    """
    frames, height, width = shape
    t, y, x = np.meshgrid(
        np.linspace(0, 1, frames), *(np.linspace(-1, 1, n) for n in (height, width)), indexing="ij"
    )
    terms = (np.ones_like(x), x, y, x * x, x * y, y * y)
    sizes = (np.pi, 1.5, 1.5, 0.7, 0.7, 0.7)
    phase = np.zeros(shape)
    for size, term in zip(sizes, terms, strict=True):
        drift = 1 + 0.1 * rng.uniform(-1, 1) * np.sin(2 * np.pi * t)
        phase += rng.uniform(-size, size) * drift * term
    return phase


def phantom(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.complex64]:
    """A beating heart in a breathing chest: ``(T, H, W)``, complex, smooth phase.

    Ellipses with soft edges: body, two lungs, a spine, and two ventricles whose wall thickens as
    they contract. Sizes, places, brightness and rates are drawn.
    """
    frames, height, width = shape
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (height, width)), indexing="ij")
    edge = 3.0 / max(height, width)
    place = rng.uniform(-0.08, 0.08, (6, 2))
    shade = rng.uniform(0.85, 1.15, 6)
    start, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.35)

    def ellipse(centre: Array, radii: tuple[float, float]) -> Array:
        r = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
        return np.asarray(1 / (1 + np.exp(np.clip((r - 1) * min(radii) / edge, -40, 40))))

    series = []
    for t in range(frames):
        beat = 0.5 * (1 - np.cos(2 * np.pi * t / frames + start))
        breath = 0.03 * np.sin(2 * np.pi * t / (2.0 * frames) + start)
        at = [p + np.array(c) for p, c in zip(place, _CENTRES, strict=True)]
        down = np.array([0, breath])
        inner, outer = 1 - depth * beat, 1 - 0.3 * depth * beat
        frame = 0.45 * shade[0] * ellipse(at[0] / 4, (0.92, 0.75 + breath))
        frame = frame - 0.33 * shade[1] * ellipse(at[1] + down, (0.26, 0.42))
        frame = frame - 0.33 * shade[2] * ellipse(at[2] + down, (0.24, 0.4))
        frame = frame + 0.3 * shade[3] * ellipse(at[3] / 2 + (0, 0.3), (0.12, 0.12))
        frame = frame - 0.1 * shade[4] * ellipse(at[4] + down, (0.27 * outer, 0.25 * outer))
        frame = frame + 0.55 * shade[4] * ellipse(at[4] + down, (0.19 * inner, 0.17 * inner))
        frame = frame + 0.45 * shade[5] * ellipse(at[5] + down, (0.16 * inner, 0.12 * inner))
        series.append(frame)
    magnitude = np.abs(np.stack(series))
    result = magnitude / magnitude.max() * np.exp(1j * smooth_phase(rng, shape))
    return np.asarray(result, np.complex64)


_CENTRES = ((0, 0), (-0.5, -0.05), (0.52, -0.05), (0, 0.1), (0.05, 0.0), (-0.27, 0.02))


def _frames(path: Path) -> Array:
    """The array ``frames`` of a file, ``(slices, T, H, W)``."""
    try:
        if path.suffix == ".npz":
            with np.load(path) as content:
                frames = np.asarray(content["frames"])
        else:
            import h5py

            with h5py.File(path) as content:
                frames = np.asarray(content["frames"])
    except (KeyError, OSError, ValueError) as error:
        raise DataError(f"{path}: no array 'frames' ({error})") from error
    if frames.ndim == 3:
        frames = frames[None]
    if frames.ndim != 4:
        raise DataError(f"{path}: want frames (slices, T, H, W), got shape {frames.shape}")
    return frames


def dynamic_series(
    source: str = "phantom",
    shape: tuple[int, int, int] = (16, 128, 128),
    subjects: int = 5,
    slices: int = 4,
    seed: int = 0,
) -> Series:
    """Series of frames of one shape.

    Parameters
    ----------
    source
        A name of :data:`DYNAMIC_SETS`, or a folder of ``.npz`` or ``.h5`` files, one a subject.
    shape
        ``(T, H, W)``: the first T frames, the middle of the image. Magnitudes get a
        :func:`smooth_phase`.
    subjects, slices
        How many the phantom has; at most so many slices of a file, evenly spaced.

    Raises
    ------
    DataError
        If there are none, or too small.
    """
    found: dict[str, NDArray[np.complex64]] = {}
    if source == "phantom":
        for subject in range(subjects):
            rng = np.random.default_rng([seed, subject])
            found[f"phantom {subject + 1}"] = np.stack([phantom(rng, shape) for _ in range(slices)])
        return Series(found, "computed phantom")
    folder = data_folder(source) if source in DYNAMIC_SETS else Path(source)
    paths = [p for p in sorted(folder.glob("*")) if p.suffix in (".npz", ".h5", ".hdf5")]
    if not paths:
        raise DataError(f"{folder}: no .npz or .h5 files")
    for number, path in enumerate(paths):
        frames = _frames(path)
        if any(have < want for have, want in zip(frames.shape[1:], shape, strict=True)):
            raise DataError(f"{path}: frames {frames.shape[1:]} are smaller than {shape}")
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(slices, len(frames))).astype(int))
        top, left = (
            (have - want) // 2 for have, want in zip(frames.shape[2:], shape[1:], strict=True)
        )
        cut = frames[chosen, : shape[0], top : top + shape[1], left : left + shape[2]]
        series = cut.astype(np.complex128)
        if not np.iscomplexobj(cut):
            rng = np.random.default_rng([seed, number])
            series = series * np.exp(1j * np.stack([smooth_phase(rng, shape) for _ in chosen]))
        largest = np.abs(series).max(axis=(-3, -2, -1), keepdims=True)
        if not np.all(largest > 0):
            raise DataError(f"{path}: a slice is empty")
        found[path.stem] = (series / largest).astype(np.complex64)
    return Series(found, folder.name)

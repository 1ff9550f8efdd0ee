"""How close an image is to the original: mean squared error, PSNR, SSIM."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

__all__ = ["measure", "mse", "psnr", "ssim"]

Array = NDArray[Any]

_WINDOW = 7  # pixels, of the means in the structural similarity


def mse(image: Array, reference: Array) -> float:
    """Mean squared error over all entries; complex entries count by their size."""
    difference = np.asarray(image, np.clongdouble) - np.asarray(reference, np.clongdouble)
    return float(np.mean(difference.real**2 + difference.imag**2))


def psnr(image: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB, the peak being the largest magnitude of `reference`."""
    peak = float(np.max(np.abs(reference)))
    error = mse(image, reference)
    return float("inf") if error == 0 else 10 * float(np.log10(peak**2 / error))


def ssim(image: Array, reference: Array) -> float:
    """Structural similarity (Wang et al. 2004), mean over the planes.

    Parameters
    ----------
    image, reference
        Real planes ``(..., H, W)``. A window of 7 by 7 pixels, sample covariance; the range is
        that of `reference`, its largest value minus its smallest or minus zero, whichever is
        more. (The paper's code passes 1 for data in 0 to 255.)

    Raises
    ------
    ValueError
        If a plane is smaller than the window.
    """
    x, y = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    if min(x.shape[-2:]) < _WINDOW:
        raise ValueError(f"planes must be {_WINDOW} by {_WINDOW} or larger, not {x.shape[-2:]}")
    extent = float(y.max() - min(y.min(), 0.0))
    c1, c2 = (0.01 * extent) ** 2, (0.03 * extent) ** 2
    axes = (-2, -1)

    def local(z: Array) -> Array:
        return np.asarray(uniform_filter(z, _WINDOW, axes=axes))

    mean_x, mean_y = local(x), local(y)
    count = _WINDOW**2
    sample = count / (count - 1)
    var_x = sample * (local(x * x) - mean_x**2)
    var_y = sample * (local(y * y) - mean_y**2)
    covariance = sample * (local(x * y) - mean_x * mean_y)
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    edge = _WINDOW // 2
    return float(similarity[..., edge:-edge, edge:-edge].mean())


def measure(image: Array, reference: Array) -> dict[str, float]:
    """All three of them; SSIM and PSNR of magnitudes where the images are complex."""
    if np.iscomplexobj(image) or np.iscomplexobj(reference):
        image, reference = np.abs(image), np.abs(reference)
    return {
        "psnr": psnr(image, reference),
        "ssim": ssim(image, reference),
        "mse": mse(image, reference),
    }

r"""What is measured of an image, and how a measurement enters the reconstruction.

Two operators ``A``, each with its adjoint and with the minimiser of

    |A x - y|^2 + mu |x - z|^2        that is        (A^H A + mu)^{-1} (A^H y + mu z)

which is a closed form because ``A^H A`` is a projection, diagonal for pixels and diagonal in
k-space for frames. They work on any array of the array API standard (NumPy, PyTorch, JAX).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from array_api_compat import array_namespace

__all__ = [
    "FourierSampling",
    "Operator",
    "PixelSampling",
    "centred_fft",
    "centred_ifft",
    "share_over_time",
]

Array = Any

_AXES = (-2, -1)


def centred_fft(x: Array) -> Array:
    """Orthonormal 2-D Fourier transform of the last two axes, zero frequency in the middle."""
    fft = array_namespace(x).fft
    return fft.fftshift(
        fft.fftn(fft.ifftshift(x, axes=_AXES), axes=_AXES, norm="ortho"), axes=_AXES
    )


def centred_ifft(k: Array) -> Array:
    """The inverse, and adjoint, of :func:`centred_fft`."""
    fft = array_namespace(k).fft
    return fft.fftshift(
        fft.ifftn(fft.ifftshift(k, axes=_AXES), axes=_AXES, norm="ortho"), axes=_AXES
    )


def share_over_time(y: Array, mask: Array) -> Array:
    """K-space ``(..., T, H, W)`` with the mean of all frames where a frame has not measured."""
    xp = array_namespace(y, mask)
    times = xp.sum(mask, axis=-3, keepdims=True)
    return y + (1 - mask) * xp.sum(y, axis=-3, keepdims=True) / xp.clip(times, 1, None)


class Operator(Protocol):
    """A linear map of images to measurements with ``A A^H = mask``, so of norm 1."""

    def forward(self, x: Array) -> Array: ...

    def adjoint(self, y: Array) -> Array: ...

    def data_step(self, y: Array, z: Array, mu: Any) -> Array: ...


@dataclass(frozen=True)
class PixelSampling:
    """Keep the pixels of a mask: ``y = mask * x`` (paper, eq. 39).

    Parameters
    ----------
    mask : array (..., H, W)
        0 or 1, in the dtype of the images, broadcastable to them.
    """

    mask: Array

    def forward(self, x: Array) -> Array:
        """``(..., H, W)`` to the same shape, zero where nothing is measured."""
        return self.mask * x

    def adjoint(self, y: Array) -> Array:
        """The same as `forward`, which is a projection."""
        return self.mask * y

    def data_step(self, y: Array, z: Array, mu: Any) -> Array:
        """``(A^H A + mu)^{-1} (A^H y + mu z)``; ``mu = 0`` puts `y` where it is known."""
        return (1 - self.mask) * z + self.mask * (y + mu * z) / (1 + mu)


@dataclass(frozen=True)
class FourierSampling:
    """Keep the frequencies of a mask, one coil: ``y = mask * F x`` (paper, eq. 41).

    Parameters
    ----------
    mask : array (..., H, W)
        0 or 1, real, zero frequency in the middle, broadcastable to the frames.
    """

    mask: Array

    def forward(self, x: Array) -> Array:
        """Frames ``(..., H, W)``, complex, to k-space of the same shape."""
        return self.mask * centred_fft(x)

    def adjoint(self, y: Array) -> Array:
        """The zero-filled reconstruction of k-space ``(..., H, W)``."""
        return centred_ifft(self.mask * y)

    def data_step(self, y: Array, z: Array, mu: Any) -> Array:
        """``(A^H A + mu)^{-1} (A^H y + mu z)``, in k-space (paper, eq. 42)."""
        k = centred_fft(z)
        return centred_ifft((1 - self.mask) * k + self.mask * (y + mu * k) / (1 + mu))

r"""The unrolled networks of the paper (Fig. 3): ADMM with a learned transform, ten times over.

    Z = T'(SVT(T(X + L))) + (X + L)         T, T': three convolutions each, learned
    X = (A^H A + mu)^{-1} (A^H y + mu (Z - L))
    L = L + relu(eta) (X - Z)

`ColourNetwork` is eq. (39)-(40): pixels are sampled, and known ones are put back (mu = 0).
`DynamicNetwork` is eq. (41)-(42): frequencies are sampled, mu is learned, and the convolutions
see the real and the imaginary part of the frames as two channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from .lowrank import GapWatch, LowRank
from .operators import FourierSampling, PixelSampling, centred_ifft, share_over_time

__all__ = ["ColourNetwork", "DynamicNetwork", "FrameConvolution", "Unrolled", "convolutions"]

START_OF_THRESHOLD = -2.0
"""Before the sigmoid: the first threshold is 0.12 of the largest singular value."""

SMALL_THRESHOLD = -4.0
"""The same where the network begins as a solver: 0.02."""
PART = 0.6
"""Of the difference from the neighbours' mean that such an iteration takes away."""


class FrameConvolution(nn.Conv2d):
    """`torch.nn.Conv3d` with ``kernel_size=3, padding=1, bias=False``, frame by frame.

    Before the first frame and after the last stand these again, where `Conv3d` has zeros.

    Every frame and its two neighbours are the channels of a 2-D convolution, which on a CPU is
    several times faster than the 3-D one. Takes and gives ``(B, T, C, H, W)``; the weights
    ``(C_out, 3 C_in, 3, 3)`` are those of `Conv3d`, ``(C_out, C_in, 3, 3, 3)``, with the frame
    axis before the channels.
    """

    def __init__(self, before: int, after: int, size: int, padding: int, bias: bool) -> None:
        super().__init__(3 * before, after, size, padding=padding, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        padded = torch.cat((x[:, :1], x, x[:, -1:]), dim=1)
        three = torch.cat((padded[:, :-2], padded[:, 1:-1], padded[:, 2:]), dim=2)
        out: Tensor = super().forward(three.flatten(0, 1)).unflatten(0, x.shape[:2])
        return out


Kind = type[nn.Conv2d] | type[FrameConvolution]


def convolutions(kind: Kind, widths: Sequence[int]) -> nn.Sequential:
    """Convolutions of size 3 without bias, with a ReLU after all but the last."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [kind(before, after, 3, padding=1, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Iteration(nn.Module):
    """What is learned in one ADMM iteration, and its Z step."""

    def __init__(self, kind: Kind, channels: int, width: int, low_rank: LowRank) -> None:
        super().__init__()
        widths = (channels, width, width, channels)
        self.transform = convolutions(kind, widths)
        self.back = convolutions(kind, widths)
        self.threshold = nn.Parameter(torch.tensor(START_OF_THRESHOLD))
        self.eta = nn.Parameter(torch.tensor(1.0))
        self.low_rank = low_rank

    def z_step(self, shifted: Tensor) -> Tensor:
        """Z from ``X + L``, of the same shape."""
        transformed = _through(self.transform, shifted)
        low_rank = self.low_rank(transformed, torch.sigmoid(self.threshold))
        return _through(self.back, low_rank) + shifted


class Unrolled(nn.Module):
    """What both networks have in common.

    Parameters
    ----------
    method
        The low-rank step, see `experiments.lowrank`.
    iterations
        How many times ADMM is unrolled, each with parameters of its own.
    width
        Channels between the convolutions.
    """

    def __init__(self, kind: Kind, channels: int, method: str, iterations: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.low_rank = LowRank(method)
        self.layers = nn.ModuleList(
            Iteration(kind, channels, width, self.low_rank) for _ in range(iterations)
        )
        # L of the last iteration is used no more.
        self.layers[-1].eta.requires_grad_(False)

    neighbours: ClassVar[Sequence[Sequence[Sequence[float]]]]
    """Weights ``(T, H, W)``, of sum 1, of the mean that :meth:`begin_smooth` begins with."""

    @torch.no_grad()
    def begin_smooth(self) -> None:
        """Begin with an untrained solver: every iteration brings a point nearer its neighbours.

        The first transform is the difference from their mean, the second takes a part of that
        away, the threshold is small. Channels that neither needs keep their random weights.
        """
        mean = torch.tensor(self.neighbours)
        here = torch.zeros_like(mean)
        here[len(mean) // 2, 1, 1] = 1
        for layer in self.layers:
            assert isinstance(layer, Iteration)
            layer.threshold.fill_(SMALL_THRESHOLD)
            _begin_linear(layer.transform, here - mean, here)
            _begin_linear(layer.back, -PART * here, here)

    def watch_gaps(self, watch: GapWatch | None) -> None:
        """Show the singular values of every low-rank step to `watch`."""
        self.low_rank.watch = watch


def _begin_linear(layers: nn.Sequential, kernel: Tensor, here: Tensor) -> None:
    """Weights of three convolutions that filter every channel: as much above zero as below it."""
    first, second, last = (layer.weight for layer in layers if isinstance(layer, nn.Conv2d))
    channels, frames = len(last), len(kernel)
    first, second, last = (w.unflatten(1, (frames, -1)) for w in (first, second, last))
    last[:channels] = 0
    for channel in range(channels):
        for row, sign in ((2 * channel, 1), (2 * channel + 1, -1)):
            first[row], second[row] = 0, 0
            first[row, :, channel] = sign * kernel
            second[row, :, row] = here
            last[channel, :, row] = sign * here


class ColourNetwork(Unrolled):
    """Colour images from a part of their pixels (paper, eq. 39-40).

    Examples
    --------
    >>> network = ColourNetwork("svt", iterations=2)
    >>> image = torch.rand(1, 3, 16, 16)
    >>> mask = (torch.rand(3, 16, 16) < 0.4).float()
    >>> network(mask * image, mask).shape
    torch.Size([1, 3, 16, 16])
    """

    neighbours = (((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12)),)

    def __init__(self, method: str = "svt", iterations: int = 10, width: int = 16) -> None:
        super().__init__(nn.Conv2d, 3, method, iterations, width)
        for p in self.parameters():
            if p.ndim == 4:  # up to twice as fast on a CPU
                p.data = p.data.contiguous(memory_format=torch.channels_last)

    def forward(self, y: Tensor, mask: Tensor) -> Tensor:
        """Sampled images ``(B, 3, H, W)`` and their mask ``(3, H, W)``; the whole images."""
        sampling = PixelSampling(mask)
        x, multiplier = y, torch.zeros_like(y)
        for layer in self.layers:
            assert isinstance(layer, Iteration)
            z = layer.z_step(x + multiplier)
            x = sampling.data_step(y, z - multiplier, 0.0)
            multiplier = multiplier + torch.relu(layer.eta) * (x - z)
        return x


_HALF = ((0.0,) * 3, (0.0, 0.5, 0.0), (0.0,) * 3)


class DynamicNetwork(Unrolled):
    """Series of complex frames from a part of their k-space (paper, eq. 41-42).

    Parameters
    ----------
    share
        Begin with what other frames have measured (see `operators.share_over_time`), where the
        paper begins with zeros.

    Examples
    --------
    >>> network = DynamicNetwork("svt", iterations=2, width=4)
    >>> k = torch.randn(1, 4, 16, 16, dtype=torch.complex64)
    >>> mask = (torch.rand(1, 4, 16, 16) < 0.5).float()
    >>> network(mask * k, mask).shape
    torch.Size([1, 4, 16, 16])
    """

    neighbours = (_HALF, ((0.0,) * 3,) * 3, _HALF)

    def __init__(
        self, method: str = "svt", iterations: int = 10, width: int = 16, share: bool = False
    ) -> None:
        super().__init__(FrameConvolution, 2, method, iterations, width)
        self.share = share
        self.log_mu = nn.ParameterList(torch.tensor(-2.0) for _ in range(iterations))

    def forward(self, y: Tensor, mask: Tensor) -> Tensor:
        """K-space ``(B, T, H, W)``, complex, and its mask; the frames."""
        sampling = FourierSampling(mask)
        x: Tensor = centred_ifft(share_over_time(y, mask) if self.share else y)
        multiplier = torch.zeros_like(x)
        for layer, log_mu in zip(self.layers, self.log_mu, strict=True):
            assert isinstance(layer, Iteration)
            z = layer.z_step(x + multiplier)
            x = sampling.data_step(y, z - multiplier, torch.exp(log_mu))
            multiplier = multiplier + torch.relu(layer.eta) * (x - z)
        return x


def _through(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Convolutions of images, or of complex frames as two channels."""
    return _complex(layers(_channels(x))) if x.is_complex() else layers(x)


def _channels(x: Tensor) -> Tensor:
    """``(B, T, H, W)`` complex to ``(B, T, 2, H, W)`` real."""
    return torch.stack((x.real, x.imag), dim=2)


def _complex(x: Tensor) -> Tensor:
    """The inverse of :func:`_channels`."""
    return torch.complex(x[:, :, 0], x[:, :, 1])

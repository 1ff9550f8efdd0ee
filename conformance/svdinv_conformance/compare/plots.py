"""Pictures for the page, as PNG: error against gap, and gradients as images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .sweep import Sweep

__all__ = ["OTHER", "STYLES", "difference_image", "gap_plot", "gradient_image", "matrix_image"]

STYLES: dict[str, tuple[str, str, str]] = {
    "svt": ("#111827", "-", "o"),
    "svdvals": ("#111827", "-", "o"),
    "auto": ("#0ea5e9", "-", "d"),
    "inv": ("#2563eb", "-", "s"),
    "pinv": ("#7c3aed", "-", "^"),
    "plain": ("#dc2626", "-", "x"),
    "tf": ("#059669", "-", "v"),
    "clip": ("#d97706", "-", "D"),
    "taylor": ("#0891b2", "-", "P"),
    "lorentzian": ("#be185d", "-", "*"),
    "fit": ("#65a30d", "-", "h"),
    "native torch": ("#6b7280", "--", "."),
    "native jax": ("#92400e", "--", "."),
    "native tensorflow": ("#4d7c0f", "--", "."),
    "native autograd": ("#0f766e", "--", "."),
}
"""Colour, line and marker of each curve."""

OTHER = ("#374151", ":", ".")
"""Colour, line and marker of a curve that is not in :data:`STYLES`."""

_PIXELS = 288
_NONFINITE = np.array([220, 38, 38], dtype=np.uint8)
_STRIPE = np.array([255, 255, 255], dtype=np.uint8)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": ""})
    return buffer.getvalue()


def gap_plot(result: Sweep) -> bytes:
    """Draw error against gap, one curve a rule.

    A cross near the upper edge marks a gap where at least one draw is not finite.
    """
    figure = Figure(figsize=(7.6, 4.9), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    position = np.arange(len(result.gaps), dtype=float)
    position[0] -= 0.7  # off the logarithmic axis
    drawable = np.concatenate([e[np.isfinite(e) & (e > 0)] for e in result.errors.values()])
    floor = 10 ** np.floor(np.log10(np.min(drawable, initial=1e-16)) - 0.3)
    top = 10 * float(np.max(drawable, initial=1.0))
    bad_curves = 0
    for label, error in result.errors.items():
        colour, line, marker = STYLES.get(label, OTHER)
        drawn = np.where(np.isfinite(error), np.maximum(error, floor), np.nan)
        emphasised = label in ("svt", "svdvals")
        axes.plot(
            position,
            drawn,
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=4,
            linewidth=2.2 if emphasised else 1.2,
            label=label,
            zorder=5 if emphasised else 3,
        )
        bad = position[result.nonfinite[label]]
        if bad.size:
            axes.plot(
                bad,
                np.full(bad.size, top * 4**bad_curves),
                linestyle="none",
                marker="X",
                markersize=8,
                color=colour,
                markeredgecolor="white",
                zorder=6,
            )
            bad_curves += 1
    axes.set_yscale("log")
    axes.set_ylim(floor, top * 4 ** (bad_curves + 0.5))
    labels = ["0", *(f"$10^{{{round(np.log10(g))}}}$" for g in result.gaps[1:])]
    shown = [i for i in range(len(labels)) if i == 0 or i % 2 == 1]
    axes.set_xticks(position[shown], [labels[i] for i in shown])
    axes.set_xticks(position, minor=True)
    axes.axvline(0.2, color="#9ca3af", linewidth=0.8, linestyle=":")
    axes.set_xlabel("gap between two singular values, relative to the largest")
    axes.set_ylabel("relative error of the gradient (median)")
    axes.grid(True, color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    note = f"{result.loss}, {result.dtype}" + (
        "; X: not finite in some draws" if bad_curves else ""
    )
    axes.set_title(note, fontsize=10, loc="left")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return _png(figure)


def _enlarge(pixels: NDArray[Any]) -> NDArray[Any]:
    """Repeat pixels up to a picture of readable size."""
    factor = max(1, _PIXELS // max(pixels.shape[:2]))
    return np.asarray(np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1))


def _save(rgb: NDArray[Any]) -> bytes:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, rgb, format="png", metadata={"Software": ""})
    return buffer.getvalue()


def _hatched(rgb: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """Hatch the masked part in red and white."""
    row, column = np.indices(mask.shape)
    stripe = ((row + column) // 4) % 3 == 0
    rgb = np.where((mask & stripe)[..., None], _STRIPE, rgb)
    rgb = np.where((mask & ~stripe)[..., None], _NONFINITE, rgb)
    return np.asarray(rgb, dtype=np.uint8)


def gradient_image(matrix: NDArray[Any], limit: float) -> bytes:
    """Draw the real part of a matrix: purple negative, white zero, brown positive.

    Non-finite entries are hatched in bright red and white, which no finite entry can be.

    Parameters
    ----------
    matrix
        ``(m, n)``.
    limit
        Entry that takes the full colour; larger ones look the same.
    """
    from matplotlib import colormaps

    values = np.asarray(matrix)
    finite = np.isfinite(values)
    real = np.where(finite, values.real, 0).astype(np.float64)
    scaled = np.clip(real / limit if limit > 0 else real, -1, 1)
    rgb = (255 * colormaps["PuOr_r"]((scaled + 1) / 2)[..., :3]).round().astype(np.uint8)
    return _save(_hatched(_enlarge(rgb), _enlarge(~finite)))


def difference_image(matrix: NDArray[Any], exact: NDArray[Any], limit: float) -> bytes:
    """Draw the distance of a gradient from the exact one, in decades.

    Pale is 1e-16 of ``limit`` or less, black is ``limit`` or more; non-finite entries are hatched
    as in :func:`gradient_image`.
    """
    from matplotlib import colormaps

    finite = np.isfinite(matrix)
    distance = np.abs(np.where(finite, matrix, 0).astype(exact.dtype) - exact) / limit
    decades = np.log10(np.maximum(distance, 1e-16)).astype(np.float64)
    rgb = colormaps["magma_r"](np.clip(1 + decades / 16, 0, 1))[..., :3]
    rgb = _enlarge((255 * rgb).round().astype(np.uint8))
    return _save(_hatched(rgb, _enlarge(~finite)))


def matrix_image(matrix: NDArray[Any]) -> bytes:
    """Draw a matrix itself, its magnitude in grey."""
    values = np.abs(matrix).astype(np.float64)
    largest = float(values.max(initial=0))
    grey = (255 * (values / largest if largest > 0 else values)).round().astype(np.uint8)
    return _save(_enlarge(np.repeat(grey[..., None], 3, axis=-1)))

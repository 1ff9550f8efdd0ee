"""The pictures of the result page, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from svdinv_conformance.compare.plots import OTHER, STYLES

__all__ = [
    "colour_picture",
    "dots",
    "dynamic_picture",
    "gap_figure",
    "loss_figure",
    "mask_figure",
    "save",
]

Array = NDArray[Any]

EXACT = "exact operator"
_EXTRA = {
    EXACT: STYLES["svt"],
    "native": STYLES["native torch"],
    "inv, the paper's criterion": ("#1e3a8a", "--", "s"),
    "the paper's label": ("#9ca3af", "-.", "o"),
    "the paper's SVD-inv": ("#9ca3af", "-.", "o"),
    "inv-no-phase": ("#ea580c", "--", "s"),
    "torch": ("#111827", "-", ""),
    "jax": ("#2563eb", "--", ""),
    "keras": ("#d97706", ":", ""),
}


def _style(name: str) -> tuple[str, str, str]:
    short = name.removeprefix("svd-")
    return _EXTRA.get(short) or STYLES.get(short) or OTHER


def save(figure: Figure, path: Path, colours: int | None = None) -> None:
    """Write a figure as PNG, without the program's version; with a palette of `colours`, if given.

    Photographs of noise are a third as large with a palette.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": ""})
    if colours is None:
        path.write_bytes(buffer.getvalue())
    else:
        Image.open(buffer).convert("RGB").quantize(colours).save(path, format="PNG", optimize=True)


def _quiet(axes: Any) -> None:
    axes.grid(True, color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


_COLOURS = ("#6b7280", "#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777")


def dots(
    labels: Sequence[str],
    curves: Mapping[str, Sequence[float | None]],
    ylabel: str,
    xlabel: str = "",
    lines: bool = False,
    log: bool = False,
) -> Figure:
    """A value for every label, by curve; None is left out."""
    figure = Figure(figsize=(7.6, 3.8), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    curves = {name: c for name, c in curves.items() if any(v is not None for v in c)}
    width = 0 if lines else 0.5 / max(1, len(curves) - 1)
    for n, (name, curve) in enumerate(curves.items()):
        colour, line, _ = _EXTRA.get(name) or STYLES.get(name) or (_COLOURS[n % 6], "-", "")
        values = np.array([np.nan if v is None else v for v in curve], float)
        axes.plot(
            np.arange(len(labels)) + (n - (len(curves) - 1) / 2) * width,
            values,
            color=colour,
            linestyle=line if lines else "",
            marker="o",
            markersize=5,
            label=name,
        )
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if log:
        axes.set_yscale("log")
    _quiet(axes)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def gap_figure(curves: Mapping[str, Any]) -> Figure:
    """Error against gap, one panel a workflow, from `table1.gap_curves`."""
    figure = Figure(figsize=(12.5, 4.4), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(curves["median"]), sharey=True)
    gaps = np.array(curves["gaps"], float)
    position = np.where(gaps > 0, np.log10(np.maximum(gaps, 1e-300)), -17.2)
    labels: dict[str, Any] = {}
    for axes, (workflow, by_method) in zip(panels, curves["median"].items(), strict=True):
        for method, error in by_method.items():
            colour, line, marker = _style(method)
            exact = method == EXACT
            values = np.array([np.nan if e is None else e for e in error], float)
            (curve,) = axes.plot(
                position,
                np.where(values == 0, 1e-8, values),
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=3,
                markevery=2,
                linewidth=2 if exact or method == "inv" else 1.1,
                zorder=5 if exact else 3,
                label=method,
            )
            labels.setdefault(method, curve)
        axes.set_yscale("log")
        axes.set_ylim(3e-9, 3)
        axes.set_title(workflow, fontsize=10, loc="left")
        axes.axvline(-16.6, color="#9ca3af", linewidth=0.8, linestyle=":")
        ticks = [-17.2, -15, -12, -9, -6, -3]
        axes.set_xticks(ticks, ["0", *(f"$10^{{{t}}}$" for t in ticks[1:])])
        _quiet(axes)
    figure.supxlabel("relative gap between two singular values", fontsize=10)
    panels[0].set_ylabel("relative error of the gradient (median)")
    figure.legend(labels.values(), labels.keys(), loc="outside right center", frameon=False)
    return figure


def loss_figure(
    curves: Mapping[str, Sequence[float | None]], every: int, title: str, smooth: int = 5
) -> Figure:
    """Loss against step for several low-rank steps or frameworks, as means over `every` steps."""
    figure = Figure(figsize=(7.6, 4.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        colour, line, _ = _style(name)
        values = np.array([np.nan if v is None else v for v in curve], float)
        whole = len(values) // smooth * smooth
        means = np.mean(values[:whole].reshape(-1, smooth), axis=1) if whole else values
        step = every * (smooth if whole else 1)
        axes.plot(
            step * (np.arange(len(means)) + 0.5),
            means,
            color=colour,
            linestyle=line,
            marker="X" if len(means) < 3 else "",
            linewidth=2 if name == "svt" else 1.3,
            label=name,
        )
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("mean squared error")
    axes.set_title(title, fontsize=10, loc="left")
    _quiet(axes)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _grid(rows: Sequence[Sequence[tuple[str, Array, dict[str, Any]]]], size: float) -> Figure:
    """Pictures in rows, each with a title."""
    count = max(len(row) for row in rows)
    figure = Figure(figsize=(size * count, (size + 0.25) * len(rows)), dpi=100)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(len(rows), count, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for line, row in zip(panels, rows, strict=True):
        for axes, (title, picture, options) in zip(line, row, strict=False):
            axes.imshow(picture, interpolation="nearest", **options)
            axes.set_title(title, fontsize=8)
    return figure


def colour_picture(rows: Sequence[Sequence[tuple[str, Array]]]) -> Figure:
    """One image a row: original, sampled, reconstructed; each a title and ``(3, H, W)``."""
    return _grid(
        [[(t, np.clip(x, 0, 1).transpose(1, 2, 0), {}) for t, x in row] for row in rows], 1.6
    )


def dynamic_picture(
    original: Array, found: Mapping[str, Array], frame: int, column: int, gain: float = 4.0
) -> Figure:
    """A frame, its error `gain` times, and a column over time, for each reconstruction.

    Parameters
    ----------
    original
        ``(T, H, W)``; magnitudes are shown, white is what 0.5 % of its entries exceed.
    found
        Reconstructions of the same shape by title.
    """
    peak = float(np.quantile(np.abs(original), 0.995))
    grey = {"cmap": "gray", "vmin": 0, "vmax": peak}
    error = {"cmap": "magma", "vmin": 0, "vmax": peak / gain}
    columns = {"original": original, **found}
    profile = {**grey, "aspect": "auto"}
    return _grid(
        [
            [(name, np.abs(x[frame]), grey) for name, x in columns.items()],
            [
                (
                    f"error, {gain:g} times",
                    np.abs(np.abs(x[frame]) - np.abs(original[frame])),
                    error,
                )
                for x in columns.values()
            ],
            [
                ("one column over time", np.abs(x[:, :, column]).T, profile)
                for x in columns.values()
            ],
        ],
        2.0,
    )


def mask_figure(masks: Mapping[str, Array]) -> Figure:
    """The first frame of each mask ``(T, H, W)``, and below it one column over time."""
    grey = {"cmap": "gray", "vmin": 0, "vmax": 1}
    return _grid(
        [
            [(f"{name}, {m.mean():.1%}", m[0], grey) for name, m in masks.items()],
            [
                (
                    "the middle column over time",
                    m[:, :, m.shape[2] // 2].T,
                    {**grey, "aspect": "auto"},
                )
                for m in masks.values()
            ],
        ],
        2.0,
    )

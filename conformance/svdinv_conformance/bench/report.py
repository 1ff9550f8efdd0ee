"""Timings as a table, as JSON and as a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..suite.runner import environment
from ..tables import Table
from .measure import Measured, Shape

__all__ = ["as_json", "sweeps", "table", "write_plot"]

SIZES = (4, 8, 16, 32, 64, 128, 256)
BATCHES = (1, 4, 16, 64, 256, 1024)
COLOURS = {"svdinv": "#111827", "native": "#dc2626", "svd": "#9ca3af"}


def _milliseconds(row: Measured, side: str) -> str:
    timing = row.sides.get(side)
    if timing is None:
        return "-"
    spread = (timing.high - timing.low) / timing.median / 2
    return f"{1e3 * timing.median:.3g} ±{100 * spread:.0f}%"


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _memory(row: Measured, side: str) -> str:
    timing = row.sides.get(side)
    if timing is None or timing.memory is None:
        return "-"
    return f"{timing.memory / 2**20:.0f}"


def _row(row: Measured, sides: Sequence[str]) -> list[str]:
    """The cells of a row, in the order of :func:`table`."""
    start = [str(row.shape), f"{row.framework} {row.mode}"]
    if row.reason:
        return [*start, row.reason]
    return [
        *start,
        *(_milliseconds(row, side) for side in sides),
        _number(row.ratio("native", "svdinv")),
        _number(row.ratio("svdinv", "svd")),
        _number(row.error, ".1e"),
        _number(row.kept, ".0f"),
        f"{_memory(row, 'svdinv')} / {_memory(row, 'native')}",
    ]


def table(rows: Sequence[Measured]) -> Table:
    """Lay out one row for each shape, framework and mode."""
    sides = list(dict.fromkeys(side for row in rows for side in row.sides))
    head = ["shape", "framework", *(f"{side} ms" for side in sides)]
    head += ["native/svdinv", "svdinv/svd", "error", "kept", "MiB svdinv/native"]
    lines = [line + [""] * (len(head) - len(line)) for line in (_row(r, sides) for r in rows)]
    return Table(head, lines, texts=(0, 1), wrapped=range(2, len(head)), grouped=True)


def as_json(rows: Sequence[Measured], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, for a program."""
    return {
        "environment": environment(),
        "settings": dict(settings),
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def sweeps(dtype: str) -> dict[str, list[Shape]]:
    """The shapes of the picture: by side of a square matrix, and by batch."""
    return {
        "side of 16 square matrices": [Shape((16, n, n), dtype) for n in SIZES],
        "number of 32x32 matrices": [Shape((b, 32, 32), dtype) for b in BATCHES],
    }


def write_plot(curves: Mapping[str, Sequence[Measured]], path: str) -> None:
    """Draw cost against size and against batch, one column of panels for each framework."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys((r.framework, r.mode) for rows in curves.values() for r in rows))
    figure = Figure(
        figsize=(3.6 * len(names) + 0.6, 3.2 * len(curves)), dpi=130, layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(curves), len(names), squeeze=False, sharey="row")
    for panels, (title, rows) in zip(grid, curves.items(), strict=True):
        for axes, (framework, mode) in zip(panels, names, strict=True):
            own = [r for r in rows if (r.framework, r.mode) == (framework, mode) and r.sides]
            for side in dict.fromkeys(side for row in own for side in row.sides):
                timed = [r for r in own if side in r.sides]
                across = [r.shape.lengths[-1 if title.startswith("side") else 0] for r in timed]
                axes.fill_between(
                    across,
                    [1e3 * r.sides[side].low for r in timed],
                    [1e3 * r.sides[side].high for r in timed],
                    color=COLOURS.get(side, "#2563eb"),
                    alpha=0.15,
                    linewidth=0,
                )
                axes.plot(
                    across,
                    [1e3 * r.sides[side].median for r in timed],
                    color=COLOURS.get(side, "#2563eb"),
                    linestyle="--" if side == "svd" else "-",
                    marker="o",
                    markersize=3.5,
                    label="svd, forward only" if side == "svd" else side,
                )
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_title(f"{framework}, {mode}", fontsize=10)
            axes.set_xlabel(title)
            axes.grid(alpha=0.3, which="major")
        panels[0].set_ylabel("ms a step")
    grid[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(path)

"""Markdown tables, and what is read from a result file for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["NOT_RUN", "Result", "db", "lineage", "mean", "short", "table", "text", "total_steps"]

Result = Mapping[str, Any]

NOT_RUN = "not run"


def text(name: str, **fields: Any) -> str:
    """A text file of this folder with its fields filled in, without the last line break."""
    return (Path(__file__).parent / f"{name}.txt").read_text("utf-8").format(**fields).rstrip("\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def db(value: float | None) -> str:
    """Decibels."""
    return NOT_RUN if value is None else f"{value:.2f}"


def mean(result: Result | None, *keys: str) -> Any:
    """What the keys lead to in the means of a result, or None."""
    value: Any = result and result.get("mean")
    for key in keys:
        value = value and value.get(key)
    return value


def short(result: Result) -> str:
    """The name of its low-rank step; rules without the prefix."""
    name: str = result["settings"]["method"]
    return name.removeprefix("svd-")


def lineage(
    result: Result, found: Mapping[str, Result], kind: Callable[[Result], str]
) -> list[tuple[str, int]]:
    """Steps of a run and of those whose weights it began with, latest first, by their kind."""
    runs: list[tuple[str, int]] = []
    current: Result | None = result
    while current is not None:
        steps = current["training"]["steps_done"]
        if runs and runs[-1][0] == kind(current):
            steps += runs.pop()[1]
        runs.append((kind(current), steps))
        current = found.get(current["settings"].get("started_from") or "")
    return runs


def total_steps(result: Result, found: Mapping[str, Result]) -> int:
    """Of a run and of those whose weights it began with."""
    return sum(steps for _, steps in lineage(result, found, lambda r: ""))

"""Markdown tables, and what is read from a result file for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .lowrank import low_rank_names
from .results import Result
from .training import SEED

__all__ = [
    "NOT_RUN",
    "Compared",
    "by_method",
    "compared",
    "db",
    "differences",
    "lineage",
    "mean",
    "over",
    "recipe",
    "short",
    "side_by_side",
    "table",
]

NOT_RUN = "not run"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; without rows, the words that nothing was run."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if lines[2:] else NOT_RUN


def db(value: float | None) -> str:
    """Decibels."""
    return NOT_RUN if value is None else f"{value:.2f}"


def over(value: float | None, reference: float | None) -> str:
    """Decibels more than the reference."""
    return "" if value is None or reference is None else f"{value - reference:+.2f}"


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


def by_method(found: Iterable[Result]) -> list[Result]:
    """In the order of `lowrank.low_rank_names`."""
    order = {name: i for i, name in enumerate(low_rank_names())}
    return sorted(found, key=lambda r: order.get(r["settings"]["method"], len(order)))


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


def recipe(result: Result, found: Mapping[str, Result], kind: Callable[[Result], str]) -> str:
    """Steps, batch and rate of a run, where its first weights are from, and on what."""
    (_, last), *before = lineage(result, found, kind)
    s, done = result["settings"], result["training"]["steps_done"]
    rate = "rate" if last == done else "last rate"
    planned = "" if done == s["steps"] else f" (of {s['steps']} planned)"
    first, current = s, result  # settings of the run that the chain begins with
    while (current := found.get(current["settings"].get("started_from") or "", {})) != {}:
        first = current["settings"]
    kinds = [f"after {steps} with {network}" for network, steps in before]
    kinds += ["smooth start"] * bool(first.get("smooth"))
    kinds += ["photographs"] * bool(s.get("photographs"))
    return ", ".join([f"{last} of batch {s['batch']}, {rate} {s['rate']:g}{planned}", *kinds])


Compared = Mapping[str, Mapping[str, Sequence[Result]]]
"""Runs by what they were trained for and by low-rank step, alike in all else but the seed."""


def compared(runs: Mapping[str, Result]) -> dict[str, list[Result]]:
    """Tested runs by low-rank step, in the order of their seeds."""
    found: dict[str, list[Result]] = {}
    for r in sorted(runs.values(), key=lambda r: r["settings"]["seed"] != SEED):
        if r.get("mean"):
            found.setdefault(short(r), []).append(r)
    return {short(r): found[short(r)] for r in by_method(same[0] for same in found.values())}


def _over_svt(found: Mapping[str, Sequence[Result]]) -> dict[str, dict[int, float]]:
    """PSNR over that of `svt`, dB, by low-rank step and seed."""
    exact = {r["settings"]["seed"]: mean(r, "psnr") for r in found.get("svt", ())}
    return {
        method: {
            (seed := r["settings"]["seed"]): mean(r, "psnr") - exact[seed]
            for r in runs
            if r["settings"]["seed"] in exact
        }
        for method, runs in found.items()
    }


def side_by_side(columns: Compared, paper: Mapping[str, Mapping[str, float]]) -> str:
    """Every low-rank step, beside the paper's."""
    methods = list(dict.fromkeys(m for found in columns.values() for m in found))
    head, rows = ["low-rank step"], [[f"`{method}`"] for method in methods]
    for label, found in columns.items():
        head += [f"{label}: PSNR", "over `svt`", "the paper", "over the paper's `inv`"]
        differences, theirs = _over_svt(found), paper[label]
        for row, method in zip(rows, methods, strict=True):
            row += [
                ", ".join(db(mean(r, "psnr")) for r in found.get(method, ())) or NOT_RUN,
                ", ".join(f"{d:+.3f}" for d in differences.get(method, {}).values()),
                f"{theirs[method]:.2f}" if method in theirs else "",
                f"{theirs[method] - theirs['inv']:+.3f}" if method in theirs else "",
            ]
    return table(head, rows)


def differences(columns: Compared) -> tuple[list[str], dict[str, list[float | None]]]:
    """Low-rank steps, and for every column and seed how much each is over `svt`, for a figure."""
    methods = list(dict.fromkeys(m for found in columns.values() for m in found))
    curves: dict[str, list[float | None]] = {}
    for label, found in columns.items():
        over_svt = _over_svt(found)
        for seed in over_svt.get("svt", {}):
            curves[f"{label}, seed {seed}"] = [over_svt.get(m, {}).get(seed) for m in methods]
    return methods, curves

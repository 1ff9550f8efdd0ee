"""Who passes what: outcomes counted by the kind of spectrum and by observable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from ..markdown import markdown_table
from .case import Case
from .runner import STATUSES, Report

__all__ = [
    "BEGIN",
    "END",
    "GROUPS",
    "cell",
    "markdown",
    "observable",
    "rows",
    "situation",
    "title",
]

BEGIN = "<!-- who passes what: begin, written by svdinv_conformance run --markdown -->"
END = "<!-- who passes what: end -->"


def situation(case: Case) -> str:
    """What is special about the matrix of a case, in words."""
    _, shape, name, *_ = case.id.split("/")
    if shape in ("empty", "batch"):
        return shape
    gap = re.match(r"pair-(1e-\d+)", name)
    if gap:
        return f"gap {gap[1]}"
    scaled = re.match(r"scaled-(1e[+-]\d+)", name)
    if scaled:
        return f"tied, scaled {scaled[1]}"
    for word, meaning in {
        "on-value": "no derivative", "cut-on-tie": "no derivative", "distinct": "distinct",
        "tied": "tied", "triple": "triple", "all-equal": "all equal", "two-pairs": "two pairs",
        "identity": "identity",
        "rank-deficient": "rank-deficient", "two-zeros": "rank-deficient", "zero": "zero",
    }.items():  # fmt: skip
        if word in name:
            return meaning
    return name


def observable(case: Case) -> str:
    """The observable's name."""
    return case.observable.kind


def by_check(report: Report) -> dict[str, Counter[str]]:
    """Number of outcomes of each status, by check."""
    groups: dict[str, Counter[str]] = {}
    for outcome in report.outcomes:
        groups.setdefault(outcome.test.check, Counter())[outcome.status] += 1
    return groups


GROUPS: dict[str, Callable[[Report], dict[str, Counter[str]]]] = {
    "matrix": lambda report: report.by(situation),
    "observable": lambda report: report.by(observable),
    "check": by_check,
}
"""Ways to group the outcomes of a report."""


def cell(counts: Counter[str]) -> str:
    """``24`` where all pass, ``12 of 24`` where some do, a dash where nothing was asked."""
    passed, asked = counts["pass"], counts["pass"] + counts["fail"] + counts["xfail"]
    if not asked:
        return "not run" if counts["not run"] else "–"  # noqa: RUF001
    return f"all {asked}" if passed == asked else f"**{passed} of {asked}**"


def _order(names: Sequence[str]) -> list[str]:
    """Distinct first, then gaps from wide to narrow, then the rest as it comes."""

    def key(name: str) -> tuple[int, float]:
        if name == "distinct":
            return 0, 0
        if name.startswith("gap "):
            return 1, -float(name.removeprefix("gap "))
        later = ("tied", "triple", "two pairs", "all equal", "identity", "rank-deficient", "zero")
        return (2, later.index(name)) if name in later else (3, 0)

    return sorted(names, key=key)


def rows(reports: Sequence[Report], group: str) -> dict[str, list[Counter[str]]]:
    """For each group of outcomes, the counts of each report."""
    counted = [GROUPS[group](report) for report in reports]
    names = list(dict.fromkeys(name for c in counted for name in c))
    if group == "matrix":
        names = _order(names)
    return {name: [c.get(name, Counter()) for c in counted] for name in names}


def markdown(reports: Sequence[Report]) -> str:
    """Tables of passes by matrix and by observable, one column for each report, with versions."""
    versions: dict[str, str] = {}
    for report in reports:
        versions |= report.versions
    parts = ["Versions: " + ", ".join(f"{name} {v}" for name, v in sorted(versions.items())) + "."]
    total = [Counter({s: report.count(s) for s in STATUSES}) for report in reports]
    for group in GROUPS:
        counted = {**rows(reports, group), "**all**": total}
        body = [[name, *map(cell, counts)] for name, counts in counted.items()]
        parts.append(markdown_table([group, *map(title, reports)], body))
    return "\n\n".join(parts) + "\n"


def title(report: Report) -> str:
    """Name of a report, with its device if that is not the CPU."""
    return report.name if report.device == "cpu" else f"{report.name} ({report.device})"

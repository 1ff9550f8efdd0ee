"""Who passes what: outcomes counted by the kind of spectrum, by observable and by check."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from ..tables import Cell, Table
from .case import Case
from .runner import STATUSES, Outcome, Report

__all__ = [
    "BEGIN",
    "END",
    "GROUPS",
    "comparison",
    "markdown",
    "observable",
    "of_one",
    "situation",
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


GROUPS: dict[str, Callable[[Outcome], str]] = {
    "matrix": lambda outcome: situation(outcome.test.case),
    "observable": lambda outcome: observable(outcome.test.case),
    "check": lambda outcome: outcome.test.check,
}
"""Ways to group outcomes."""


def _cell(counts: Counter[str]) -> Cell:
    """``all 24`` if all pass, ``12 of 24`` if some do, a dash if there are no tests."""
    passed, asked = counts["pass"], counts["pass"] + counts["fail"] + counts["xfail"]
    if not asked:
        return Cell("not run" if counts["not run"] else "–", "soft")  # noqa: RUF001
    return Cell(f"all {asked}", "good") if passed == asked else Cell(f"{passed} of {asked}", "bad")


def _order(names: Sequence[str]) -> list[str]:
    """Distinct first, then gaps from wide to narrow, then the rest in its order."""

    def key(name: str) -> tuple[int, float]:
        if name == "distinct":
            return 0, 0
        if name.startswith("gap "):
            return 1, -float(name.removeprefix("gap "))
        later = ("tied", "triple", "two pairs", "all equal", "identity", "rank-deficient", "zero")
        return (2, later.index(name)) if name in later else (3, 0)

    return sorted(names, key=key)


def comparison(reports: Sequence[Report], group: str) -> Table:
    """Passes in each group, one column for each report."""
    counted = [report.by(GROUPS[group]) for report in reports]
    names = list(dict.fromkeys(name for c in counted for name in c))
    rows: list[Sequence[str | Cell]] = [
        [name, *(_cell(c.get(name, Counter())) for c in counted)]
        for name in (_order(names) if group == "matrix" else names)
    ]
    titles = [r.name if r.device == "cpu" else f"{r.name} ({r.device})" for r in reports]
    return Table([group, *titles], rows)


def of_one(report: Report) -> Table:
    """Passes of one report, kinds of matrix down and observables across."""
    matrix, across = GROUPS["matrix"], GROUPS["observable"]
    counts = report.by(lambda outcome: (matrix(outcome), across(outcome)))
    columns = list(dict.fromkeys(column for _, column in counts))
    rows: list[Sequence[str | Cell]] = [
        [name, *(_cell(counts.get((name, column), Counter())) for column in columns)]
        for name in _order(list(dict.fromkeys(name for name, _ in counts)))
    ]
    return Table(["", *columns], rows)


def markdown(reports: Sequence[Report]) -> str:
    """Tables of passes in each group, one column for each report, with versions."""
    versions: dict[str, str] = {}
    for report in reports:
        versions |= report.versions
    parts = ["Versions: " + ", ".join(f"{name} {v}" for name, v in sorted(versions.items())) + "."]
    total = [_cell(Counter({s: report.count(s) for s in STATUSES})) for report in reports]
    for group in GROUPS:
        table = comparison(reports, group)
        parts.append(Table(table.head, [*table.rows, ["**all**", *total]]).markdown())
    return "\n\n".join(parts) + "\n"

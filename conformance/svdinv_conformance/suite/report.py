"""Reports for the terminal, as JSON and as JUnit XML."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.text import Text

from ..errors import finite
from ..tables import Cell, Table
from .evidence import Evidence
from .runner import STATUSES, Report, environment
from .table import GROUPS, comparison, situation

__all__ = [
    "as_json",
    "evidence_table",
    "header",
    "print_comparison",
    "print_environment",
    "print_report",
    "write_junit",
]

SHOWN = 12
"""Failures that are listed before the rest is only counted."""


def header(report: Report) -> str:
    """Say who was asked, where, with which versions."""
    versions = ", ".join(f"{name} {v}" for name, v in report.versions.items())
    return f"{report.name} on {report.device}" + (f" ({versions})" if versions else "")


def print_environment(console: Console) -> None:
    """One line on the machine."""
    text = ", ".join(f"{name} {value}" for name, value in environment().items())
    console.print(Text(text, style="dim"))


def _row(name: str, counts: Counter[str], used: float | None) -> list[str | Cell]:
    kinds = {"pass": "good", "fail": "bad", "xfail": "warning"}
    cells = (Cell(str(counts[s]), kinds.get(s, "soft")) if counts[s] else Cell(".", "soft")
             for s in STATUSES)  # fmt: skip
    return [name, *cells, "." if used is None else f"{100 * used:.0f} %"]


def print_report(report: Report, console: Console, everything: bool = False) -> None:
    """Print the counts by observable, and the failures.

    Parameters
    ----------
    report
        What to print.
    console
        Where to.
    everything
        List every failure, and not the first few.
    """
    console.print()
    console.print(Text(header(report), style="bold"))
    if report.reason:
        tests = len(report.outcomes)
        words = f"not run: {report.reason}" + (f" ({tests} tests)" if tests else "")
        console.print(Text(words, style="yellow"))
        return
    group = GROUPS["observable"]
    worst = report.worst(group)
    rows: list[Sequence[str | Cell]]
    rows = [_row(name, n, worst.get(name)) for name, n in report.by(group).items()]
    total = Counter({status: report.count(status) for status in STATUSES})
    rows.append(_row("all", total, max(worst.values(), default=None)))
    Table(["observable", *STATUSES, "tolerance used"], rows, total=True).print(console)
    reasons = Counter(o.note for o in report.outcomes if o.status == "not applicable")
    for reason, count in reasons.most_common(4):
        console.print(Text(f"not applicable, {count}: {reason}", style="dim"), soft_wrap=True)
    failed = report.failed
    if failed:
        console.print(Text(f"{len(failed)} failed:", style="bold red"))
    for outcome in failed if everything else failed[:SHOWN]:
        line = Text.assemble(("  " + outcome.test.id, ""), ("  " + outcome.note, "dim"))
        console.print(line, soft_wrap=True)
    if not everything and len(failed) > SHOWN:
        console.print(Text(f"  and {len(failed) - SHOWN} more (--all lists them)", style="dim"))


def print_comparison(reports: Sequence[Report], console: Console) -> None:
    """Print who passes what, one column for each report."""
    for group in ("matrix", "observable"):
        table = comparison(reports, group)
        head = [name.replace(".", ".\n") for name in table.head]
        Table(head, table.rows).print(console)


def evidence_table(evidence: Sequence[Evidence]) -> Table:
    """What is known about a GPU on a machine without one."""
    kinds = {"holds": "good", "fails": "bad"}
    rows: list[Sequence[str | Cell]] = [
        [Cell(e.status, kinds.get(e.status, "warning")), e.claim, Cell(e.detail, "soft")]
        for e in evidence
    ]
    title = "Without a GPU, what speaks for one"
    return Table(["", "claim", ""], rows, title, texts=(0, 1, 2), wrapped=(1, 2))


# --- files ---------------------------------------------------------------------------------------


def as_json(reports: Sequence[Report], evidence: Sequence[Evidence] = ()) -> dict[str, Any]:
    """Turn reports into plain data."""
    return {
        "format": 1,
        "environment": environment(),
        "reports": [
            {
                "implementation": report.name,
                "device": report.device,
                "versions": report.versions,
                "not_run_because": report.reason or None,
                "counts": {status: report.count(status) for status in STATUSES},
                "outcomes": [
                    {
                        "id": o.test.id,
                        "case": o.test.case.id,
                        "dtype": o.test.case.dtype,
                        "matrix": situation(o.test.case),
                        "check": o.test.check,
                        "status": o.status,
                        "note": o.note or None,
                        "tolerance_used": finite(o.used),
                        "seconds": round(o.seconds, 6),
                    }
                    for o in report.outcomes
                ],
            }
            for report in reports
        ],
        "evidence": [dataclasses.asdict(item) for item in evidence],
    }


def write_junit(reports: Sequence[Report], path: str | Path) -> None:
    """Write JUnit XML, a suite for each report; what was not asked or not run is skipped."""
    root = ElementTree.Element("testsuites")
    for report in reports:
        skipped = sum(report.count(s) for s in ("xfail", "not applicable", "not run"))
        suite = ElementTree.SubElement(
            root, "testsuite", name=f"{report.name} on {report.device}",
            tests=str(len(report.outcomes)), failures=str(report.count("fail")), errors="0",
            skipped=str(skipped), time=f"{sum(o.seconds for o in report.outcomes):.3f}",
        )  # fmt: skip
        for o in report.outcomes:
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{report.name}.{o.test.check}", name=o.test.id,
                time=f"{o.seconds:.6f}",
            )  # fmt: skip
            if o.status == "fail":
                ElementTree.SubElement(case, "failure", message=o.note)
            elif o.status != "pass":
                ElementTree.SubElement(case, "skipped", message=f"{o.status}: {o.note}".strip(": "))
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)

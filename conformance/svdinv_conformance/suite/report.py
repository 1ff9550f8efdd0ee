"""Reports for the terminal, as JSON and as JUnit XML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import finite
from .evidence import Evidence
from .runner import STATUSES, Report, environment
from .table import cell, observable, rows, situation, title

__all__ = [
    "as_json",
    "evidence_as_json",
    "header",
    "print_comparison",
    "print_environment",
    "print_evidence",
    "print_report",
    "write_json",
    "write_junit",
]

STYLES = {"pass": "green", "fail": "bold red", "xfail": "yellow"}
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


def _counts(counts: Counter[str]) -> list[Text]:
    return [
        Text(
            str(counts[s]) if counts[s] else ".", style=STYLES.get(s, "dim") if counts[s] else "dim"
        )
        for s in STATUSES
    ]


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
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("observable")
    for status in STATUSES:
        table.add_column(status, justify="right")
    table.add_column("tolerance used", justify="right")
    worst = report.worst(observable)
    for name, counts in report.by(observable).items():
        used = f"{100 * worst[name]:.0f} %" if name in worst else "."
        table.add_row(name, *_counts(counts), used)
    table.add_section()
    total = Counter({status: report.count(status) for status in STATUSES})
    most = f"{100 * max(worst.values()):.0f} %" if worst else "."
    table.add_row("all", *_counts(total), most)
    console.print(table)
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
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        table.add_column(group, no_wrap=True)
        for report in reports:
            table.add_column(title(report).replace(".", ".\n"), justify="right", no_wrap=True)
        for name, counts in rows(reports, group).items():
            texts = []
            for c in counts:
                bad = bool(c["fail"] + c["xfail"])
                style = "red" if bad else "green" if c["pass"] else "dim"
                texts.append(Text(cell(c).replace("*", ""), style=style))
            table.add_row(name, *texts)
        console.print(table)


def print_evidence(evidence: Sequence[Evidence], console: Console) -> None:
    """Print what is known about a GPU on a machine without one."""
    console.print()
    console.print(Text("Without a GPU, what speaks for one:", style="bold"))
    for item in evidence:
        style = {"holds": "green", "fails": "bold red"}.get(item.status, "yellow")
        line = Text.assemble((f"  {item.status:8}", style), item.claim, (f"  {item.detail}", "dim"))
        console.print(line, soft_wrap=True)


# --- files ---------------------------------------------------------------------------------------


def evidence_as_json(evidence: Sequence[Evidence]) -> list[dict[str, str]]:
    """Turn evidence into plain data."""
    return [{"claim": e.claim, "status": e.status, "detail": e.detail} for e in evidence]


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
        "evidence": evidence_as_json(evidence),
    }


def write_json(
    reports: Sequence[Report], path: str | Path, evidence: Sequence[Evidence] = ()
) -> None:
    """Write :func:`as_json` to a file (strict JSON)."""
    text = json.dumps(as_json(reports, evidence), indent=1, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


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

"""Reports as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..style import html_page
from ..tables import Table
from .evidence import Evidence
from .report import evidence_table, header
from .runner import STATUSES, Report, environment
from .table import comparison, of_one

__all__ = ["evidence_section", "write_page"]

LISTED = 400
"""Failures of one report that are listed."""


def _report(report: Report) -> str:
    title = f"<h2>{escape(report.name)}, {escape(report.device)}</h2>"
    if report.reason:
        return f"{title}<p>Not run: {escape(report.reason)}.</p>"
    counts = ", ".join(f"{report.count(s)} {s}" for s in STATUSES if report.count(s))
    top = f'{title}<p class="soft">{escape(header(report))}: {escape(counts)}.</p>'
    failed = report.failed
    if not failed:
        return top + of_one(report).html()
    listed = Table(
        ["test", "what happened"], [[o.test.id, o.note] for o in failed[:LISTED]], texts=(0, 1)
    )
    more = f"<p>and {len(failed) - LISTED} more</p>" if len(failed) > LISTED else ""
    return (
        f"{top}{of_one(report).html()}<details><summary>{len(failed)} failed</summary>"
        f"{listed.html()}{more}</details>"
    )


def _summary(reports: Sequence[Report]) -> str:
    failed = [r for r in reports if r.failed]
    ran = [r for r in reports if r.ran]
    sentences = [
        f"{r.name} on {r.device}: {len(r.failed)} of "
        f"{r.count('pass') + r.count('fail') + r.count('xfail')} tests fail."
        for r in failed
    ]
    good = [f"{r.name} on {r.device}" for r in ran if not r.failed]
    if good:
        sentences.append(f"No failure: {', '.join(good)}.")
    sentences += [f"{r.name} on {r.device} not run: {r.reason}." for r in reports if r.reason]
    kind = " bad" if failed or not ran else ""
    return f'<div class="summary{kind}">{"".join(f"<p>{escape(s)}</p>" for s in sentences)}</div>'


def evidence_section(evidence: Sequence[Evidence]) -> str:
    """Show what a machine without a GPU can say of one; nothing if there is nothing."""
    if not evidence:
        return ""
    table = evidence_table(evidence)
    return f"<h2>{escape(table.title)}</h2>{table.html()}"


def write_page(
    reports: Sequence[Report], path: str | Path, evidence: Sequence[Evidence] = ()
) -> None:
    """Write a page without any outside reference to a file."""
    machine = ", ".join(f"{name} {value}" for name, value in environment().items())
    ran = [r for r in reports if not r.reason]
    together = ""
    if len(ran) > 1:
        tables = (comparison(ran, group).html() for group in ("matrix", "observable"))
        together = "<h2>Who passes what</h2>" + "".join(tables)
    top = f"""\
<h1>Gradients of the SVD, held against references at 50 digits</h1>
<p class="soft">{escape(machine)}</p>
{_summary(reports)}"""
    main = f"""\
{together}
{"".join(map(_report, reports))}
{evidence_section(evidence)}
<footer>A cell counts tests that pass of those that were asked; a dash means that nothing was. A
test is one check (value, vjp, jvp, hvp, ...) of one case in one dtype. Errors are relative, held
to 64 &epsilon; times the condition of the case.</footer>"""
    Path(path).write_text(html_page("svdinv conformance", top, main), encoding="utf-8")

"""Reports as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..style import html_page, html_table
from .evidence import Evidence
from .report import header
from .runner import STATUSES, Report, environment
from .table import cell, observable, rows, situation, title

__all__ = ["evidence_section", "render", "write_page"]

LISTED = 400
"""Failures of one report that are listed."""


def _table(head: Sequence[str], body: Sequence[str], numbers: bool = False) -> str:
    return html_table(head, body, ["", *["number wrap" if numbers else ""] * (len(head) - 1)])


def _cell(counts: Counter[str]) -> str:
    bad, good = counts["fail"] + counts["xfail"], counts["pass"]
    kind = "some" if bad else "all" if good else "soft"
    return f'<td class="{kind} number">{escape(cell(counts).replace("*", ""))}</td>'


def _who_passes_what(reports: Sequence[Report], group: str) -> str:
    body = [
        f"<tr><td>{escape(name)}</td>{''.join(map(_cell, counts))}</tr>"
        for name, counts in rows(reports, group).items()
    ]
    return _table([group, *map(title, reports)], body, numbers=True)


def _grid(report: Report) -> str:
    """One report: kinds of matrix down, observables across."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for o in report.outcomes:
        key = situation(o.test.case), observable(o.test.case)
        counts.setdefault(key, Counter())[o.status] += 1
    across = list(dict.fromkeys(column for _, column in counts))
    down = list(rows([report], "matrix"))
    body = [
        f"<tr><td>{escape(row)}</td>"
        + "".join(_cell(counts.get((row, column), Counter())) for column in across)
        + "</tr>"
        for row in down
    ]
    return _table(["", *across], body, numbers=True)


def _failures(report: Report) -> str:
    failed = report.failed
    if not failed:
        return ""
    body = [
        f"<tr><td>{escape(o.test.id)}</td><td>{escape(o.note)}</td></tr>" for o in failed[:LISTED]
    ]
    more = f"<p>and {len(failed) - LISTED} more</p>" if len(failed) > LISTED else ""
    return (
        f"<details><summary>{len(failed)} failed</summary>"
        f"{_table(['test', 'what happened'], body)}{more}</details>"
    )


def _report(report: Report) -> str:
    title = f"<h2>{escape(report.name)}, {escape(report.device)}</h2>"
    if report.reason:
        return f"{title}<p>Not run: {escape(report.reason)}.</p>"
    counts = ", ".join(f"{report.count(s)} {s}" for s in STATUSES if report.count(s))
    return (
        f'{title}<p class="soft">{escape(header(report))}: {escape(counts)}.</p>'
        f"{_grid(report)}{_failures(report)}"
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
    body = [
        f"<tr><td>{escape(e.status)}</td><td>{escape(e.claim)}</td><td>{escape(e.detail)}</td></tr>"
        for e in evidence
    ]
    return "<h2>Without a GPU, what speaks for one</h2>" + _table(["", "claim", ""], body)


def render(reports: Sequence[Report], evidence: Sequence[Evidence] = ()) -> str:
    """Render reports as a page without any outside reference."""
    machine = ", ".join(f"{name} {value}" for name, value in environment().items())
    ran = [r for r in reports if not r.reason]
    together = ""
    if len(ran) > 1:
        together = "<h2>Who passes what</h2>" + "".join(
            _who_passes_what(ran, group) for group in ("matrix", "observable")
        )
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
    return html_page("svdinv conformance", top, main)


def write_page(
    reports: Sequence[Report], path: str | Path, evidence: Sequence[Evidence] = ()
) -> None:
    """Write :func:`render`'s page to a file."""
    Path(path).write_text(render(reports, evidence), encoding="utf-8")

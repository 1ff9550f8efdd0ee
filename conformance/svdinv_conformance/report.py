"""A comparison as a table for the terminal and as JSON."""

from __future__ import annotations

import json
import math
import platform
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .agreement import tie_rtol
from .agreement_matrix import AgreementMatrix, agreement_matrix
from .compare import Comparison, Group, Row
from .errors import finite
from .suite.report import evidence_as_json, print_evidence

__all__ = [
    "as_json",
    "cells",
    "columns",
    "describe",
    "format_error",
    "group_title",
    "matrix_cells",
    "print_table",
    "verdict",
    "write_json",
]


def format_error(value: float | None) -> str:
    """Format an error with two digits; exactly nothing is ``0``."""
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.1e}"


def _format_time(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def verdict(row: Row) -> tuple[str, str]:
    """Say what is to be thought of a row: a grade and a few words.

    Returns
    -------
    grade, words
        The grade is ``"bad"``, ``"good"`` or ``"neutral"``.
    """
    if row.faults:
        words = _join_partners(row.faults)
        return "bad", words if row.status == "computed" else f"{words}: {row.note}"
    if row.status != "computed":
        return "neutral", row.note
    if not row.judged:
        if row.undefined:
            return "neutral", f"undefined: {row.undefined}"
        return "neutral", f"not judged: {row.excuse}"
    part = ""
    if row.judged_matrices < row.matrices:
        part = f" on {row.judged_matrices} of {row.matrices} matrices"
    if not row.compared:
        return "neutral", "nothing to compare with"
    return "good", f"agrees{part} within {row.tolerance:.0e}"


def _join_partners(faults: list[str]) -> str:
    """Merge "disagrees with a", "disagrees with b" into one phrase."""
    start = "disagrees with "
    partners = [f.removeprefix(start) for f in faults if f.startswith(start)]
    others = [f for f in faults if not f.startswith(start)]
    if partners:
        others.append(f"DISAGREES with {', '.join(partners)}")
    return "; ".join(others)


def _error(row: Row) -> str:
    if row.status != "computed":
        return "-"
    if row.undefined:
        return "undefined"
    return "NaN/inf" if row.error is None else format_error(row.error)


def _agreement(row: Row) -> str:
    if row.status == "computed" and row.compared and row.agreement is None:
        return "NaN/inf"
    return format_error(row.agreement)


COLUMNS = {
    "method": "Method",
    "framework": "Framework",
    "dtype": "Type",
    "device": "Device",
    "error": "Error",
    "tau_error": "in tau",
    "agreement": "Agreement",
    "nonfinite": "NaN/inf",
    "time": "ms",
    "verdict": "Verdict",
}
"""Key and heading of every column."""

NUMERIC = ("error", "tau_error", "agreement", "nonfinite", "time")
"""The columns that are aligned to the right."""


def columns(result: Comparison) -> list[str]:
    """List the columns that tell something; what is the same everywhere goes to the title."""
    shown = list(COLUMNS)
    if len(result.plan.dtypes) == 1:
        shown.remove("dtype")
    if len({row.device for row in result.rows}) <= 1:
        shown.remove("device")
    if all(row.tau_error is None for row in result.rows):
        shown.remove("tau_error")
    return shown


def cells(row: Row) -> dict[str, str]:
    """Give the text of every column."""
    return {
        "method": row.method or "any",
        "framework": row.framework,
        "dtype": row.dtype,
        "device": row.device,
        "error": _error(row),
        "tau_error": format_error(row.tau_error),
        "agreement": _agreement(row),
        "nonfinite": str(row.nonfinite) if row.status == "computed" else "-",
        "time": _format_time(row.milliseconds),
        "verdict": verdict(row)[1],
    }


def group_title(group: Group, result: Comparison) -> str:
    """Name an input and a loss, and what is the same in all its rows."""
    plan = result.plan
    title = f"{group.input.name}, {group.loss}"
    if group.tau:
        title += f", tau {plan.tau:g}" + (" of the largest value" if plan.relative else "")
    if len(plan.dtypes) == 1:
        title += f", {plan.dtypes[0]}"
    devices = {row.device for row in result.rows}
    if len(devices) == 1:
        title += f", {devices.pop()}"
    return title


def describe(group: Group) -> str:
    """Describe an input: its own words, its shape, and its ties and zeros."""
    shape = "x".join(map(str, group.input.shape))
    text = f"{group.input.description} ({shape})"
    if not group.singular_values:
        return text
    dtype, s = next(iter(group.singular_values.items()))
    largest = np.max(s, axis=-1, keepdims=True)
    is_zero = s <= tie_rtol(dtype) * largest
    zeros = int(np.sum(is_zero))
    ties = int(np.sum((s[..., :-1] - s[..., 1:] <= tie_rtol(dtype) * largest) & ~is_zero[..., 1:]))
    of = f"{s.size} values"
    return f"{text}; of {of}, {ties} tied with the next one and {zeros} zero"


def execution_note(result: Comparison) -> str:
    """Say how each framework ran, for the reader of the times."""
    names = [
        f"{name} {version} ({result.execution[name]})" for name, version in result.versions.items()
    ]
    return ", ".join(names) or "none"


def _widths(result: Comparison, shown: list[str]) -> dict[str, int]:
    entries = [cells(row) for row in [*result.rows, *result.missing]]
    return {key: max(len(COLUMNS[key]), *(len(e[key]) for e in entries)) for key in shown}


def print_table(result: Comparison, console: Console) -> None:
    """Print the table and the summary."""
    shown = columns(result)
    widths = _widths(result, shown)
    if sum(widths.values()) + 2 * len(shown) > console.width and "tau_error" in shown:
        shown.remove("tau_error")  # the least needed; JSON has it
        widths = _widths(result, shown)
    used = sum(w + 2 for k, w in widths.items() if k != "verdict")
    widths["verdict"] = max(18, min(widths["verdict"], console.width - used - 2))

    def start(title: str, note: str) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD,
            title=Text.assemble((title, "bold"), ("\n" + note if note else "", "dim")),
            title_justify="left",
            title_style="",
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="bold",
        )
        for key in shown:
            table.add_column(
                COLUMNS[key],
                justify="right" if key in NUMERIC else "left",
                width=widths[key],
                no_wrap=key != "verdict",
            )
        return table

    console.print(Text(f"Exact gradient: {result.reference()}", style="dim"))
    console.print(Text(f"Frameworks: {execution_note(result)}", style="dim"))
    console.print()
    for group in result.groups:
        table = start(group_title(group, result), describe(group))
        before: Row | None = None
        for row in group.rows:
            if before is not None and before.method != row.method:
                table.add_section()
            table.add_row(*_styled(row, shown, before))
            before = row
        console.print(table)
    if result.missing:
        table = start("Not available here", "")
        for row in result.missing:
            entries = cells(row)
            table.add_row(*[entries[key] if entries[key] != "any" else "" for key in shown])
        console.print(table)
    if result.evidence:
        print_evidence(result.evidence, console)
        console.print()
    _print_matrix(agreement_matrix(result), console)
    style = "bold green" if result.agrees and result.rows else "bold red"
    console.print(Text(result.summary(), style=style if result.rows else "bold"))


def matrix_cells(matrix: AgreementMatrix) -> list[list[str]]:
    """Give the text of the matrix, row by row, names first."""
    lines = []
    for a in matrix.names:
        line = [a]
        for b in matrix.names:
            cell = matrix.cell(a, b)
            if cell is None:
                line.append("")
            else:
                line.append("NaN/inf" if math.isnan(cell.difference) else f"{cell.difference:.1e}")
        lines.append(line)
    return lines


def _print_matrix(matrix: AgreementMatrix, console: Console) -> None:
    if len(matrix.names) < 2:
        return
    table = Table(
        box=box.SIMPLE_HEAD, title=Text("Largest difference of each two", style="bold"),
        title_justify="left", title_style="", pad_edge=False, header_style="bold",
    )  # fmt: skip
    table.add_column("")
    for name in matrix.names:
        table.add_column(name, justify="right")
    for line in matrix_cells(matrix):
        table.add_row(*line)
    console.print(table)
    console.print(Text(matrix.sentence()))


def _styled(row: Row, shown: list[str], before: Row | None) -> list[Text]:
    texts = []
    grade, _ = verdict(row)
    for key, entry in cells(row).items():
        if key not in shown:
            continue
        style = ""
        if key == "method" and before is not None and before.method == row.method:
            entry = ""
        if entry == "NaN/inf" or (key == "nonfinite" and row.nonfinite):
            style = "red"
        if key == "verdict":
            style = {"good": "green", "bad": "bold red", "neutral": "dim"}[grade]
        texts.append(Text(entry, style=style))
    return texts


# --- JSON ----------------------------------------------------------------------------------------


def _row_as_json(row: Row) -> dict[str, Any]:
    grade, words = verdict(row)
    return {
        "method": row.method or None,
        "framework": row.framework,
        "dtype": row.dtype or None,
        "device": row.device,
        "status": row.status,
        "note": row.note,
        "error": finite(row.error),
        "tau_error": finite(row.tau_error),
        "undefined": row.undefined or None,
        "agreement": finite(row.agreement),
        "tolerance": finite(row.tolerance),
        "judged": row.judged,
        "judged_matrices": row.judged_matrices,
        "matrices": row.matrices,
        "not_judged_because": row.excuse or None,
        "nonfinite": row.nonfinite,
        "entries": row.entries,
        "milliseconds": finite(row.milliseconds),
        "faults": row.faults,
        "grade": grade,
        "verdict": words,
    }


def as_json(result: Comparison) -> dict[str, Any]:
    """Turn a comparison into plain data: lists, dictionaries, numbers, None for non-finite."""
    plan = result.plan
    return {
        "format": 1,
        "summary": result.summary(),
        "agrees": result.agrees,
        "reference": result.reference(),
        "platform": {"python": platform.python_version(), "machine": platform.machine()},
        "versions": {"numpy": np.__version__, **result.versions},
        "execution": result.execution,
        "plan": {
            "losses": list(plan.losses),
            "methods": list(plan.methods),
            "frameworks": list(plan.frameworks),
            "dtypes": list(plan.dtypes),
            "devices": list(plan.devices),
            "tau": plan.tau,
            "relative": plan.relative,
            "repeat": plan.repeat,
            "seed": plan.seed,
        },
        "groups": [
            {
                "case": group.input.name,
                "description": group.input.description,
                "shape": list(group.input.shape),
                "loss": group.loss,
                "extended_reference": group.extended,
                "rows": [_row_as_json(row) for row in group.rows],
            }
            for group in result.groups
        ],
        "agreement_matrix": [
            {
                "between": list(pair),
                "difference": finite(cell.difference),
                "tolerance": finite(cell.tolerance),
                "where": cell.where,
            }
            for pair, cell in agreement_matrix(result).cells.items()
        ],
        "evidence": evidence_as_json(result.evidence),
        "missing": [
            {"framework": row.framework, "device": row.device, "reason": row.note}
            for row in result.missing
        ],
    }


def write_json(result: Comparison, path: str | Path) -> None:
    """Write :func:`as_json` to a file (strict JSON)."""
    text = json.dumps(as_json(result), indent=1, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")

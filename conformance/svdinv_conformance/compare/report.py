"""A comparison as a table for the terminal and as JSON."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import finite
from ..suite.report import evidence_as_json, print_evidence
from .agreement_matrix import AgreementMatrix, agreement_matrix
from .runner import Comparison, Row
from .words import (
    COLUMNS,
    NUMERIC,
    cells,
    columns,
    describe,
    execution_note,
    group_title,
    matrix_cells,
    reference_note,
    summary,
    verdict,
)

__all__ = ["as_json", "print_table", "write_json"]


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

    console.print(Text(f"Exact gradient: {reference_note(result)}", style="dim"))
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
    console.print(Text(summary(result), style=style if result.rows else "bold"))


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
        "summary": summary(result),
        "agrees": result.agrees,
        "reference": reference_note(result),
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

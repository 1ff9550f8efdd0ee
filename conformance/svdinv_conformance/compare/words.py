"""A comparison in words: its columns, its titles, and what was found."""

from __future__ import annotations

import math
import platform

import numpy as np

from ..reference import extended_precision
from .agreement import tie_rtol
from .agreement_matrix import AgreementMatrix
from .methods import EXACT, NATIVE
from .runner import Comparison, Group, Row

__all__ = [
    "COLUMNS",
    "NUMERIC",
    "cells",
    "columns",
    "describe",
    "execution_note",
    "format_error",
    "group_title",
    "matrix_cells",
    "reference_note",
    "sentences",
    "summary",
    "verdict",
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


def reference_note(result: Comparison) -> str:
    """Say what the exact gradients were computed with."""
    if not result.groups:
        return "none was computed"
    if not any(group.extended for group in result.groups):
        return "float64 LAPACK factors, for matrices this large; good to about 1e-13"
    text = "one-sided Jacobi in NumPy's longdouble"
    if extended_precision():
        text += f" ({platform.machine()}: {np.finfo(np.longdouble).nmant + 1} bits of mantissa)"
    else:
        text += ", which is no wider than float64 on this platform"
    if not all(group.extended for group in result.groups):
        large = sorted({group.input.name for group in result.groups if not group.extended})
        text += f"; float64 LAPACK factors for {', '.join(large)}, good to about 1e-13"
    return text


def summary(result: Comparison) -> str:
    """Sum up in plain words, in one paragraph."""
    return " ".join(sentences(result))


def sentences(result: Comparison) -> list[str]:
    """Sum up in plain words, one sentence for each finding, the verdict first."""
    rows = [row for row in result.rows if row.status == "computed"]
    if not rows:
        return ["Nothing was computed: no framework is available for what was asked."]
    parts = []
    at_fault = [row for row in result.rows if row.faults]
    judged = [row for row in rows if row.judged and row.compared]
    names = list(dict.fromkeys(row.framework for row in rows))
    if at_fault:
        first = at_fault[0]
        parts.append(
            f"DISAGREEMENT in {len(at_fault)} of {len(rows)} results, first: {first.method} in "
            f"{first.who}, {first.dtype}: {'; '.join(first.faults)}"
        )
    elif judged:
        worst = max((row for row in judged if row.agreement is not None), key=_by_agreement)
        methods = dict.fromkeys(row.method for row in judged)
        parts.append(
            f"{len(names)} frameworks agree on every judged result "
            f"({len(judged)} results of {', '.join(methods)}; worst difference "
            f"{worst.agreement:.1e}, {worst.method} in {worst.dtype})"
        )
    elif len(names) == 1:
        parts.append(f"Only {names[0]} was computed: there is nothing to agree with")
    else:
        parts.append("No result is judged: at these matrices no rule has a determined answer")

    exact = [r for r in rows if r.method in EXACT.values() and r.error is not None]
    if exact:
        by_dtype: dict[str, float] = {}
        for row in exact:
            by_dtype[row.dtype] = max(by_dtype.get(row.dtype, 0.0), row.error or 0.0)
        operators = " and ".join(dict.fromkeys(r.method for r in exact))
        errors = ", ".join(f"{error:.1e} in {dtype}" for dtype, error in by_dtype.items())
        parts.append(f"{operators}: error at most {errors}")
    for method in dict.fromkeys(row.method for row in rows if row.nonfinite):
        bad = [row for row in rows if row.method == method and row.nonfinite]
        count = sum(row.nonfinite for row in bad)
        where = ", ".join(dict.fromkeys(row.who for row in bad))
        parts.append(f"{method}: {count} non-finite entries in {where}")
    wrong = [r for r in rows if r.method == NATIVE and not r.nonfinite and (r.error or 0) > 1e-3]
    if wrong:
        worst_wrong = max(wrong, key=lambda r: r.error or 0)
        where = ", ".join(dict.fromkeys(row.who for row in wrong))
        parts.append(f"native: finite but wrong in {where} (error up to {worst_wrong.error:.1e})")
    return [part + "." for part in parts]


def _by_agreement(row: Row) -> float:
    return row.agreement or 0.0


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

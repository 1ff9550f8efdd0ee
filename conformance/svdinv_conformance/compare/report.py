"""A comparison in words and tables, for the terminal and as JSON."""

from __future__ import annotations

import dataclasses
import platform
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from ..errors import finite
from ..reference import extended_precision
from ..suite.report import evidence_table
from ..tables import Cell, Table
from .agreement import tie_rtol
from .methods import EXACT, NATIVE, THRESHOLDED
from .pairs import as_table, in_words, largest_differences
from .runner import Comparison, Group, Row

__all__ = [
    "GLOSSARY",
    "as_json",
    "describe",
    "execution_note",
    "format_error",
    "group_title",
    "print_comparison",
    "reference_note",
    "sentences",
    "summary",
    "table",
    "verdict",
]


GLOSSARY = {
    "svt, svdvals": "the library's exact operators, for soft and nuclear. They need no rule.",
    "auto, inv, ...": "rules of the library's svd: what the derivative of the singular vectors "
    "does where two values are (nearly) the same.",
    "native": "the framework's own SVD gradient.",
    "Error": "relative error against the exact gradient at the same, rounded matrix, in the "
    "Frobenius norm, the largest over the batch (under a picture: of the matrix shown). The exact "
    "gradient comes from a Jacobi decomposition in extended precision and shares no code with the "
    "library.",
    "in tau": "the same for the gradient in the threshold (soft); left out of a narrow table.",
    "Agreement": "largest relative difference to another framework or device, for the same "
    "method and type.",
    "NaN/inf": "non-finite entries of the gradient.",
    "ms": "median of one forward and backward pass, without the first. JAX is compiled, the others "
    "run eagerly. Whatever else the machine was doing shows in it.",
    "Verdict": "results are held to a tolerance that grows with how the gaps between the values "
    "amplify rounding. What a tie leaves open is reported, not judged.",
}
"""The words of the table, for the help and for the page."""


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

TEXTS = ("method", "framework", "dtype", "device", "verdict")
"""The columns that are no numbers."""


def _columns(result: Comparison, narrow: bool) -> list[str]:
    """List the columns that tell something; what is the same everywhere goes to the title."""
    shown = list(COLUMNS)
    if len(result.plan.dtypes) == 1:
        shown.remove("dtype")
    if len({row.device for row in result.rows}) <= 1:
        shown.remove("device")
    if narrow or all(row.tau_error is None for row in result.rows):
        shown.remove("tau_error")  # the least needed; JSON has it
    return shown


def _cells(row: Row) -> dict[str, Cell]:
    """Give every column of a row."""
    grade, words = verdict(row)
    kind = {"good": "good", "bad": "bad", "neutral": "soft"}[grade]
    missing = "NaN/inf"

    def number(text: str, flagged: bool = False) -> Cell:
        return Cell(text, "flag" if flagged or text == missing else "")

    return {
        "method": Cell(row.method or "any"),
        "framework": Cell(row.framework),
        "dtype": Cell(row.dtype),
        "device": Cell(row.device),
        "error": number(_error(row)),
        "tau_error": number(format_error(row.tau_error)),
        "agreement": number(_agreement(row)),
        "nonfinite": number(str(row.nonfinite) if row.status == "computed" else "-",
                            bool(row.nonfinite)),
        "time": number(_format_time(row.milliseconds)),
        "verdict": Cell(words, kind),
    }  # fmt: skip


def table(rows: list[Row], result: Comparison, narrow: bool = False) -> Table:
    """The table of some rows of a comparison.

    Parameters
    ----------
    rows
        Of a group, or those that are missing.
    result
        What they are of, which says which columns tell something.
    narrow
        Whether to leave out the least important column.
    """
    shown = _columns(result, narrow)
    return Table(
        [COLUMNS[key] for key in shown],
        [[cells[key] for key in shown] for cells in map(_cells, rows)],
        texts=[i for i, key in enumerate(shown) if key in TEXTS],
        wrapped=(-1,),
        grouped=True,
    )


def group_title(group: Group, result: Comparison) -> str:
    """Name an input and a loss, and what is the same in all its rows."""
    plan = result.plan
    title = f"{group.input.name}, {group.loss}"
    if group.loss in THRESHOLDED:
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
    if not group.problems:
        return text
    dtype, problem = next(iter(group.problems.items()))
    s = problem.factors.S
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
    problems = [(g.input.name, p) for g in result.groups for p in g.problems.values()]
    large = sorted({name for name, problem in problems if not problem.factors.extended})
    if large and len(large) == len({name for name, _ in problems}):
        return "float64 LAPACK factors, for matrices this large; good to about 1e-13"
    text = "one-sided Jacobi in NumPy's longdouble"
    if extended_precision():
        text += f" ({platform.machine()}: {np.finfo(np.longdouble).nmant + 1} bits of mantissa)"
    else:
        text += ", which is no wider than float64 on this platform"
    if large:
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


def print_comparison(result: Comparison, console: Console) -> None:
    """Print the tables, all as wide, and the summary."""
    everything = [*result.rows, *result.missing]
    narrow = False
    for narrow in (False, True):
        whole = table(everything, result, narrow)
        widths = [whole.width(i) for i in range(len(whole.head))]
        if sum(widths) + 2 * len(widths) <= console.width:
            break
    left = console.width - sum(widths[:-1]) - 2 * len(widths)
    widths[-1] = max(18, min(widths[-1], left))

    def show(rows: list[Row], title: str, note: str = "") -> None:
        made = table(rows, result, narrow)
        dataclasses.replace(made, title=title, note=note, widths=widths).print(console)

    console.print(Text(f"Exact gradient: {reference_note(result)}", style="dim"))
    console.print(Text(f"Frameworks: {execution_note(result)}", style="dim"))
    console.print()
    for group in result.groups:
        show(group.rows, group_title(group, result), describe(group))
    if result.missing:
        show(result.missing, "Not available here")
    if result.evidence:
        evidence_table(result.evidence).print(console)
    differences = largest_differences(result)
    if differences:
        as_table(differences).print(console)
        console.print(Text(in_words(differences)))
    style = "bold green" if result.agrees and result.rows else "bold red"
    console.print(Text(summary(result), style=style if result.rows else "bold"))


# --- JSON ----------------------------------------------------------------------------------------


def _row_as_json(row: Row) -> dict[str, Any]:
    grade, words = verdict(row)
    left_out = ("gradient", "tau_gradient", "compared", "excuse")
    plain = {k: v for k, v in vars(row).items() if k not in left_out}
    numbers = ("error", "tau_error", "agreement", "tolerance", "milliseconds")
    return {
        **plain,
        **{name: plain[name] or None for name in ("method", "dtype", "undefined")},
        **{name: finite(plain[name]) for name in numbers},
        "judged": row.judged,
        "not_judged_because": row.excuse or None,
        "grade": grade,
        "verdict": words,
    }


def as_json(result: Comparison) -> dict[str, Any]:
    """Turn a comparison into plain data: lists, dictionaries, numbers, None for non-finite."""
    plan = {k: list(v) if isinstance(v, list | tuple) else v for k, v in vars(result.plan).items()}
    del plan["inputs"]
    return {
        "format": 1,
        "summary": summary(result),
        "agrees": result.agrees,
        "reference": reference_note(result),
        "platform": {"python": platform.python_version(), "machine": platform.machine()},
        "versions": {"numpy": np.__version__, **result.versions},
        "execution": result.execution,
        "plan": plan,
        "groups": [
            {
                "case": group.input.name,
                "description": group.input.description,
                "shape": list(group.input.shape),
                "loss": group.loss,
                "extended_reference": all(p.factors.extended for p in group.problems.values()),
                "rows": [_row_as_json(row) for row in group.rows],
            }
            for group in result.groups
        ],
        "agreement_matrix": [
            {
                "between": list(pair),
                "difference": finite(found.difference),
                "tolerance": finite(found.tolerance),
                "where": found.where,
            }
            for pair, found in largest_differences(result).items()
        ],
        "evidence": [dataclasses.asdict(item) for item in result.evidence],
        "missing": [
            {"framework": row.framework, "device": row.device, "reason": row.note}
            for row in result.missing
        ],
    }

"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frameworks import UnavailableError, load
from ..style import html_page
from ..suite.page import evidence_section
from .methods import EXACT, NATIVE
from .pairs import as_table, in_words, largest_differences
from .plots import difference_image, gap_plot, gradient_image, matrix_image
from .report import (
    GLOSSARY,
    describe,
    execution_note,
    format_error,
    group_title,
    reference_note,
    sentences,
    table,
)
from .runner import Comparison, Group
from .sweep import DRAWS, SIZE, sweep

__all__ = ["write_page"]


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}">'


def _first_matrix(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array.reshape(-1, *array.shape[-2:])[0])


def _pictures(group: Group, dtype: str) -> str:
    """Show the gradients of a group, one method a picture, of the first matrix of the batch."""
    exact = _first_matrix(group.problems[dtype].exact.x)
    limit = float(np.quantile(np.abs(exact.real), 0.995))
    limit = limit if limit > 0 else 1.0
    x = group.input.matrices(dtype)
    if x is None:
        return ""
    figures = [
        _figure(
            [matrix_image(_first_matrix(x)), gradient_image(exact, limit)],
            "exact gradient",
            "left: the matrix (magnitude)",
        ),
    ]
    seen: set[str] = set()
    for row in group.rows:
        if row.gradient is None or row.dtype != dtype or row.device != _device(group):
            continue
        if row.method != NATIVE and row.method in seen:
            continue  # one framework stands for the library; the table says that they agree
        seen.add(row.method)
        gradient = _first_matrix(row.gradient)
        bad = int(np.sum(~np.isfinite(gradient)))
        name = f"native {row.framework}" if row.method == NATIVE else row.method
        if bad:
            note = f'<span class="flag">{bad} of {gradient.size} entries not finite</span>'
        else:
            wide = gradient.astype(exact.dtype)
            scale = float(np.linalg.norm(exact.astype(np.complex128))) or 1.0
            error = float(np.linalg.norm((wide - exact).astype(np.complex128))) / scale
            note = f"error {format_error(error)}"
        if row.method != NATIVE:
            note += f", {escape(row.framework)}"
        pair = [gradient_image(gradient, limit), difference_image(gradient, exact, limit)]
        figures.append(_figure(pair, name, note))
    return f'<div class="card pictures">{"".join(figures)}</div>'


def _device(group: Group) -> str:
    return next((row.device for row in group.rows if row.gradient is not None), "cpu")


def _figure(pngs: list[bytes], name: str, note: str) -> str:
    images = "".join(_image(png, name) for png in pngs)
    return (
        f'<figure><div class="pair">{images}</div><figcaption><b>{escape(name)}</b> '
        f'<span class="soft">{note}</span></figcaption></figure>'
    )


def _pairs(result: Comparison) -> str:
    """The largest difference of each two, and where the worst one is."""
    differences = largest_differences(result)
    if not differences:
        return ""
    found = as_table(differences)
    return f"<h2>{found.title}</h2><p>{escape(in_words(differences))}</p>{found.html()}"


def _sweeps(result: Comparison, tell: Callable[[str], None] | None) -> str:
    frameworks = {}
    for name in result.versions:
        with suppress(UnavailableError):
            frameworks[name] = load(name, "cpu")
    if not frameworks:
        return ""
    figures = []
    for loss in result.plan.losses:
        if loss == "nuclear":
            continue  # no rule divides by a gap for a loss of the values alone
        for dtype in result.plan.dtypes:
            curve = sweep(loss, dtype, result.plan.methods, frameworks, tell)
            if not curve.errors:
                continue
            title = f"Error against gap, {loss}, {dtype}"
            figures.append(f"<figure>{_image(gap_plot(curve), title)}</figure>")
    if not figures:
        return ""
    first = next(iter(frameworks))
    return (
        "<h2>Error as two values approach each other</h2>"
        f"<p>{SIZE}&times;{SIZE} matrices with random factors, one pair of values at the given "
        f"distance, the median of {DRAWS} draws. Rules are shown as computed in "
        f"{escape(first)}; an X near the upper edge means that at least one gradient is not finite."
        " (LAPACK finds the two values of a true tie bit for bit equal only now and then.)</p>"
        f'<div class="plots">{"".join(figures)}</div>'
    )


def write_page(
    result: Comparison, path: str | Path, tell: Callable[[str], None] | None = None
) -> None:
    """Write a comparison as a page without any outside reference.

    Parameters
    ----------
    result
        The comparison.
    path
        The file.
    tell
        Called with the name of the next picture.
    """
    parts = []
    for group in result.groups:
        parts.append(f"<h2>{escape(group_title(group, result))}</h2>")
        parts.append(f'<p class="soft">{escape(describe(group))}</p>')
        for dtype in group.problems:
            if any(row.gradient is not None and row.dtype == dtype for row in group.rows):
                parts.append(_pictures(group, dtype))
        parts.append(table(group.rows, result).html())
    parts.append(_pairs(result))
    if result.missing:
        parts.append("<h2>Not available here</h2><dl>")
        parts += [
            f"<dt>{escape(row.framework)}, {escape(row.device)}</dt><dd>{escape(row.note)}</dd>"
            for row in result.missing
        ]
        parts.append("</dl>")
    parts.append(evidence_section(result.evidence))
    sweeps = _sweeps(result, tell)
    found = "".join(f"<p>{escape(s)}</p>" for s in sentences(result))
    grade = "" if result.agrees else " bad"
    glossary = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in GLOSSARY.items())
    pictures = (
        '<p class="soft">Each pair of pictures is a gradient (left) and its distance from the '
        "exact one (right), for the first matrix of the batch (of a photograph: the red channel). "
        "Gradient, real part, all on one scale: "
        '<span class="key signed"></span>negative to positive. Distance, in decades of the '
        'gradient: <span class="key decades"></span>from 1e-16 to 1. '
        '<span class="key nonfinite"></span>not finite.</p>'
        if any(group.problems for group in result.groups)
        else ""
    )
    exact = " and ".join(dict.fromkeys(EXACT[x] for x in result.plan.losses if x in EXACT))
    subtitle = (
        "The same matrices and the same loss in every framework, with every gradient rule"
        + (f" and with the exact {escape(exact)}." if exact else ".")
    )
    top = f"""\
<h1>Gradients through the singular value decomposition, compared</h1>
<p class="soft">{subtitle}</p>
<div class="summary{grade}">{found}</div>"""
    main = f"""\
{pictures}
{"".join(parts)}
{sweeps}
<h2>How to read this</h2>
<dl>{glossary}</dl>
<footer>Exact gradient: {escape(reference_note(result))}.<br>
Frameworks: {escape(execution_note(result))}.</footer>"""
    whole = html_page("svdinv: gradients through the SVD, compared", top, main)
    Path(path).write_text(whole, encoding="utf-8")

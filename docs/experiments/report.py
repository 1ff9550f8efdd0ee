"""The result page ``docs/experiments.md`` and its figures, from the result files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from svdinv.rules import rule_names

from . import colour_tables, dynamic_tables, figures, results, table1, training
from .lowrank import low_rank_names
from .tables import NOT_RUN, Result, mean, short, table, text

__all__ = ["draw", "page"]

_UNGUARDED = ("native", "svd-plain")


def page(folder: Path) -> str:
    """The page as Markdown, from the result files of a folder."""

    def found(experiment: str) -> dict[str, dict[str, Any]]:
        return results.read_all(folder, experiment)

    colour, colour_classical = found("colour"), found("colour-classical")
    dynamic, dynamic_classical = found("dynamic"), found("dynamic-classical")
    filled = text(
        "page",
        summary=_summary(colour, dynamic, dynamic_classical, found("stress")),
        table1=_table1(found("table1")),
        colour_data=colour_tables.data(colour),
        colour=colour_tables.by_ratio(colour, colour_classical),
        solver=colour_tables.solver(colour_classical),
        tested=colour_tables.long_runs(colour),
        each=colour_tables.by_image(colour),
        runs=colour_tables.gradient_runs(colour),
        gradients=colour_tables.gradient_errors(found("gradients")),
        mri=dynamic_tables.trained(dynamic),
        dynamic=dynamic_tables.by_mask(dynamic, dynamic_classical),
        phase=dynamic_tables.phase(dynamic_classical),
        stress=_stress(found("stress")),
        ports=_ports(found("ports")),
    )
    return filled + "\n"


def _summary(
    colour: Mapping[str, Result],
    dynamic: Mapping[str, Result],
    classical: Mapping[str, Result],
    stress: Mapping[str, Result],
) -> str:
    """What came out of each experiment, in a line each."""
    rows = []
    for method in ("svt", "svd-inv"):
        name = method.removeprefix("svd-")
        best = colour_tables.best(colour, method, 0.4)
        found = NOT_RUN
        if best is not None:
            ours = mean(best, "psnr")
            found = f"{ours:.2f} dB, {ours - colour_tables.PAPER[0.4]:+.2f} against the paper's"
            found += f" ({colour_tables.steps(best, colour)})"
        rows.append([f"`{name}` network, 40 % of the pixels, PSNR", found])
    rules = [
        r
        for r in colour.values()
        if r["settings"]["method"] not in _UNGUARDED
        and r["settings"]["batch"] >= 32
        and r["training"]["steps_done"] >= 2000
    ]
    names = ", ".join(sorted({f"`{short(r)}`" for r in rules}))
    bad = sum(r["training"]["nonfinite_gradients"] for r in rules)
    rows.append(
        [
            "gradients not finite in 2,000 steps at batch 32, guarded rules and `svt`",
            f"{bad} ({names})" if rules else NOT_RUN,
        ]
    )
    native = [r for r in colour.values() if r["settings"]["method"] == "native"]
    steps = ", ".join(
        f"{r['training']['first_nonfinite_step']} (batch {r['settings']['batch']}, "
        f"{r['settings']['iterations']} iterations)"
        for r in native
    )
    rows.append(["the first step whose native gradient is not finite", steps or NOT_RUN])
    for label, guarded in (("`svt` and guarded rules", True), ("native", False)):
        runs = [
            r
            for r in stress.values()
            if (r["settings"]["method"] not in _UNGUARDED if guarded else short(r) == "native")
        ]
        bad = sum(r["training"]["nonfinite_gradients"] for r in runs)
        total = sum(r["training"]["steps_done"] for r in runs)
        names = ", ".join(sorted(f"`{short(r)}`" for r in runs))
        found = f"{bad} in {total:,} steps ({names})" if runs else NOT_RUN
        rows.append([f"gradients not finite with ties in every batch, {label}", found])
    zero = {r["mask"]: mean(r, "zero-filled", "psnr") for r in classical.values()}
    for mask in ("radial-16", "vds-8", "vista-8"):
        runs = [
            r
            for r in dynamic.values()
            if r["mask"] == mask and mask in zero and r.get("mean") and short(r) == "svt"
        ]
        found = NOT_RUN
        if runs:
            found = f"{mean(dynamic_tables.longest(dynamic, runs[0]), 'psnr') - zero[mask]:+.2f} dB"
        rows.append([f"dynamic MRI, {mask}, `svt` network over zero-filled", found])
    return table(["what", "found"], rows)


def _table1(found: Mapping[str, Result]) -> str:
    if "table1" not in found:
        return NOT_RUN
    result = found["table1"]
    rows = [row for row in result["rows"] if row["factors"] == "orthogonal"]
    methods = list(rows[0]["errors"])

    def errors(reference: str, chosen: Sequence[str]) -> str:
        head = ["method", *(f"case {row['case']}, workflow {row['workflow']}" for row in rows)]
        body = [[_marked(m), *(_sum(row["errors"][m], reference) for row in rows)] for m in chosen]
        paper = [
            [f"*the paper: `{m}`*", *(f"*{row['paper'][m]:g}*" for row in rows)]
            for m in ("tf", "clip", "taylor", "inv")
        ]
        return table(head, [*body, *(paper if reference == "label" else [])])

    plain = [row for row in result["rows"] if row["factors"] == "identity"]
    nonfinite, rounding = set(), 0.0
    for row in plain:
        for method, error in row["errors"].items():
            if error["exact"] is None or error["nonfinite"]:
                nonfinite.add(method)
            else:
                rounding = max(rounding, error["exact"])
    left_out = f"{rows[0]['matrices']}, {rows[1]['matrices']} and {rows[2]['matrices']}"
    return text(
        "page_table1",
        count=result["count"],
        seed=result["seed"],
        left_out=left_out,
        cut=table1.CUT,
        rounding=rounding,
        nonfinite=", ".join(_marked(m) for m in sorted(nonfinite)),
        exact=errors("exact", methods),
        label=errors("label", [m for m in methods if m != table1.LABEL]),
    )


def _marked(method: str) -> str:
    """Rules as code."""
    return f"`{method}`" if method in rule_names() else method


def _sum(error: Mapping[str, Any], reference: str) -> str:
    if error[reference] is None:
        return "not finite"
    bad = f" ({error['nonfinite']} not finite)" if error["nonfinite"] else ""
    return f"{error[reference]:.2g}{bad}"


def _stress(found: Mapping[str, Result]) -> str:
    order = {name: i for i, name in enumerate(low_rank_names())}
    rows = []
    for r in sorted(found.values(), key=lambda r: order.get(r["settings"]["method"], 99)):
        t = r["training"]
        loss = [x for x in t["loss"] if x is not None]
        rows.append(
            [
                f"`{short(r)}`",
                str(t["steps_done"]),
                str(t["nonfinite_gradients"]),
                f"{t['largest_gradient']:.2g}",
                str(t["matrices_with_bit_equal_values"]),
                f"{loss[0]:.2g}",
                f"{loss[-1]:.2g}",
            ]
        )
    head = [
        "low-rank step",
        "steps",
        "gradients not finite",
        "largest gradient",
        "matrices seen with bit-equal values",
        "first loss",
        "last loss",
    ]
    return table(head, rows) if rows else NOT_RUN


def _ports(found: Mapping[str, Result]) -> str:
    if "ports" not in found:
        return NOT_RUN
    r = found["ports"]
    last = ", ".join(f"{name} {np.mean(curve[-20:]):.5f}" for name, curve in r["loss"].items())
    return text(
        "page_ports",
        **r["settings"],
        data=r["data"]["training"],
        ratio=r["ratio"],
        last=last,
        difference=r["difference"],
    )


def draw(folder: Path, images: Path) -> list[Path]:
    """Write the figures that the result files are enough for; return their paths."""
    written = []

    def save(figure: Any, name: str) -> None:
        figures.save(figure, images / name)
        written.append(images / name)

    one = results.read_all(folder, "table1")
    if "table1" in one:
        save(figures.gap_figure(one["table1"]["curves"]), "experiments_gap.png")
    runs = results.read_all(folder, "colour")
    rules = {
        r["settings"]["method"]: r["training"]["loss"]
        for name, r in runs.items()
        if name.startswith("rules-") and r["settings"]["seed"] == training.SEED
    }
    if rules:
        ordered = {m: rules[m] for m in low_rank_names() if m in rules}
        some = next(r for name, r in runs.items() if name.startswith("rules-"))
        s = some["settings"]
        title = (
            f"{s['iterations']} iterations, batch {s['batch']}, {s['side']} by {s['side']} pixels"
        )
        save(figures.loss_figure(ordered, 10, title), "experiments_rules.png")
    long = {
        f"{r['settings']['method']}, rate {r['settings']['rate']:g}": r["training"]["loss"]
        for name, r in runs.items()
        if r["ratio"] == 0.4 and name.startswith("colour-") and not r["settings"]["started_from"]
    }
    if long:
        save(figures.loss_figure(long, 10, "40 %, 10 iterations", 20), "experiments_long.png")
    ports = results.read_all(folder, "ports")
    if "ports" in ports:
        save(figures.loss_figure(ports["ports"]["loss"], 1, "", 10), "experiments_ports.png")
    return written

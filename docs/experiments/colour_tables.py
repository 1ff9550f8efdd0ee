"""The tables of the colour experiment, from its result files by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import solvers
from .compressive import RATIOS
from .lowrank import low_rank_names
from .tables import NOT_RUN, Result, db, lineage, mean, short, table, total_steps

__all__ = [
    "PAPER",
    "best",
    "by_image",
    "by_ratio",
    "data",
    "gradient_errors",
    "gradient_runs",
    "jump",
    "long_runs",
    "solver",
    "steps",
]

PAPER = {0.04: 22.072, 0.1: 25.426, 0.3: 30.952, 0.4: 32.795, 0.5: 34.768}
"""PSNR of SVD-inv in the paper's Table 2, dB."""


def by_ratio(found: Mapping[str, Result], classical: Mapping[str, Result]) -> str:
    """The longest runs by the share of known pixels, beside the untrained solver."""
    solved = {r["ratio"]: r for r in classical.values()}
    names = {"admm": "ADMM"}
    ran = [s for s in solvers.SOLVERS if any(mean(r, s, "psnr") for r in solved.values())]
    rows = []
    for ratio in RATIOS:
        svt, inv = best(found, "svt", ratio), best(found, "svd-inv", ratio)
        ours = mean(svt, "psnr")
        gap = "" if ours is None else f"{ours - PAPER[ratio]:+.2f}"
        rows.append(
            [
                f"{ratio:.0%}",
                *(db(mean(solved.get(ratio), s, "psnr")) for s in ("sampled", *ran)),
                db(ours),
                "" if svt is None else f"{mean(svt, 'ssim'):.3f}",
                "" if svt is None else f"{mean(svt, 'mse') * 1e3:.2f}",
                "" if svt is None else steps(svt, found),
                db(mean(inv, "psnr")),
                "" if inv is None else steps(inv, found),
                f"{PAPER[ratio]:.2f}",
                gap,
            ]
        )
    head = [
        "known",
        "sampled",
        *(names.get(s, s) for s in ran),
        "`svt` network",
        "SSIM",
        "MSE, 1e-3",
        "steps",
        "`inv` network",
        "steps",
        "paper's SVD-inv",
        "`svt` against the paper",
    ]
    return table(head, rows)


def steps(result: Result, found: Mapping[str, Result]) -> str:
    (_, last), *before = lineage(result, found, lambda r: f"`{short(r)}` at {r['ratio']:.0%}")
    s = result["settings"]
    rate = "rate" if last == result["training"]["steps_done"] else "last rate"
    start = "".join(f", after {steps} with {network}" for network, steps in before)
    return f"{last} of batch {s['batch']}, {rate} {s['rate']:g}{start}"


def by_image(found: Mapping[str, Result]) -> str:
    """PSNR, SSIM and MSE of every image at 40 %."""
    longest = (best(found, method, 0.4) for method in ("svt", "svd-inv"))
    columns = [r for r in longest if r is not None]
    if not columns:
        return NOT_RUN
    head = ["image"]
    for r in columns:
        head += [f"`{short(r)}`: PSNR, dB", "SSIM", "MSE, 1e-3"]
    rows = []
    for image in columns[0]["test"]:
        row = [image]
        for r in columns:
            t = r["test"][image]
            row += [f"{t['psnr']:.2f}", f"{t['ssim']:.3f}", f"{1e3 * t['mse']:.2f}"]
        rows.append(row)
    return table(head, rows)


_JUMP = 5.0
"""A loss so many times the least before it, means over `loss_every` steps, is a jump."""


def jump(training: Mapping[str, Any]) -> str:
    """The first step around which the loss jumped, and how it did."""
    least = None
    for number, loss in enumerate(training["loss"]):
        if loss is None:
            continue
        if least is not None and loss > _JUMP * least:
            highest = max(x for x in training["loss"][number:] if x is not None)
            step = number * training["loss_every"]
            return f"about {step}: from {least:.2g} to {highest:.2g}"
        least = loss if least is None else min(least, loss)
    return "no"


def _unfinished(result: Result) -> str:
    done, wanted = result["training"]["steps_done"], result["settings"]["steps"]
    return "" if done == wanted else f" (of {wanted} planned)"


def long_runs(found: Mapping[str, Result]) -> str:
    """Every long run at 40 %, and those that went on from one."""
    rows = [
        [
            f"`{short(r)}`",
            steps(r, found) + _unfinished(r),
            f"{r['settings']['iterations']}",
            f"{r['training']['nonfinite_gradients']}",
            f"{r['training']['largest_gradient']:.2g}",
            jump(r["training"]),
            db(mean(r, "psnr")) if r.get("mean") else "not tested",
            f"{mean(r, 'psnr') - PAPER[0.4]:+.2f}" if r.get("mean") else "",
        ]
        for name, r in found.items()
        if r["ratio"] == 0.4 and name.startswith("colour-")
    ]
    head = [
        "low-rank step",
        "steps",
        "iterations",
        "gradients not finite",
        "largest gradient",
        "the loss jumped at step",
        "PSNR",
        "against the paper",
    ]
    return table(head, rows) if rows else NOT_RUN


def gradient_runs(found: Mapping[str, Result]) -> str:
    """What every training did to its gradient."""
    head = [
        "low-rank step",
        "network",
        "batch",
        "steps",
        "gradients not finite",
        "the first at step",
        "largest gradient",
        "smallest relative gap",
        "last loss",
    ]
    rows = []
    order = {name: i for i, name in enumerate(low_rank_names())}
    chosen = [r for r in found.values() if not r["settings"].get("started_from")]
    for r in sorted(chosen, key=lambda r: order.get(r["settings"]["method"], 99)):
        s, t = r["settings"], r["training"]
        side = s.get("side", 32)
        loss = [x for x in t["loss"] if x is not None]
        rows.append(
            [
                f"`{short(r)}`",
                f"{s['iterations']} iterations, {side} by {side}, {r['ratio']:.0%}",
                str(s["batch"]),
                str(t["steps_done"]),
                str(t["nonfinite_gradients"]),
                str(t["first_nonfinite_step"] or ""),
                f"{t['largest_gradient']:.2g}",
                "" if t["smallest_relative_gap"] is None else f"{t['smallest_relative_gap']:.1e}",
                f"{np.mean(loss[-10:]):.5f}" if t["steps_done"] == s["steps"] else "stopped",
            ]
        )
    return table(head, rows) if rows else NOT_RUN


def gradient_errors(found: Mapping[str, Result]) -> str:
    """Error of every low-rank step's gradient at a network's weights."""
    if "gradients" not in found:
        return NOT_RUN
    r = found["gradients"]
    s = r["settings"]
    rows = []
    for method, errors in r["errors"].items():
        finite = [e for e in errors if e is not None]
        rows.append(
            [
                f"`{method.removeprefix('svd-')}`",
                str(len(errors) - len(finite)),
                f"{np.median(finite):.1e}" if finite else "",
                f"{max(finite):.1e}" if finite else "",
            ]
        )
    which = f"Weights of {s['weights_of']}" if s["weights_of"] else "First weights"
    head = ["low-rank step", "not finite", "median error", "largest error"]
    batches = f"{s['batches']} batches of {s['batch']} images ({r['data']['training']})"
    return f"{which}, {batches}.\n\n{table(head, rows)}"


def best(found: Mapping[str, Result], method: str, ratio: float) -> Result | None:
    """The longest tested run, with those before it; of two as long, the better."""
    tested = [
        r
        for r in found.values()
        if r["settings"]["method"] == method and r["ratio"] == ratio and r.get("mean")
    ]
    return max(tested, key=lambda r: (total_steps(r, found), mean(r, "psnr")), default=None)


def data(found: Mapping[str, Result]) -> str:
    """What the tested networks were trained and tested on."""
    seen: dict[str, None] = {}
    for r in found.values():
        if r.get("mean") is not None and "training" in r["data"]:
            test = f", tested on {r['data']['test']}" if r["test"] else ""
            seen.setdefault(f"{r['data']['training']}{test}")
    return "; ".join(seen) or NOT_RUN


def solver(classical: Mapping[str, Result]) -> str:
    """What the untrained solvers were told."""
    told = {r["ratio"]: r["settings"] for r in classical.values()}
    if not told:
        return ""
    chosen = ", ".join(f"{s['weight']:g} at {ratio:.0%}" for ratio, s in sorted(told.items()))
    return f"The solvers took {next(iter(told.values()))['steps']} steps; lambda {chosen}."

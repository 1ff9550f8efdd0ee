"""The result page ``docs/experiments.md`` and its figures, from the result files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import figures, results, solvers, table1, training
from .compressive import RATIOS
from .lowrank import low_rank_names
from .masks import MRI_MASKS

__all__ = ["draw", "page"]

Result = Mapping[str, Any]

PAPER_COLOUR = {0.04: 22.072, 0.1: 25.426, 0.3: 30.952, 0.4: 32.795, 0.5: 34.768}
"""PSNR of SVD-inv in the paper's Table 2, dB."""
PAPER_DYNAMIC = {
    "radial-16": 40.569,
    "radial-30": 42.886,
    "vds-8": 40.597,
    "vista-8": 37.142,
    "vista-12": 26.833,
}
"""PSNR of SVD-inv in the paper's Table 3, dB, on other data."""

_NOT_RUN = "not run"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sum(error: Mapping[str, Any], reference: str) -> str:
    if error[reference] is None:
        return "not finite"
    bad = f" ({error['nonfinite']} not finite)" if error["nonfinite"] else ""
    return f"{error[reference]:.2g}{bad}"


def _table1(found: Mapping[str, Result]) -> str:
    if "table1" not in found:
        return _NOT_RUN
    result = found["table1"]
    rows = [row for row in result["rows"] if row["factors"] == "orthogonal"]
    methods = list(rows[0]["errors"])

    def table(reference: str, chosen: Sequence[str]) -> str:
        head = ["method", *(f"case {row['case']}, workflow {row['workflow']}" for row in rows)]
        body = [
            [f"`{m}`" if m in _RULES else m, *(_sum(row["errors"][m], reference) for row in rows)]
            for m in chosen
        ]
        paper = [
            [f"*the paper: `{m}`*", *(f"*{row['paper'][m]:g}*" for row in rows)]
            for m in ("tf", "clip", "taylor", "inv")
        ]
        return _table(head, [*body, *(paper if reference == "label" else [])])

    plain = [row for row in result["rows"] if row["factors"] == "identity"]
    nonfinite, rounded = set(), 0.0
    for row in plain:
        for method, error in row["errors"].items():
            if error["exact"] is None or error["nonfinite"]:
                nonfinite.add(method)
            else:
                rounded = max(rounded, error["exact"])
    nonzero = sorted(nonfinite)
    left_out = f"{rows[0]['matrices']}, {rows[1]['matrices']} and {rows[2]['matrices']}"
    return f"""\
{result["count"]} matrices a case, seed {result["seed"]}; {left_out} of them in the three workflows
(nothing, hard threshold, soft threshold), since for the thresholds draws are left out whose cut
falls between two values closer than {table1.CUT:g} of the largest. The figure is the paper's: the
mean squared error of the gradient over the entries, added up over the matrices; single precision.

**As described, with U₀ = V₀ = I**, the matrix is diagonal, its decomposition a permutation, and the
error of every method is zero or rounding, {rounded:.1g} at most, but for those whose
gradient is not finite: {", ".join(f"`{m}`" if m in _RULES else m for m in nonzero)}. The paper's
figures do not come out of this set-up.

**With random orthogonal factors**, against the exact gradient in extended precision:

{table("exact", methods)}

and against the paper's label, `torch.linalg.svd` in double precision, where that is finite:

{table("label", [m for m in methods if m != table1.LABEL])}

The label is the last line of the first table: at a gap of 1e-15 double precision has lost what it
should teach, and no method can come closer to it than it is to the truth. Against the exact
gradient `inv` is exact but for rounding where the workflow is a multiple of the identity on the
pair (nothing, hard threshold), and off in the third, where `fit` and the exact operators are not.
The paper's own criterion for a tie finds few of these, and in case 2, at a scale of 1e-18, it takes
nearly every pair for a tie.

![Error of the gradient against the gap, for the three workflows](images/experiments_gap.png)

*The same matrices at scale 1 for every gap: the median error relative to the gradient's norm. Where
a line is missing the gradient of at least one matrix is not finite.*"""


_RULES = {name.removeprefix("svd-") for name in low_rank_names()}


def _db(value: float | None) -> str:
    return _NOT_RUN if value is None else f"{value:.2f}"


def _mean(result: Result | None, *keys: str) -> Any:
    value: Any = result and result.get("mean")
    for key in keys:
        value = value and value.get(key)
    return value


def _colour_table(found: Mapping[str, Result], classical: Mapping[str, Result]) -> str:
    solved = {r["ratio"]: r for r in classical.values()}
    names = {"admm": "ADMM"}
    ran = [s for s in solvers.SOLVERS if any(_mean(r, s, "psnr") for r in solved.values())]
    rows = []
    for ratio in RATIOS:
        svt, inv = _best(found, "svt", ratio), _best(found, "svd-inv", ratio)
        ours = _mean(svt, "psnr")
        gap = "" if ours is None else f"{ours - PAPER_COLOUR[ratio]:+.2f}"
        rows.append(
            [
                f"{ratio:.0%}",
                *(_db(_mean(solved.get(ratio), s, "psnr")) for s in ("sampled", *ran)),
                _db(ours),
                "" if svt is None else f"{_mean(svt, 'ssim'):.3f}",
                "" if svt is None else f"{_mean(svt, 'mse') * 1e3:.2f}",
                "" if svt is None else _steps(svt, found),
                _db(_mean(inv, "psnr")),
                "" if inv is None else _steps(inv, found),
                f"{PAPER_COLOUR[ratio]:.2f}",
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
    return _table(head, rows)


def _lineage(
    result: Result, found: Mapping[str, Result], kind: Callable[[Result], str]
) -> list[tuple[str, int]]:
    """Steps of a run and of those whose weights it began with, latest first, by their kind."""
    runs: list[tuple[str, int]] = []
    current: Result | None = result
    while current is not None:
        steps = current["training"]["steps_done"]
        if runs and runs[-1][0] == kind(current):
            steps += runs.pop()[1]
        runs.append((kind(current), steps))
        current = found.get(current["settings"].get("started_from") or "")
    return runs


def _steps(result: Result, found: Mapping[str, Result]) -> str:
    (_, last), *before = _lineage(result, found, lambda r: f"`{_short(r)}` at {r['ratio']:.0%}")
    s = result["settings"]
    rate = "rate" if last == result["training"]["steps_done"] else "last rate"
    start = "".join(f", after {steps} with {network}" for network, steps in before)
    return f"{last} of batch {s['batch']}, {rate} {s['rate']:g}{start}"


def _each(found: Mapping[str, Result]) -> str:
    """PSNR, SSIM and MSE of every image at 40 %."""
    best = [_best(found, method, 0.4) for method in ("svt", "svd-inv")]
    columns = [r for r in best if r is not None]
    if not columns:
        return _NOT_RUN
    head = ["image"]
    for r in columns:
        head += [f"`{_short(r)}`: PSNR, dB", "SSIM", "MSE, 1e-3"]
    rows = []
    for image in columns[0]["test"]:
        row = [image]
        for r in columns:
            t = r["test"][image]
            row += [f"{t['psnr']:.2f}", f"{t['ssim']:.3f}", f"{1e3 * t['mse']:.2f}"]
        rows.append(row)
    return _table(head, rows)


_JUMP = 5.0
"""A loss so many times the least before it, means over `loss_every` steps, is a jump."""


def _jump(training: Mapping[str, Any]) -> str:
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


def _all_tested(found: Mapping[str, Result]) -> str:
    """Every long run at 40 %, and those that went on from one."""
    rows = [
        [
            f"`{_short(r)}`",
            _steps(r, found) + _unfinished(r),
            f"{r['settings']['iterations']}",
            f"{r['training']['nonfinite_gradients']}",
            f"{r['training']['largest_gradient']:.2g}",
            _jump(r["training"]),
            _db(_mean(r, "psnr")) if r.get("mean") else "not tested",
            f"{_mean(r, 'psnr') - PAPER_COLOUR[0.4]:+.2f}" if r.get("mean") else "",
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
    return _table(head, rows) if rows else _NOT_RUN


def _runs(found: Mapping[str, Result]) -> str:
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
                f"`{_short(r)}`",
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
    return _table(head, rows) if rows else _NOT_RUN


def _gradients(found: Mapping[str, Result]) -> str:
    if "gradients" not in found:
        return _NOT_RUN
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
    table = _table(["low-rank step", "not finite", "median error", "largest error"], rows)
    batches = f"{s['batches']} batches of {s['batch']} images ({r['data']['training']})"
    return f"{which}, {batches}.\n\n{table}"


def _dynamic_table(found: Mapping[str, Result], classical: Mapping[str, Result]) -> str:
    solved = {r["mask"]: r for r in classical.values()}
    nets = [r for r in found.values() if r.get("mean") and r is _longest(found, r)]
    rows = []
    for mask in MRI_MASKS:
        base = solved.get(mask)
        zero = _mean(base, "zero-filled", "psnr")
        for r in nets:
            if r["mask"] == mask:
                ours = _mean(r, "psnr")
                rows.append(
                    [
                        mask,
                        _db(zero),
                        *(_db(_mean(base, s, "psnr")) for s in solvers.SOLVERS),
                        f"`{_short(r)}`",
                        _db(ours),
                        f"{_mean(r, 'ssim'):.3f}",
                        f"{1e5 * _mean(r, 'mse'):.1f}",
                        "" if zero is None else f"{ours - zero:+.2f}",
                        "" if base is None else f"{ours - _mean(base, 'admm', 'psnr'):+.2f}",
                        _cuts(r),
                        _dynamic_steps(r, found),
                        str(r["training"]["nonfinite_gradients"]),
                        f"{PAPER_DYNAMIC[mask]:.2f}",
                    ]
                )
        if base is not None and not any(r["mask"] == mask for r in nets):
            classic = (_db(_mean(base, s, "psnr")) for s in solvers.SOLVERS)
            rest = ["no network trained", *[""] * 8, f"{PAPER_DYNAMIC[mask]:.2f}"]
            rows.append([mask, _db(zero), *classic, *rest])
    head = [
        "mask",
        "zero-filled",
        "proximal gradient",
        "ADMM",
        "network",
        "PSNR",
        "SSIM",
        "MSE, 1e-5",
        "over zero-filled",
        "over ADMM",
        "cuts",
        "steps",
        "gradients not finite",
        "paper, other data",
    ]
    return _table(head, rows) if rows else _NOT_RUN


def _cuts(result: Result) -> str:
    s = result["settings"]
    return f"{s['cut_frames']} of {s['side']} by {s['side']}"


def _total_steps(result: Result, found: Mapping[str, Result]) -> int:
    return sum(steps for _, steps in _lineage(result, found, lambda r: ""))


def _longest(found: Mapping[str, Result], like: Result) -> Result:
    """Of the tested runs with the same mask, network and cuts, the one of the most steps."""

    def kind(r: Result) -> tuple[Any, ...]:
        return r["mask"], r["settings"]["method"], r["settings"]["side"]

    same = [r for r in found.values() if r.get("mean") and kind(r) == kind(like)]
    return max(same, key=lambda r: _total_steps(r, found))


def _dynamic_steps(result: Result, found: Mapping[str, Result]) -> str:
    (_, last), *before = _lineage(result, found, lambda r: str(r["mask"]))
    return " after ".join([str(last), *(f"{steps} of {mask}" for mask, steps in before)])


def _phase(classical: Mapping[str, Result]) -> str:
    """The error that leaving the phase out makes, on the series of the first result."""
    first = next(iter(classical.values()), None)
    if first is None:
        return "was not measured"
    return f"is {first['phase_error']['inv-no-phase']:.1e} of its norm"


def _stress(found: Mapping[str, Result]) -> str:
    order = {name: i for i, name in enumerate(low_rank_names())}
    rows = []
    for r in sorted(found.values(), key=lambda r: order.get(r["settings"]["method"], 99)):
        t = r["training"]
        loss = [x for x in t["loss"] if x is not None]
        rows.append(
            [
                f"`{_short(r)}`",
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
    return _table(head, rows) if rows else _NOT_RUN


def _ports(found: Mapping[str, Result]) -> str:
    if "ports" not in found:
        return _NOT_RUN
    r = found["ports"]
    s = r["settings"]
    last = ", ".join(f"{name} {np.mean(curve[-20:]):.5f}" for name, curve in r["loss"].items())
    return f"""\
{s["steps"]} steps of batch {s["batch"]} on {r["data"]["training"]}, {r["ratio"]:.0%} known,
{s["iterations"]} iterations, images of {s["side"]} by {s["side"]} pixels, Adam {s["rate"]:g}, from
the same weights, on the same batches. Mean loss of the last 20 steps: {last}. The means over 20
steps of any two frameworks differ by {r["difference"]:.1%} at most, all along.

![Loss against step in three frameworks](images/experiments_ports.png)"""


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
        best = _best(colour, method, 0.4)
        found = _NOT_RUN
        if best is not None:
            ours = _mean(best, "psnr")
            found = f"{ours:.2f} dB, {ours - PAPER_COLOUR[0.4]:+.2f} against the paper's"
            found += f" ({_steps(best, colour)})"
        rows.append([f"`{name}` network, 40 % of the pixels, PSNR", found])
    rules = [
        r
        for r in colour.values()
        if r["settings"]["method"] not in _UNGUARDED
        and r["settings"]["batch"] >= 32
        and r["training"]["steps_done"] >= 2000
    ]
    names = ", ".join(sorted({f"`{_short(r)}`" for r in rules}))
    bad = sum(r["training"]["nonfinite_gradients"] for r in rules)
    rows.append(
        [
            "gradients not finite in 2,000 steps at batch 32, guarded rules and `svt`",
            f"{bad} ({names})" if rules else _NOT_RUN,
        ]
    )
    native = [r for r in colour.values() if r["settings"]["method"] == "native"]
    steps = ", ".join(
        f"{r['training']['first_nonfinite_step']} (batch {r['settings']['batch']}, "
        f"{r['settings']['iterations']} iterations)"
        for r in native
    )
    rows.append(["the first step whose native gradient is not finite", steps or _NOT_RUN])
    for label, guarded in (("`svt` and guarded rules", True), ("native", False)):
        runs = [
            r
            for r in stress.values()
            if (r["settings"]["method"] not in _UNGUARDED if guarded else _short(r) == "native")
        ]
        bad = sum(r["training"]["nonfinite_gradients"] for r in runs)
        total = sum(r["training"]["steps_done"] for r in runs)
        names = ", ".join(sorted(f"`{_short(r)}`" for r in runs))
        found = f"{bad} in {total:,} steps ({names})" if runs else _NOT_RUN
        rows.append([f"gradients not finite with ties in every batch, {label}", found])
    zero = {r["mask"]: _mean(r, "zero-filled", "psnr") for r in classical.values()}
    for mask in ("radial-16", "vds-8", "vista-8"):
        runs = [
            r
            for r in dynamic.values()
            if r["mask"] == mask and mask in zero and r.get("mean") and _short(r) == "svt"
        ]
        found = _NOT_RUN
        if runs:
            found = f"{_mean(_longest(dynamic, runs[0]), 'psnr') - zero[mask]:+.2f} dB"
        rows.append([f"dynamic MRI, {mask}, `svt` network over zero-filled", found])
    return _table(["what", "found"], rows)


_UNGUARDED = ("native", "svd-plain")


def _short(result: Result) -> str:
    name: str = result["settings"]["method"]
    return name.removeprefix("svd-")


def _best(found: Mapping[str, Result], method: str, ratio: float) -> Result | None:
    """The longest tested run, with those before it; of two as long, the better."""
    tested = [
        r
        for r in found.values()
        if r["settings"]["method"] == method and r["ratio"] == ratio and r.get("mean")
    ]
    return max(tested, key=lambda r: (_total_steps(r, found), _mean(r, "psnr")), default=None)


def _data(found: Mapping[str, Result]) -> str:
    seen: dict[str, None] = {}
    for r in found.values():
        if r.get("mean") is not None and "training" in r["data"]:
            test = f", tested on {r['data']['test']}" if r["test"] else ""
            seen.setdefault(f"{r['data']['training']}{test}")
    return "; ".join(seen) or _NOT_RUN


def page(folder: Path) -> str:
    """The page as Markdown, from the result files of a folder."""

    def found(experiment: str) -> dict[str, dict[str, Any]]:
        return results.read_all(folder, experiment)

    colour, colour_classical = found("colour"), found("colour-classical")
    dynamic, dynamic_classical = found("dynamic"), found("dynamic-classical")
    ours = (r for r in dynamic.values() if r["settings"]["method"] == "svt")
    first = next(ours, None)
    mri = ""
    if first is not None:
        d, s = first["data"], first["settings"]
        mri = (
            f"Trained on {d['training']}\n({d['source']}), tested on {d['test']}; series of "
            f"{' by '.join(map(str, d['shape']))}. The networks here have\n{s['iterations']} "
            "iterations (the paper: 10), and were trained on cuts of as many frames and pixels\n"
            f"as the table says, batch {s['batch']}, rate {s['rate']:g}, with masks of the same "
            "density."
        )
    weights = {r["ratio"]: r["settings"] for r in colour_classical.values()}
    solver = ""
    if weights:
        chosen = ", ".join(
            f"{w['weight']:g} at {ratio:.0%}" for ratio, w in sorted(weights.items())
        )
        solver = f"The solvers took {next(iter(weights.values()))['steps']} steps; lambda {chosen}."
    return _PAGE.format(
        summary=_summary(colour, dynamic, dynamic_classical, found("stress")),
        table1=_table1(found("table1")),
        colour_data=_data(colour),
        colour=_colour_table(colour, colour_classical),
        solver=solver,
        tested=_all_tested(colour),
        each=_each(colour),
        runs=_runs(colour),
        gradients=_gradients(found("gradients")),
        mri=mri,
        dynamic=_dynamic_table(dynamic, dynamic_classical),
        phase=_phase(dynamic_classical),
        stress=_stress(found("stress")),
        ports=_ports(found("ports")),
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


_PAGE = (Path(__file__).parent / "page.txt").read_text()

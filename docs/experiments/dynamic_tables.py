"""The table of dynamic MRI, from its result files by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import solvers
from .masks import MRI_MASKS
from .tables import NOT_RUN, Result, db, lineage, mean, short, table, text, total_steps

__all__ = ["PAPER", "by_mask", "longest", "phase", "trained"]

PAPER = {
    "radial-16": 40.569,
    "radial-30": 42.886,
    "vds-8": 40.597,
    "vista-8": 37.142,
    "vista-12": 26.833,
}
"""PSNR of SVD-inv in the paper's Table 3, dB, on other data."""


def trained(found: Mapping[str, Result]) -> str:
    """What the networks with `svt` were trained on, and how."""
    first = next((r for r in found.values() if short(r) == "svt"), None)
    if first is None:
        return ""
    shape = " by ".join(map(str, first["data"]["shape"]))
    return text("page_dynamic", **{**first["settings"], **first["data"], "shape": shape})


def by_mask(found: Mapping[str, Result], classical: Mapping[str, Result]) -> str:
    """The longest run of each network, by mask, beside the untrained solvers."""
    solved = {r["mask"]: r for r in classical.values()}
    nets = [r for r in found.values() if r.get("mean") and r is longest(found, r)]
    rows = []
    for mask in MRI_MASKS:
        base = solved.get(mask)
        zero = mean(base, "zero-filled", "psnr")
        for r in nets:
            if r["mask"] == mask:
                ours = mean(r, "psnr")
                rows.append(
                    [
                        mask,
                        db(zero),
                        *(db(mean(base, s, "psnr")) for s in solvers.SOLVERS),
                        f"`{short(r)}`",
                        db(ours),
                        f"{mean(r, 'ssim'):.3f}",
                        f"{1e5 * mean(r, 'mse'):.1f}",
                        "" if zero is None else f"{ours - zero:+.2f}",
                        "" if base is None else f"{ours - mean(base, 'admm', 'psnr'):+.2f}",
                        _cuts(r),
                        _steps(r, found),
                        str(r["training"]["nonfinite_gradients"]),
                        f"{PAPER[mask]:.2f}",
                    ]
                )
        if base is not None and not any(r["mask"] == mask for r in nets):
            classic = (db(mean(base, s, "psnr")) for s in solvers.SOLVERS)
            rest = ["no network trained", *[""] * 8, f"{PAPER[mask]:.2f}"]
            rows.append([mask, db(zero), *classic, *rest])
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
    return table(head, rows) if rows else NOT_RUN


def _cuts(result: Result) -> str:
    s = result["settings"]
    return f"{s['cut_frames']} of {s['side']} by {s['side']}"


def longest(found: Mapping[str, Result], like: Result) -> Result:
    """Of the tested runs with the same mask, network and cuts, the one of the most steps."""

    def kind(r: Result) -> tuple[Any, ...]:
        return r["mask"], r["settings"]["method"], r["settings"]["side"]

    same = [r for r in found.values() if r.get("mean") and kind(r) == kind(like)]
    return max(same, key=lambda r: total_steps(r, found))


def _steps(result: Result, found: Mapping[str, Result]) -> str:
    (_, last), *before = lineage(result, found, lambda r: str(r["mask"]))
    return " after ".join([str(last), *(f"{steps} of {mask}" for mask, steps in before)])


def phase(classical: Mapping[str, Result]) -> str:
    """The error that leaving the phase out makes, on the series of the first result."""
    first = next(iter(classical.values()), None)
    if first is None:
        return "was not measured"
    return f"is {first['phase_error']['inv-no-phase']:.1e} of its norm"

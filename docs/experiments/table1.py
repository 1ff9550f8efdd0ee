r"""Experiment 1: the paper's Table 1, gradients at a relative gap of 1e-15 (its section 4.1).

A 10-by-10 matrix ``A = U0 S0 V0^H`` in double precision has eight normal random numbers for
singular values, and two more that differ by 1e-15 of themselves; all times 1e-10 (case 1) or
1e-18 (case 2). Its SVD in single precision is followed by one of three workflows: nothing, a hard
threshold or a soft threshold that drops the last two values; the loss is ``|U S' Vh|_1``. The
figure in the table is the mean squared error of the gradient, added up over the matrices.

Two choices of the factors: ``U0 = V0 = I``, as described, and random orthogonal ones. Two
references: the paper's (the same in double precision, by `torch.linalg.svd`), and the exact
gradient, in extended precision. For the thresholds
draws are left out whose cut falls between two values closer than 1e-3 of the largest, those on
the close pair among them: a hard threshold jumps there, and its gradient grows without bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from svdinv import rules
from svdinv import torch as st
from svdinv_conformance.arguments import positive
from svdinv_conformance.reference import Factors, decompose, exact_gradient
from torch import Tensor

from . import figures, results, tables
from .arguments import add_common
from .results import Found

NAME = "table1"
HELP = "gradients of all rules at a gap of 1e-15"
QUICK = ["--matrices 4"]

Array = NDArray[Any]

SIZE = 10
DROPPED = 2
GAP = 1e-15
CUT = 1e-3
"""Least distance of the values on both sides of the cut, relative to the largest."""
CASES = {1: 1e-10, 2: 1e-18}
"""Scale of the singular values in each case."""
GAPS = (0.0, *(10.0 ** (p / 2) for p in range(-32, -1)))
"""Of the figure."""
WORKFLOWS = {1: "nothing", 2: "hard threshold", 3: "soft threshold"}
PAPER = {
    (1, 1): {"tf": 1412.5, "clip": 1412.5, "taylor": 1828.6, "inv": 38.9},
    (1, 2): {"tf": 1086.6, "clip": 1086.6, "taylor": 6045.1, "inv": 30.2},
    (1, 3): {"tf": 1347.7, "clip": 1347.7, "taylor": 1663.8, "inv": 640.3},
    (2, 1): {"tf": 1611.7, "clip": 1611.7, "taylor": 9487.2, "inv": 37.1},
    (2, 2): {"tf": 4945.1, "clip": 4945.1, "taylor": 15343.9, "inv": 3833.0},
    (2, 3): {"tf": 1443.9, "clip": 1443.9, "taylor": 7972.0, "inv": 712.0},
}
"""Table 1 of the paper, by case and workflow."""

LITERAL = "inv, the paper's criterion"
EXACT = figures.EXACT
NATIVE = "native torch"
LABEL = "the paper's label"
METHODS = (EXACT, *rules.rule_names(), LITERAL, NATIVE)


@dataclass(frozen=True)
class Draw:
    """Matrices of one case.

    Attributes
    ----------
    A
        ``(N, 10, 10)``, float64.
    factors
        Their decomposition in extended precision.
    clear
        ``(N,)``: the values on both sides of the cut are not too close.
    tau
        ``(N,)``: in the middle between the last value kept and the first one dropped.
    """

    A: Array
    factors: Factors
    clear: NDArray[np.bool_]
    tau: Array


def draw(
    seed: int, count: int, scale: float, orthogonal: bool, gap: float = GAP, size: int = SIZE
) -> Draw:
    """Random matrices, two of whose singular values differ by `gap`, relative to themselves."""
    rng = np.random.default_rng([seed, int(orthogonal)])
    values = np.abs(rng.standard_normal((count, size - 1))) * scale
    spectra = np.concatenate([values[:, :1] + values[:, :1] * gap, values], axis=1)
    if orthogonal:
        U, V = (np.linalg.qr(rng.standard_normal((count, size, size)))[0] for _ in "UV")
        A = (U * spectra[:, None, :]) @ V
    else:
        A = np.zeros((count, size, size))
        A[:, range(size), range(size)] = spectra
    factors = decompose(A)
    kept, dropped = factors.S[:, size - DROPPED - 1], factors.S[:, size - DROPPED]
    clear = np.asarray(kept - dropped > CUT * factors.S[:, 0])
    return Draw(A, factors, clear, np.asarray((kept + dropped) / 2))


def _processed(S: Tensor, workflow: int, tau: Tensor) -> Tensor:
    if workflow == 1:
        return S
    kept = torch.zeros_like(S)
    kept[..., : S.shape[-1] - DROPPED] = 1
    return kept * S if workflow == 2 else kept * (S - tau[..., None])


def _step(method: str, workflow: int, tau: Tensor) -> Callable[[Tensor], Tensor]:
    """Matrices to ``U S' Vh``, by the method whose gradient is wanted."""
    if method == EXACT:
        if workflow == 1:
            return lambda A: st.singular_value_map(A, lambda s: s * 1.0)
        if workflow == 2:
            return lambda A: st.low_rank(A, A.shape[-1] - DROPPED)
        return lambda A: st.svt(A, tau, driver="svd")
    rule: str | rules.Rule = method
    if method == LITERAL:
        rule = rules.Inv(degeneracy_rtol=0, limit=1e30)

    def through_svd(A: Any) -> Any:
        if method == NATIVE:
            U, S, Vh = torch.linalg.svd(A, full_matrices=False)
        else:
            U, S, Vh = st.svd(A, rule=rule)
        return (U * _processed(S, workflow, tau)[..., None, :]) @ Vh

    return through_svd


def gradient(method: str, workflow: int, d: Draw, dtype: torch.dtype) -> tuple[Array, Array]:
    """Gradient of ``|U S' Vh|_1``, and ``U S' Vh`` itself."""
    A = torch.from_numpy(d.A).to(dtype).requires_grad_()
    tau = torch.from_numpy(d.tau.astype(np.float64)).to(dtype)
    B = _step(method, workflow, tau)(A)
    B.abs().sum().backward()
    assert A.grad is not None
    return A.grad.double().numpy(), B.detach().double().numpy()


def exact(workflow: int, d: Draw) -> Array:
    """The exact gradient of the same loss, float64."""
    F = d.factors
    S = np.where(np.arange(F.S.shape[-1]) < F.S.shape[-1] - DROPPED, F.S, 0)
    if workflow == 1:
        S = F.S
    elif workflow == 3:
        S = np.where(S > 0, F.S - d.tau[:, None], 0)
    B = (F.U * S[:, None, :]) @ F.Vh
    # Of a diagonal matrix what is not on the diagonal is zero, but for rounding.
    weights = np.sign(np.where(np.abs(B) > 1e-12 * np.abs(B).max((-2, -1), keepdims=True), B, 0))
    loss = {1: "reconstruction", 2: "hard", 3: "soft"}[workflow]
    return exact_gradient(loss, F, weights, d.tau).x.astype(np.float64)


def errors(count: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Cumulative errors of every method, by factors, case, workflow and reference.

    Returns
    -------
    dict
        ``rows``: one a choice of factors, case and workflow, with ``errors`` by method, each
        with ``exact`` and ``label``: the sum over the matrices of the mean squared error over the
        entries, against the exact gradient and against the paper's label; ``nonfinite`` counts
        matrices, which are left out of the sum.
    """
    rows = []
    for orthogonal in (False, True):
        for case, scale in CASES.items():
            d = draw(seed, count, scale, orthogonal)
            for workflow in WORKFLOWS:
                kept = d.clear if workflow > 1 else np.ones(count, bool)
                true = exact(workflow, d)
                label, _ = gradient(NATIVE, workflow, d, torch.float64)
                of = {}
                for method in METHODS:
                    got, _ = gradient(method, workflow, d, torch.float32)
                    of[method] = _compare(got[kept], true[kept], label[kept])
                of[LABEL] = _compare(label[kept], true[kept], label[kept])
                rows.append(
                    {
                        "factors": "orthogonal" if orthogonal else "identity",
                        "case": case,
                        "workflow": workflow,
                        "matrices": int(kept.sum()),
                        "errors": of,
                        "paper": PAPER[case, workflow],
                    }
                )
    return {"count": count, "seed": seed, "gap": GAP, "rows": rows}


def _compare(got: Array, true: Array, label: Array) -> dict[str, float | int | None]:
    finite = np.asarray(np.isfinite(got).all((-2, -1)))
    with_label = np.asarray(finite & np.isfinite(label).all((-2, -1)))

    def total(of: NDArray[np.bool_], reference: Array) -> float | None:
        if not of.any():
            return None
        return float(np.mean((got[of] - reference[of]) ** 2, axis=(-2, -1)).sum())

    return {
        "exact": total(finite, true),
        "label": total(with_label, label),
        "nonfinite": int((~finite).sum()),
    }


def gap_curves(count: int = 200, seed: int = 0, gaps: Sequence[float] = GAPS) -> dict[str, Any]:
    """Median error against the gap, single precision, random orthogonal factors, scale 1.

    Returns
    -------
    dict
        ``gaps``, and ``median`` by workflow and method: the median over the matrices of the
        gradient's error, relative to the exact one's norm; None where a gradient is not finite.
    """
    median: dict[str, dict[str, list[float | None]]] = {}
    for workflow, name in WORKFLOWS.items():
        median[name] = {method: [] for method in (*METHODS, LABEL)}
        for gap in gaps:
            d = draw(seed, count, 1.0, True, gap)
            kept = d.clear if workflow > 1 else np.ones(count, bool)
            true = exact(workflow, d)[kept]
            size = np.linalg.norm(true, axis=(-2, -1))
            for method, curve in median[name].items():
                if method == LABEL:
                    got, _ = gradient(NATIVE, workflow, d, torch.float64)
                else:
                    got, _ = gradient(method, workflow, d, torch.float32)
                with np.errstate(all="ignore"):
                    error = np.linalg.norm(got[kept] - true, axis=(-2, -1)) / size
                finite = bool(np.isfinite(error).all())
                curve.append(float(np.median(error)) if finite else None)
    return {"gaps": list(gaps), "count": count, "seed": seed, "median": median}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--matrices", type=positive, default=1000, help="(%(default)s)")
    add_common(parser, NAME)
    parser.set_defaults(seed=0)


def run(options: argparse.Namespace) -> str:
    path = options.out / f"{options.name}.json"
    content = {
        **errors(options.matrices, options.seed),
        "curves": gap_curves(max(2, options.matrices // 5), options.seed),
    }
    results.write(path, {"experiment": NAME, **content})
    return f"{path.name}: {options.matrices} matrices a case"


def table(found: Found) -> dict[str, str]:
    if NAME not in found[NAME]:
        return {}
    result = found[NAME][NAME]
    rows = [row for row in result["rows"] if row["factors"] == "orthogonal"]
    methods = list(rows[0]["errors"])

    def against(reference: str, chosen: Sequence[str], paper: Sequence[str] = ()) -> str:
        head = ["method", *(f"case {row['case']}, workflow {row['workflow']}" for row in rows)]
        body = [[_marked(m), *(_sum(row["errors"][m], reference) for row in rows)] for m in chosen]
        theirs = [
            [f"*the paper: `{m}`*", *(f"*{row['paper'][m]:g}*" for row in rows)] for m in paper
        ]
        return tables.table(head, [*body, *theirs])

    plain = [
        (method, error)
        for row in result["rows"]
        if row["factors"] == "identity"
        for method, error in row["errors"].items()
    ]
    bad = {m for m, error in plain if error["exact"] is None or error["nonfinite"]}
    rounding = max(error["exact"] for method, error in plain if method not in bad)
    counts = [str(row["matrices"]) for row in rows[:3]]
    return {
        "table1_count": str(result["count"]),
        "table1_kept": f"{', '.join(counts[:2])} and {counts[2]}",
        "table1_cut": f"{CUT:g}",
        "table1_rounding": f"{rounding:.1g}",
        "table1_nonfinite": ", ".join(_marked(m) for m in sorted(bad)),
        "table1_exact": against("exact", methods),
        "table1_label": against("label", [m for m in methods if m != LABEL], list(PAPER[1, 1])),
    }


def _marked(method: str) -> str:
    """Rules as code."""
    return f"`{method}`" if method in rules.rule_names() else method


def _sum(error: Mapping[str, Any], reference: str) -> str:
    if error[reference] is None:
        return "not finite"
    bad = f" ({error['nonfinite']} not finite)" if error["nonfinite"] else ""
    return f"{error[reference]:.2g}{bad}"


def figure(found: Found) -> dict[str, Figure]:
    if NAME not in found[NAME]:
        return {}
    return {"gap": figures.gap_figure(found[NAME][NAME]["curves"])}

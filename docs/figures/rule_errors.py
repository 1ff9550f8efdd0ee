"""Error of every rule against the gap between two singular values, for four functions of them.

    python docs/figures/rule_errors.py [--draws N]

draws ``docs/images/rule_errors.png``, and writes the tables of ``docs/choosing_a_rule.md``: the
worst median error of each rule, and that of `inv` for other tolerances than the default one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from svdinv import numpy as svdinv
from svdinv import rules
from svdinv_conformance.compare.plots import OTHER, STYLES
from svdinv_conformance.compare.sweep import THRESHOLD, matrices
from svdinv_conformance.errors import norms, relative_difference
from svdinv_conformance.frameworks import NumPy
from svdinv_conformance.markdown import markdown_table, write_between
from svdinv_conformance.reference import decompose, spectral_gradient

DOCS = Path(__file__).resolve().parents[1]
PICTURE, PAGE = DOCS / "images" / "rule_errors.png", DOCS / "choosing_a_rule.md"

GAPS = (0.0, *(10.0 ** (p / 2) for p in range(-33, -1)))
TOLERANCES = {  # exponent of eps by name
    "eps": 1.0,
    "eps^(7/8)": 7 / 8,
    "eps^(3/4)": 3 / 4,
    "eps^(5/8)": 5 / 8,
    "eps^(1/2)": 1 / 2,
}

Array = Any
NUMPY = NumPy()


@dataclass(frozen=True)
class Function:
    """f and its derivative, and the exact operator of the library for it (None: the matrix)."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    exact: tuple[str, Callable[[Array], tuple[Any, ...]]] | None


def _kept(s: Array) -> Array:
    return (s > THRESHOLD).astype(s.dtype)


FUNCTIONS = {
    "identity": Function(lambda s: s, np.ones_like, None),
    "soft threshold": Function(
        lambda s: _kept(s) * (s - s.dtype.type(THRESHOLD)), _kept, ("svt", lambda x: (THRESHOLD,))
    ),
    "hard threshold": Function(lambda s: _kept(s) * s, _kept, ("low_rank", lambda x: (4,))),
    "tanh": Function(
        np.tanh, lambda s: 1 - np.tanh(s) ** 2, ("singular_value_map", lambda x: (np.tanh,))
    ),
}


def through_svd(function: Function, x: Array, weights: Array, rule: str | rules.Rule) -> Array:
    """The gradient of ``Re <W, U f(S) Vh>`` by the chain rule and `svd`."""
    (U, S, Vh), pullback = svdinv.vjp(svdinv.svd, x, rule=rule)
    ct_U, ct_f, ct_Vh = NUMPY.pull_back(U, function.value(S), Vh, weights)
    (gradient,) = pullback((ct_U, function.slope(S) * ct_f, ct_Vh))
    return gradient


class Problem:
    """Real and complex matrices at every gap, and the exact gradient of every function."""

    def __init__(self, dtype: str, draws: int) -> None:
        self.dtype = dtype
        both = (dtype, np.result_type(dtype, np.complex64).name)
        self.x = [matrices(d, GAPS, draws, seed=0) for d in both]
        rng = np.random.default_rng(1)
        self.weights = []
        for x in self.x:
            w = rng.standard_normal(x.shape) + 1j * rng.standard_normal(x.shape)
            self.weights.append((w if np.iscomplexobj(x) else w.real).astype(x.dtype))
        factors = [decompose(x) for x in self.x]
        self.exact = {
            name: [
                spectral_gradient(f.value, f.slope, F, w)
                for F, w in zip(factors, self.weights, strict=True)
            ]
            for name, f in FUNCTIONS.items()
        }

    def errors(self, name: str, gradient: Callable[[Array, Array], Array]) -> Array:
        """Median relative error at each gap, over draws real and complex; NaN if not finite."""
        errors = []
        with np.errstate(all="ignore"):
            for x, w, exact in zip(self.x, self.weights, self.exact[name], strict=True):
                got = gradient(x, w).astype(exact.dtype)
                errors.append(relative_difference(got, exact, norms(exact)))
        return np.median(np.concatenate(errors, axis=-1), axis=-1).astype(float)


def curves(problem: Problem, name: str) -> dict[str, Array]:
    """Error against gap of the exact operator and of every rule."""
    function = FUNCTIONS[name]
    result = {}
    if function.exact is not None:
        operator, arguments = function.exact

        def exact(x: Array, w: Array) -> Array:
            return svdinv.vjp(getattr(svdinv, operator), x, *arguments(x))[1](w)[0]

        result[operator] = problem.errors(name, exact)
    for rule in rules.rule_names():
        result[rule] = problem.errors(
            name, lambda x, w, rule=rule: through_svd(function, x, w, rule)
        )
    return result


def draw(results: dict[str, dict[str, dict[str, Array]]]) -> Figure:
    """One row a precision, one panel a function, one line a rule."""
    figure = Figure(figsize=(15, 7.2), dpi=110, layout="constrained")
    panels = figure.subplots(len(results), len(FUNCTIONS), sharex=True, sharey="row")
    position = np.array([-18.0, *np.log10(GAPS[1:])])
    labels: dict[str, Any] = {}
    for row, (dtype, by_function) in zip(panels, results.items(), strict=True):
        for axes, (name, by_rule) in zip(row, by_function.items(), strict=True):
            for rule, error in by_rule.items():
                exact = rule not in rules.rule_names()
                colour, line, marker = STYLES.get("svt" if exact else rule, OTHER)
                (curve,) = axes.plot(
                    position,
                    np.clip(error, 1e-17, None),
                    color=colour,
                    linestyle=":" if rule == "plain" else line,  # it lies under others
                    marker=marker,
                    markersize=3,
                    markevery=2,
                    linewidth=2 if exact or rule == "inv" else 1.1,
                    zorder=5 if exact else 4 if rule == "plain" else 3,
                )
                labels.setdefault("exact operator" if exact else rule, curve)
            axes.set_yscale("log")
            axes.set_title(f"{name}, {dtype}", fontsize=10, loc="left")
            axes.grid(True, color="#e5e7eb", linewidth=0.6)
            axes.axvline(-17.25, color="#9ca3af", linewidth=0.8, linestyle=":")
            ticks = [-18.0, -16, -12, -8, -4]
            axes.set_xticks(ticks, ["0", *(f"$10^{{{t}}}$" for t in ticks[1:])])
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
    figure.supxlabel("gap between two singular values, relative to the largest", fontsize=10)
    figure.supylabel("relative error of the gradient (median)", fontsize=10)
    figure.legend(labels.values(), labels.keys(), loc="outside right center", frameon=False)
    return figure


def worst(error: Array) -> str:
    """The largest median error over the gaps."""
    return f"{np.max(error):.0e}" if np.isfinite(error).all() else "not finite"


def rule_table(results: dict[str, dict[str, dict[str, Array]]]) -> str:
    header = ["rule", *(f"{name}, {dtype}" for dtype in results for name in FUNCTIONS)]
    rows = [
        [f"`{rule}`", *(worst(r[name][rule]) for r in results.values() for name in FUNCTIONS)]
        for rule in rules.rule_names()
    ]
    exact = [
        worst(next(e for rule, e in r[name].items() if rule not in rules.rule_names()))
        if FUNCTIONS[name].exact
        else ""
        for r in results.values()
        for name in FUNCTIONS
    ]
    return markdown_table(header, [["exact operator", *exact], *rows])


def tolerance_table(problems: Sequence[Problem]) -> str:
    """`inv` with other tolerances: worst median over the gaps, then in brackets the usual one."""
    header = ["tolerance", *(f"{name}, {p.dtype}" for p in problems for name in FUNCTIONS)]
    rows = []
    for label, exponent in TOLERANCES.items():
        row = [label]
        for problem in problems:
            rule = rules.Inv(degeneracy_rtol=float(np.finfo(problem.dtype).eps) ** exponent)
            for name, function in FUNCTIONS.items():
                error = problem.errors(
                    name, lambda x, w, f=function, rule=rule: through_svd(f, x, w, rule)
                )
                row.append(f"{worst(error)} ({np.exp(np.mean(np.log(error[1:]))):.0e})")
        rows.append(row)
    return markdown_table(header, rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=100, help="matrices a gap (default: 100)")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(argv)
    problems = [Problem(dtype, options.draws) for dtype in ("float64", "float32")]
    results = {p.dtype: {name: curves(p, name) for name in FUNCTIONS} for p in problems}
    figure = draw(results)
    FigureCanvasAgg(figure)
    figure.savefig(options.picture, metadata={"Software": ""})
    blocks = {
        "errors of the rules": rule_table(results),
        "tolerances of inv": tolerance_table(problems),
    }
    for name, table in blocks.items():
        write_between(options.page, f"{table}\n", f"<!-- {name} -->", f"<!-- end of {name} -->")


if __name__ == "__main__":
    main()

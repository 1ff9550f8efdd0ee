"""Write the conformance cases: ``python conformance/generator`` (``--check`` compares instead).

What is asked (:func:`questions`), and the form of the files. The answers are in :mod:`references`;
nothing from the library is imported.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import matrices
import mpmath as mp
import numpy as np
from observables import HERMITIAN, REAL, Observable
from policy import EPS, condition, second_condition, slope, undefined
from references import DIGITS, Direction, Point, Reference
from svdinv_conformance.suite.case import LOOSEST, NAMED, SAFETY

SCHEMA = 1
VERSION = "1"
FOLDER = Path(__file__).parents[1] / "svdinv_conformance" / "data" / f"v{VERSION}"

DESCRIPTIONS = {
    "values": "y: means of the singular values over groups of indices",
    "reconstruction": "y = U diag(S) Vh, the matrix itself, asked of the factors",
    "soft": "y = U diag(max(S - tau, 0)) Vh",
    "hard": "y = U diag(S where S > tau, else 0) Vh",
    "smooth": "y = U diag(c f(S/c)) Vh with f(0) = 0: tanh(s), or wiener s^3/(s^2 + 1/4)",
    "low_rank": "y = U diag(S_1, ..., S_rank, 0, ...) Vh",
    "projector": "y = sum of u_i u_i^H over the values above a cut",
    "polar": "unitary = U Vh; positive = V diag(S) V^H (wide: U diag(S) U^H)",
    "nuclear": "y = sum of the singular values",
    "hermitian": "y = Q diag(c f(w/c)) Q^H of the Hermitian part of a: inverse_root "
    "(w + 1/2)^(-1/2), or exp(w)",
    "factors": "functions of the factors of svd that do not depend on their choice: "
    "tanh = U diag(tanh(S)) Vh; inverse = U diag(1/S) Vh; unitary = U Vh; gram = U^H U; left = "
    "sum of u_i u_i^H, right = sum of v_i v_i^H over the values above a cut",
    "shrink": "singular_value_clip = U diag(min(S, maximum)) Vh; project_nuclear_ball = the "
    "nearest matrix with sum(S) = radius; range_projector = sum of u_i u_i^H up to rank; "
    "schatten_norm = sum(S^p)^(1/p); spectral_norm = S_1; spectral_function = sum(tanh(S)^2) "
    "sum(S^2)",
    "invert": "pinv = V diag(1/S) U^H; procrustes = U Vh; lstsq = pinv b",
    "rotate": "procrustes = U diag(1, ..., 1, det(U Vh)) Vh, the nearest rotation",
    "truncated": "of the largest values, up to rank: left = sum of u_i u_i^H, right = sum of "
    "v_i v_i^H, product = sum of s_i u_i v_i^H",
    "eigenvalues": "eigenvalues of the Hermitian part of a, as values",
    "roots": "sqrtm, inv_sqrtm, powm (w^p), logm, expm of the Hermitian part of a",
    "align": "align_points = scale R + translation, of the transform that takes the points a + a_1 "
    "and -a + a_1 (rows; a_1 is the first) to those of I + center and -I + center",
    "tensor": "tensor_svt = sums-weighted sum of the slices of the tensor singular value "
    "thresholding, under the Fourier transform of the last axis, of a times each of weights",
    "gauge": "u = U and vh = Vh themselves: no derivative, for complex input or at a tie",
}


# --- what there is -------------------------------------------------------------------------------

NEAR = [f"pair-{gap}" for gap in matrices.GAPS]
SCALED = [f"scaled-{scale}" for scale in matrices.SCALES]
SQUARE = ["distinct", *NEAR, "tied", "triple", "all-equal", "rank-deficient", "two-zeros", "zero"]
FEW = ["distinct", "pair-1e-08", "tied", "rank-deficient"]


def where(*parts: tuple[str, list[str]]) -> list[tuple[str, str]]:
    """Pairs of shape and spectrum."""
    return [(shape, name) for shape, names in parts for name in names]


THIN = where(("tall", FEW), ("wide", FEW), ("batch", ["mixed"]))
EMPTY = where(("empty", list(matrices.EMPTY)))
MOST = where(("square", [*SQUARE, *SCALED])) + THIN
TIES = ["tied", "triple", "all-equal", "two-pairs"]
FEW_TIES = ["tied", "all-equal"]
REGULAR = [s for s in SQUARE if s not in ("rank-deficient", "two-zeros", "zero")]


def grouped(name: str) -> list[list[int]]:
    """Groups of values that cannot be told apart; zero values belong to none."""
    values = matrices.spectrum(name)
    groups: list[list[int]] = []
    for i, s in enumerate(values):
        if s == 0:
            continue
        if groups and (values[groups[-1][-1]] - s) <= values[0] * mp.mpf("1e-3"):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def scale_of(name: str) -> float:
    """Power of two near the size of a spectrum."""
    exponent = matrices.SCALES.get(name.removeprefix("scaled-"), 0)
    return float(mp.ldexp(1, exponent))


def questions() -> Iterator[tuple[str, str, Observable, str]]:
    """Every case but its field: shape, spectrum, observable, and a word for a variant."""
    for shape, name in [*MOST, *EMPTY]:
        c = scale_of(name)
        tau: Any = [0.9375, 0.625, 0.375] if shape == "batch" else 0.625 * c
        if (shape, name) == ("empty", "2x0x3"):
            tau = [0.625, 0.625]
        yield shape, name, Observable("soft", tau=tau), ""
        yield shape, name, Observable("smooth", {"function": "tanh", "scale": c}), ""
        if name not in NEAR or name in ("pair-1e-12", "pair-1e-02"):
            rank = (
                1 if shape == "wide" else {"distinct": 2, "two-zeros": 2, "triple": 4}.get(name, 3)
            )
            yield shape, name, Observable("low_rank", {"rank": rank}), ""
            yield shape, name, Observable("hard", tau=tau), ""
    yield "square", "identity", Observable("soft", tau=0.625), ""
    yield "square", "identity", Observable("smooth", {"function": "tanh", "scale": 1.0}), ""
    yield "square", "identity", Observable("polar"), ""
    yield "square", "identity", Observable("nuclear"), ""
    exponential = Observable("hermitian", {"function": "exp", "scale": 1.0})
    yield "square", "identity", exponential, "exp"
    for shape, name in [("square", "tied"), ("tall", "tied"), ("square", "pair-1e-02")]:
        yield shape, name, Observable("soft", tau=1.5), "dropped"
    yield "square", "pair-1e-02", Observable("soft", tau=1 - 2.0**-7), "across"
    yield "square", "tied", Observable("soft", tau=1.0), "on-value"
    for shape in ("square", "tall"):
        yield shape, "tied", Observable("hard", tau=1.0), "cut-on-tie"
        yield shape, "tied", Observable("low_rank", {"rank": 2}), "cut-on-tie"
        yield shape, "tied", Observable("projector", {"cut": 1.0}), "cut-on-tie"
    for shape, name in where(
        ("square", ["distinct", "pair-1e-08", "tied", "triple"]), ("tall", FEW)
    ):
        yield shape, name, Observable("smooth", {"function": "wiener", "scale": 1.0}), "wiener"
    for shape, name in where(
        ("square", ["distinct", "pair-1e-12", "pair-1e-08", "pair-1e-02", "tied", "triple",
                    "rank-deficient", "scaled-1e+30", "scaled-1e-30"]),
        ("tall", FEW), ("wide", FEW), ("batch", ["mixed"]),
    ):  # fmt: skip
        yield shape, name, Observable("projector", {"cut": 0.625 * scale_of(name)}), ""
    for shape, name in where(
        ("square", [*REGULAR, "rank-deficient", "two-zeros", "zero", *SCALED]),
        ("tall", FEW), ("wide", FEW), ("batch", ["mixed"]),
    ):  # fmt: skip
        yield shape, name, Observable("polar"), ""
        yield shape, name, Observable("nuclear"), ""
        yield shape, name, Observable("reconstruction"), ""
        if shape != "batch" and name != "zero":
            yield shape, name, Observable("values", {"groups": grouped(name)}), ""
    for shape, name in EMPTY:
        yield shape, name, Observable("nuclear"), ""
        yield shape, name, Observable("reconstruction"), ""
    for name in [*REGULAR, "rank-deficient", "zero"]:
        yield (
            "square",
            name,
            Observable("hermitian", {"function": "inverse_root", "scale": 1.0}),
            "",
        )
    for name in ("distinct", "pair-1e-08", "tied"):
        yield "square", name, exponential, "exp"
    for name in ("scaled-1e+30", "scaled-1e-150"):
        function = {"function": "inverse_root", "scale": scale_of(name)}
        yield "square", name, Observable("hermitian", function), ""
    for shape, name in where(("square", TIES), ("tall", FEW_TIES), ("wide", FEW_TIES)):
        yield shape, name, Observable("factors", {"cut": 0.625}), ""
    shrink = Observable("shrink", {"maximum": 0.75, "radius": 2.0, "rank": 3, "p": 3.0})
    for name in ("tied", "two-pairs", "rank-deficient"):
        yield "tall", name, shrink, ""
    for name in ("tied", "triple"):
        yield "wide", name, Observable("invert", {"b": [1.0, -2.0, 0.5, 1.5, -1.0]}), ""
    for name in ("distinct", "tied", "triple"):
        yield "square", name, Observable("rotate", {"special": True}), ""
        yield "square", name, Observable("align", {"center": [1.0, -2.0, 0.5, 1.5, -1.0]}), ""
    tensor = Observable(
        "tensor", {"tau": 0.8125, "weights": [1.0, 0.5, -0.25], "sums": [1.0, -2.0, 0.5]}
    )
    for shape, name in (("tall", "tied"), ("wide", "rank-deficient")):
        yield shape, name, tensor, ""
    for name in ("distinct", "pair-1e-08", "tied", "triple", "all-equal"):
        yield "square", name, Observable("eigenvalues", {"groups": grouped(name)}), ""
    for shape, name, rank in (
        ("tall", "tied", 3), ("wide", "tied", 3), ("tall", "two-pairs", 3), ("tall", "triple", 1),
        ("square", "distinct", 2), ("tall", "pair-1e-02", 2), ("wide", "pair-1e-04", 2),
    ):  # fmt: skip
        yield shape, name, Observable("truncated", {"rank": rank}), ""
    for name in ("pair-1e-08", "tied", "triple", "all-equal"):
        yield "square", name, Observable("roots", {"p": 1.5}), ""
    for shape, name in where(
        ("square", ["distinct", "tied", "triple"]), ("tall", ["distinct", "tied"])
    ):
        yield shape, name, Observable("gauge"), ""


def probes(observable: Observable, name: str) -> dict[str, tuple[str, ...]]:
    """Which outputs the loss of each probe is made of."""
    if observable.kind not in ("factors", "truncated", *NAMED):
        return {"p0": observable.outputs}
    losses = {out: (out,) for out in observable.outputs}
    # Two tied values are too few to tell two losses apart and to check it.
    several = observable.kind == "factors" and name in ("triple", "all-equal")
    return losses | ({"sum": ("tanh", "left")} if several else {})


# --- to JSON -------------------------------------------------------------------------------------


def numbers(parts: list[mp.matrix], is_complex: bool, size: float = 0.0) -> list[Any]:
    """Entries in row-major order as doubles; what is zero but for 50-digit rounding is zero.

    Rounding is measured by the largest entry, or by the natural size if that is larger.
    """
    entries = [x for part in parts for x in part]
    negligible = max([mp.mpf(size), *map(abs, entries)]) * mp.mpf(10) ** -22

    def real(x: Any) -> float:
        return 0.0 if abs(x) <= negligible else float(x)

    if is_complex:
        return [[real(mp.re(x)), real(mp.im(x))] for x in entries]
    return [real(mp.re(x)) for x in entries]


def tensor(
    parts: list[mp.matrix], shape: tuple[int, ...], is_complex: bool, size: float = 0.0
) -> dict[str, Any]:
    """An array in the form of the public oracle collection; sums over nothing are zero."""
    dtype = "complex128" if is_complex else "float64"
    zero: Any = [0.0, 0.0] if is_complex else 0.0
    data = numbers(parts, is_complex, size) if parts else [zero] * prod(shape)
    return {"data": data, "dtype": dtype, "order": "row_major", "shape": list(shape)}


def scalars(values: list[Any], batch: tuple[int, ...]) -> dict[str, Any]:
    """Real numbers, one for each matrix."""
    return tensor([mp.matrix([[v]]) for v in values], batch, False)


def exact_in(array: dict[str, Any], precision: str) -> bool:
    """Whether a precision holds every number of an array."""
    data = np.array(array["data"], dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        return bool(np.array_equal(data.astype(precision).astype(np.float64), data))


def norm(array: dict[str, Any]) -> float:
    """Norm of all entries of an array, those of a batch together."""
    data = np.array(array["data"], dtype=np.float64).reshape(-1)
    return float(np.sqrt(np.sum(data**2)))


@cache
def points(shape: str, name: str, is_complex: bool, hermitian: bool) -> tuple[Any, list[Point]]:
    """An input, and its matrices as points."""
    made = matrices.make(shape, name, is_complex, hermitian)
    return made, [Point(a, hermitian) for a in made.matrices]


@cache
def direction(seed: str, m: int, n: int, is_complex: bool, bits: int = 3) -> Direction:
    """A direction or cotangent, the same object each time."""
    return Direction(matrices.dyadic(Random(seed), m, n, is_complex, bits))


def build(shape: str, name: str, observable: Observable, variant: str, is_complex: bool) -> Any:
    """One case, as it goes into the file."""
    kind = observable.kind
    hermitian = kind in HERMITIAN
    made, places = points(shape, name, is_complex, hermitian)
    m, n = made.shape
    count, field = len(places), "complex" if is_complex else "real"
    has_tau = observable.tau is not None
    tau_shape = made.batch if isinstance(observable.tau, list) else ()
    given = [mp.mpf(t) for t in observable.tau] if tau_shape else [observable.tau] * count
    taus = [mp.mpf(t) if has_tau else None for t in given][:count]
    a = tensor(made.matrices, (*made.batch, m, n), is_complex)
    inputs = {"a": a}
    if has_tau:
        inputs["tau"] = scalars(given if tau_shape else [mp.mpf(observable.tau)], tau_shape)
    case_id = "/".join(
        part for part in (kind, shape, f"{name}-{variant}" if variant else name, field) if part
    )
    precisions = [p for p in ("float32", "float64") if all(exact_in(x, p) for x in inputs.values())]
    if kind in ("truncated", *NAMED) and is_complex:  # large programs, where they are compiled
        precisions = ["float64"]
    case: dict[str, Any] = {
        "case_id": case_id,
        "schema_version": SCHEMA,
        "op": "eigh" if hermitian else "svd",
        "observable": {"kind": kind, **observable.options},
        "family": name,
        "dtype": a["dtype"],
        "precisions": precisions,
        "inputs": inputs,
        "singular_values": [[float(s) for s in values] for values in made.values],
    }
    if kind == "gauge":
        case["expected_behavior"] = "error"
        case["comparison"] = {"kind": "expect_error", "reason_code": "gauge_ill_defined"}
        # Many bits: by a coincidence a loss may be stationary in the choice that is made.
        sizes = {"u": (m, min(m, n)), "vh": (min(m, n), n)}
        cotangent = {
            out: tensor([direction(f"cotangent {out}", *size, is_complex, 16)], size, is_complex)
            for out, size in sizes.items()
        }
        case["probes"] = [{"probe_id": "p0", "cotangent": cotangent}]
        return case
    reasons = [undefined(observable, v, t) for v, t in zip(made.values, taus, strict=True)]
    reason = next((r for r in reasons if r), None)

    # One direction and one cotangent for every matrix of this shape, whatever the observable.
    directions = [direction(f"direction {i}", m, n, is_complex) for i in range(count)]
    half = mp.mpf(1) / 2
    tau_directions = [(1 + i) * half if tau_shape else half for i in range(len(given))]
    shapes = observable.shapes(m, n)
    flat = [s if len(s) == 2 else (1, s[0] if s else 1) for s in shapes]
    is_complex_output = [is_complex and out not in observable.real_outputs
                         for out in observable.outputs]  # fmt: skip
    cts = [
        [
            direction(f"cotangent {o} {i}", *size, is_complex_output[o])
            for o, size in enumerate(flat)
        ]
        for i in range(count)
    ]

    def outputs(parts: list[Any], some: tuple[str, ...] = observable.outputs) -> dict[str, Any]:
        return {
            out: tensor([p[o] for p in parts], (*made.batch, *shapes[o]), is_complex_output[o])
            for o, out in enumerate(observable.outputs) if out in some
        }  # fmt: skip

    def only(some: tuple[str, ...]) -> list[Any]:
        """The cotangents, zero but for some outputs."""
        return [
            [c if out in some else 0 * c for c, out in zip(of_one, observable.outputs, strict=True)]
            for of_one in cts
        ]

    def gradients(parts: list[tuple[Any, Any]], size: float) -> dict[str, Any]:
        result = {"a": tensor([p for p, _ in parts], (*made.batch, m, n), is_complex, size)}
        if has_tau:
            slopes = [t for _, t in parts]
            total = slopes if tau_shape else [sum(slopes, mp.mpf(0))]
            result["tau"] = scalars(total, tau_shape)
        return result

    step = {"a": tensor(directions, (*made.batch, m, n), is_complex)}
    if has_tau:
        step["tau"] = scalars(tau_directions if tau_shape else [half], tau_shape)
    tau_directions = tau_directions[:count]
    # The rule of svd reads a loss in reverse; forward mode has no loss to read.
    forward = kind not in ("factors", "truncated")
    asked = probes(observable, name)
    case["probes"] = [
        {"probe_id": probe_id}
        | ({"direction": step} if forward and probe_id == next(iter(asked)) else {})
        | {"cotangent": outputs(cts, some)}
        for probe_id, some in asked.items()
    ]
    if reason is not None:
        case["expected_behavior"] = "undefined"
        case["comparison"] = {"kind": "expect_finite", "reason_code": reason}
        return case

    references = [
        Reference(place, observable, tau, max(values) or mp.mpf(1), is_complex)
        for place, tau, values in zip(places, taus, made.values, strict=True)
    ]
    case["expected_behavior"] = "success"
    case["value"] = outputs([r.value() for r in references])
    case["comparison"] = compare_by(observable, made, taus, condition, "first_order")
    pairs = zip(made.values, taus, strict=True)
    size = max((slope(observable, v, t, made.shape) for v, t in pairs), default=1.0)
    step_norm, ct_norm = norm(step["a"]), max(map(norm, outputs(cts).values()))
    case["scale"] = {"value": norm(a), "jvp": size * step_norm, "vjp": size * ct_norm}
    for probe, some in zip(case["probes"], asked.values(), strict=True):
        probe["reference"] = {"method": "central_difference", "digits": DIGITS}
        if "direction" in probe:
            probe["reference"]["jvp"] = outputs(
                [r.jvp(*d) for r, *d in zip(references, directions, tau_directions, strict=True)]
            )
        probe["reference"]["vjp"] = gradients(
            [r.vjp(c) for r, c in zip(references, only(some), strict=True)], case["scale"]["vjp"]
        )
    if forward and second_order(shape, name, kind):
        case["scale"]["hvp"] = size * ct_norm * step_norm
        for probe, some in zip(case["probes"], asked.values(), strict=True):
            probe["reference"]["hvp"] = gradients(
                [
                    r.hvp(c, *d)
                    for r, c, *d in zip(
                        references, only(some), directions, tau_directions, strict=True
                    )
                ],
                case["scale"]["hvp"],
            )
        if name == "distinct" or kind not in OF_VECTORS:
            second = compare_by(observable, made, taus, second_condition, "second_order")
        else:
            second = {"second_order": {"kind": "expect_finite", "reason_code": "tie"}}
        case["comparison"] |= second
    return case


FLAT = ("soft", "smooth", "low_rank", "shrink", "tensor")
"""Kinds that have a second derivative at values of zero."""

OF_VECTORS = ("reconstruction", "values", "eigenvalues")
"""Kinds asked of ``svd`` and ``svdvals`` themselves. They have a second derivative at a tie, but a
rule that is differentiated once more sees one of many bases: only a finite one is asked for."""


def second_order(shape: str, name: str, kind: str) -> bool:
    """Which cases have a second derivative in the file: where it exists, and few of each sort."""
    if kind == "truncated":
        return False
    if name in ("distinct", "tied", "triple"):
        return shape in ("square", "tall", "wide")
    if name in ("all-equal", "identity"):
        return shape == "square" and kind not in OF_VECTORS
    if name == "two-pairs":
        return kind == "shrink"
    zeros = {"two-zeros": ("square",), "rank-deficient": ("tall", "wide")}
    return shape in zeros.get(name, ()) and kind in FLAT


def compare_by(observable: Observable, made: Any, taus: list[Any], kappa: Any, order: str) -> Any:
    """Tolerance of a case: ``64 eps condition`` for each precision that can resolve it."""
    conditions = {}
    for precision, eps in EPS.items():
        worst = max(
            (
                kappa(observable, v, t, made.shape, eps)
                for v, t in zip(made.values, taus, strict=True)
            ),
            default=1.0,
        )
        if SAFETY * eps * worst <= LOOSEST:
            conditions[precision] = float(f"{worst:.4g}")
    return {order: {"kind": "norm", "eps_factor": SAFETY, "condition": conditions}}


def collect(only: str = "") -> dict[str, list[Any]]:
    """All cases by observable; ``only`` restricts them to ids that contain it."""
    mp.mp.dps = DIGITS
    files: dict[str, list[Any]] = {kind: [] for kind in DESCRIPTIONS}
    for shape, name, observable, variant in questions():
        for is_complex in (False, True):
            label = f"{observable.kind}/{shape}/{name}"
            if is_complex and observable.kind in REAL:
                continue
            if only in label and not (
                observable.kind == "gauge" and name == "distinct" and not is_complex
            ):
                files[observable.kind].append(build(shape, name, observable, variant, is_complex))
    return files


def render(kind: str, cases: list[Any]) -> str:
    """A file: a header, and one case on each line."""
    header = {
        "schema_version": SCHEMA, "collection": "svdinv-conformance", "version": VERSION,
        "observable": kind, "definition": DESCRIPTIONS[kind],
    }  # fmt: skip
    lines = ",\n".join(json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases)
    head = json.dumps(header, indent=0, allow_nan=False)[:-2]
    return f'{head},\n"cases": [\n{lines}\n]}}\n'


def main() -> int:
    """Write the files, or compare with those that are there."""
    parser = argparse.ArgumentParser(prog="conformance/generator", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--check", action="store_true", help="compare with the files, write none")
    options = parser.parse_args()
    texts = {f"{kind}.json": render(kind, cases) for kind, cases in collect().items()}
    if options.check:
        different = [
            name
            for name, text in texts.items()
            if not (options.out / name).is_file() or (options.out / name).read_text("utf-8") != text
        ]
        print("different: " + ", ".join(different) if different else "the same, byte for byte")
        return 1 if different else 0
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (options.out / name).write_text(text, encoding="utf-8")
        print(f"{name}: {text.count('case_id')} cases, {len(text) / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

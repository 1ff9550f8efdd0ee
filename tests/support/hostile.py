"""Hostile matrices by the hundred thousand: every function, forward and reverse.

`make hostile` runs it whole, `tests/adapters/test_hostile.py` in short. A matrix is made of its
factors, so that the derivative is known by formula: tied values (to the last bit, or split by
rounding), zeros, values many orders apart, scales from subnormal to nearly the largest number, and
in every batch some with a NaN or an infinity.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

CELLS = (((4, 4), False), ((6, 3), True), ((3, 5), False))
SPOILT = 0.02  # share of the matrices with a NaN or an infinity
TAU = 0.3  # threshold, relative to the largest value; no value is near it


class Batch(NamedTuple):
    """Matrices ``(N, m, n)`` in a dtype; factors in double, with values at most 1; and cotangents.

    `scale` is the power of two that A was multiplied by, `eps` how exact A is relative to its
    largest value, `good` where no entry is spoilt.
    """

    A: Any
    U: Any
    S: Any
    V: Any
    scale: Any
    eps: Any
    good: Any
    W: Any
    direction: Any


def haar(rng, count, n, is_complex):
    """Unitary matrices; every second one exact in any precision: a permutation with signs."""
    X = rng.standard_normal((count, n, n))
    X = X + 1j * rng.standard_normal(X.shape) if is_complex else X
    Q = np.linalg.qr(X)[0]
    P = np.eye(n)[rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)]
    P = P * rng.choice([-1.0, 1.0], (count, 1, n))
    return np.where(np.arange(count)[:, None, None] % 2 == 0, Q, P)


def spectra(rng, count, k):
    """Values in descending order, the largest 1, none from 0.15 to 0.5 (where the threshold is)."""
    S = np.where(rng.random((count, k)) < 0.5, rng.uniform(0.5, 1, (count, k)), 0.0)
    small = rng.uniform(0.02, 0.15, (count, k))
    S = np.where(S == 0, small, S)
    kind = rng.integers(0, 6, count)[:, None]
    tied = np.where(S > 0.3, 0.75, 0.1)  # two multiplets
    tiny = 10.0 ** rng.uniform(-45, -3, (count, k))
    S = np.select([kind == 1, kind == 2, kind == 3], [tied, np.ones_like(S), S], S)
    last = np.arange(k) == k - 1
    S = np.where((kind == 3) & last, 0.0, S)
    S = np.where((kind == 4) & (S < 0.3), tiny, S)
    S[:, 0] = 1.0
    return -np.sort(-S, axis=1)


def draw(rng, count, shape, is_complex, dtype) -> Batch:
    """A batch in which every kind of matrix is likely to be."""
    (m, n), k = shape, min(shape)
    U = haar(rng, count, m, is_complex)[..., :k]
    V = haar(rng, count, n, is_complex)[..., :k]
    S = spectra(rng, count, k)
    info = np.finfo(dtype)
    lowest, highest = info.minexp - info.nmant + 8, info.maxexp - 6
    exponent = rng.integers(lowest, highest, count)
    exponent = np.where(rng.random(count) < 0.3, 0, exponent)
    scale = np.ldexp(1.0, exponent)
    A = (U * S[:, None, :]) @ V.conj().swapaxes(-1, -2)
    A = A * scale[:, None, None]
    zero = rng.random(count) < 0.01
    A[zero], S[zero] = 0, 0
    wanted = np.result_type(dtype, np.complex64) if is_complex else np.dtype(dtype)
    A = A.astype(wanted)
    spoilt = rng.random(count) < SPOILT
    A[spoilt, 0, -1] = rng.choice([np.nan, np.inf, -np.inf], spoilt.sum())
    smallest = float(info.smallest_subnormal)
    eps = np.maximum(float(info.eps), np.where(zero, 0, smallest / scale))

    def normal():
        X = rng.standard_normal(A.shape)
        return (X + 1j * rng.standard_normal(A.shape) if is_complex else X).astype(wanted)

    return Batch(A, U, S, V, scale, eps, ~spoilt, normal(), normal())


def derivative(b: Batch, G, f, plus, minus, ratio):
    """``D[G]`` in double, from coefficients of the values of size 1."""
    Uh, Vh = (X.conj().swapaxes(-1, -2) for X in (b.U, b.V))
    P = Uh @ G @ b.V
    Ph = P.conj().swapaxes(-1, -2)
    core = 0.5 * (plus * (P + Ph) + minus * (P - Ph))
    out = b.U @ core @ Vh
    GV, UG = G @ b.V, Uh @ G
    out = out + (GV - b.U @ P) * ratio[:, None, :] @ Vh
    return out + b.U @ (ratio[:, :, None] * (UG - P @ Vh))


def pairs(S):
    """Values of rows and of columns, and 1 over their sum, 0 for two zeros."""
    i, j = S[:, :, None], S[:, None, :]
    total = i + j
    return i, j, np.where(total > 0, 1 / np.where(total > 0, total, 1), 0)


def soft(b: Batch, G):
    f = np.maximum(b.S - TAU, 0)
    i, j, inverse = pairs(b.S)
    fi, fj = f[:, :, None], f[:, None, :]
    gap = np.where((i > TAU) == (j > TAU), 1, i - j)
    plus = np.where((i > TAU) & (j > TAU), 1.0, np.where((i > TAU) | (j > TAU), (fi - fj) / gap, 0))
    return derivative(b, G, f, plus, (fi + fj) * inverse, f / np.where(b.S > 0, b.S, 1))


def through_tau(b: Batch, G):
    P = b.U.conj().swapaxes(-1, -2) @ G @ b.V
    return -np.sum(np.where(b.S > TAU, np.diagonal(P, axis1=1, axis2=2).real, 0), axis=-1)


def truncated(b: Batch, G):
    kept = (np.arange(b.S.shape[1]) < RANK) * 1.0
    f = b.S * kept
    i, j, inverse = pairs(b.S)
    fi, fj = f[:, :, None], f[:, None, :]
    across = kept[:, None] != kept[None, :]
    gap = np.where(across & (i != j), i - j, 1)
    plus = np.where(across, (fi - fj) / gap, (kept[:, None] * kept[None, :]))
    return derivative(b, G, f, plus, (fi + fj) * inverse, np.broadcast_to(kept, f.shape))


def cubed(b: Batch, G):
    i, j, _ = pairs(b.S)
    return derivative(b, G, b.S**3, i * i + i * j + j * j, i * i - i * j + j * j, b.S**2)


def positive(b: Batch, G):
    """Reverse mode of the positive factor, for the cotangent G of it."""
    Uh, Vh = (X.conj().swapaxes(-1, -2) for X in (b.U, b.V))
    tall = b.U.shape[1] >= b.V.shape[1]
    i, j, inverse = pairs(b.S)
    C = (Vh @ G @ b.V) if tall else (Uh @ G @ b.U)
    return b.U @ ((i if tall else j) * inverse * (C + C.conj().swapaxes(-1, -2))) @ Vh


def nuclear(b: Batch, G):
    return G[:, None, None] * (b.U @ b.V.conj().swapaxes(-1, -2))


RANK = 2


@dataclass(frozen=True)
class Question:
    """A function of a module, its exact derivative, and how far a gradient may be from it.

    `call` takes the module, the matrices, the thresholds and the function ``s -> s^3`` at scale.
    """

    call: Callable[..., Any]
    exact: Callable[..., Any] | None = None
    power: float = 1.0  # of eps
    bound: float = 200.0  # times eps^power
    self_adjoint: bool = True
    condition: Callable[[Batch], Any] = lambda b: np.ones(len(b.S))


def _cut(b: Batch):
    gap = b.S[:, RANK - 1] - b.S[:, RANK]
    return np.where(gap > 0.01, np.maximum(gap, 1e-300) ** -2.0, np.inf)


def _smallest(b: Batch):
    return np.where(b.S[:, -1] > 1e-3, 1 / np.maximum(b.S[:, -1], 1e-300), np.inf)


QUESTIONS: dict[str, Question] = {
    "svt": Question(lambda m, x, tau, fn: m.svt(x, tau), soft),
    "low_rank": Question(
        lambda m, x, tau, fn: m.low_rank(x, RANK), truncated, bound=40.0, condition=_cut
    ),
    "singular_value_map": Question(
        lambda m, x, tau, fn: m.singular_value_map(x, fn), cubed, power=2 / 3, bound=10.0
    ),
    "nuclear_norm": Question(
        lambda m, x, tau, fn: m.nuclear_norm(x), nuclear, condition=_smallest, self_adjoint=False
    ),
    "polar": Question(
        lambda m, x, tau, fn: m.polar(x).positive,
        positive,
        condition=_smallest,
        self_adjoint=False,
    ),
    "procrustes": Question(lambda m, x, tau, fn: m.procrustes(x)),
    "svdvals": Question(lambda m, x, tau, fn: m.svdvals(x)),
    "svd": Question(lambda m, x, tau, fn: m.svd(x).S),
    "eigenvalue_map": Question(lambda m, x, tau, fn: m.eigenvalue_map(x, fn)),
    "eigh": Question(lambda m, x, tau, fn: m.eigh(x).eigenvalues),
}
HERMITIAN = ("eigenvalue_map", "eigh")
# The derivative of `procrustes` is of size 1/S, and overflows. The caller's function below divides
# by the scale, and so do its derivatives: to infinity, or to nothing.
MAPS = ("singular_value_map", "eigenvalue_map")
LEAST_COMPLEX_STEP = 1e-290


def cubes(scale):
    """``s (s/scale)^2`` for arrays of any framework."""

    def fn(s):
        return s * (s / scale) * (s / scale)

    return fn


def numpy_answers(question, b: Batch, tau):
    import svdinv.numpy as module

    scale = b.scale.astype(tau.dtype)[:, None]
    args = {"x": b.A}
    name, *rest = _explicit_arguments(question, tau, cubes(scale))
    function = getattr(module, name)
    out, pullback = module.vjp(function, args["x"], *rest)
    out, pick = (out, lambda c: c) if not isinstance(out, tuple) else _field(name, out)
    ct = _cotangent(b, out)
    cts = pullback(pick(ct))
    _, dout = module.jvp(function, (b.A, *rest), (b.direction, *(None for _ in rest)))
    dout = dout if not isinstance(dout, tuple) else getattr(dout, FIELDS[name])
    return out, ct, cts[0], (cts[1] if name == "svt" else None), dout


FIELDS = {"polar": "positive", "svd": "S", "eigh": "eigenvalues"}


def _field(name, out):
    field = FIELDS[name]
    return getattr(out, field), lambda c: tuple(c if f == field else None for f in out._fields)


def _explicit_arguments(question, tau, fn):
    name = next(n for n, q in QUESTIONS.items() if q is question)
    more = {
        "svt": (tau,),
        "low_rank": (RANK,),
        "singular_value_map": (fn,),
        "eigenvalue_map": (fn,),
    }
    return name, *more.get(name, ())


def _cotangent(b: Batch, out):
    """A cotangent of the result: W where it has the shape of the matrices."""
    if out.shape == b.A.shape:
        return b.W
    if out.ndim == 3:  # Hermitian
        Wh = b.W.conj().swapaxes(-1, -2)
        return b.W @ Wh if out.shape[-1] == b.W.shape[1] else Wh @ b.W
    return np.ones(out.shape, out.dtype)


def torch_answers(question, b: Batch, tau):
    import svdinv.torch as module
    import torch
    from torch.autograd import forward_ad

    x, t = torch.tensor(b.A, requires_grad=True), torch.tensor(tau, requires_grad=True)
    fn = cubes(torch.tensor(b.scale.astype(tau.dtype))[:, None])
    out = question.call(module, x, t, fn)
    ct = _cotangent(b, out.detach().numpy())
    ct_x, ct_tau = torch.autograd.grad(out, (x, t), torch.tensor(ct), allow_unused=True)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.detach(), torch.tensor(b.direction))
        dout = forward_ad.unpack_dual(question.call(module, dual, t.detach(), fn)).tangent
    return (
        out.detach().numpy(),
        ct,
        ct_x.numpy(),
        None if ct_tau is None else ct_tau.numpy(),
        dout.detach().numpy(),
    )


_programs: dict[Any, Any] = {}


def jax_answers(question, b: Batch, tau):
    import jax
    import svdinv.jax as module

    jax.config.update("jax_enable_x64", True)
    if question not in _programs:

        @jax.jit
        def program(x, tau, scale, dx, ct):
            call = lambda x, tau: question.call(module, x, tau, cubes(scale))  # noqa: E731
            out, pullback = jax.vjp(call, x, tau)
            _, dout = jax.jvp(lambda x: call(x, tau), (x,), (dx,))
            return out, pullback(ct.conj()), dout

        _programs[question] = program
    scale = b.scale.astype(tau.dtype)[:, None]
    if question not in _shapes:
        _shapes[question] = {}
    key = (b.A.shape, b.A.dtype)
    if key not in _shapes[question]:
        shape = jax.eval_shape(lambda x, t: question.call(module, x, t, cubes(scale)), b.A, tau)
        _shapes[question][key] = shape
    ct = _cotangent(b, np.zeros(_shapes[question][key].shape, _shapes[question][key].dtype))
    out, (ct_x, ct_tau), dout = _programs[question](b.A, tau, scale, b.direction, ct)
    return tuple(map(np.asarray, (out, ct, ct_x.conj(), ct_tau, dout)))


_shapes: dict[Any, Any] = {}
ANSWERS = {"numpy": numpy_answers, "torch": torch_answers, "jax": jax_answers}


@dataclass
class Tally:
    """What was asked and found, a row for a function."""

    asked: int = 0
    compared: int = 0
    worst: float = 0.0  # error over its bound
    faults: list[str] = field(default_factory=list)


def _finite(x):
    return np.isfinite(x).reshape(len(x), -1).all(axis=1)


def _norm(x):
    return np.linalg.norm(x.reshape(len(x), -1), axis=1)


def examine(name, framework, b: Batch, tally: Tally) -> None:
    """Hold the answers of one module for one batch against the formula; faults go to the tally."""
    question = QUESTIONS[name]
    dtype = b.A.real.dtype
    tau = (TAU * b.scale).astype(dtype)
    out, ct, ct_x, ct_tau, dout = ANSWERS[framework](question, b, tau)
    where = f"{framework} {name} {b.A.shape[1:]} {b.A.dtype}"
    tally.asked += len(b.A)
    for what, y in (("value", out), ("gradient", ct_x), ("tangent", dout)):
        if np.any(_finite(y) & ~b.good):
            tally.faults.append(f"{where}: {what} of a spoilt matrix is finite")
    smallest = float(np.finfo(dtype).smallest_normal)
    seen, eps = b.good, b.eps
    if framework == "jax":  # XLA takes subnormal numbers for zero
        seen = seen & (b.scale * 1e-3 > smallest)
        eps = np.maximum(eps, np.where(b.S[:, 0] > 0, smallest / b.scale, 0.0))
    if name == "procrustes":
        seen = seen & (b.scale * np.finfo(dtype).eps > 16 * smallest)
    if name in MAPS:
        seen = seen & (b.scale > 1e4 * smallest) & (b.scale < 1e-5 / smallest)
    if framework == "numpy" and name in MAPS:
        smallest_value = np.min(np.where(b.S > 0, b.S, 1.0), axis=1) * b.scale
        seen = seen & (smallest_value > LEAST_COMPLEX_STEP)
    for what, y in (("value", out), ("gradient", ct_x), ("tangent", dout)):
        bad = ~_finite(y) & seen
        if bad.any():
            at = np.flatnonzero(bad)[0]
            tally.faults.append(
                f"{where}: {what} is not finite, in {bad.sum()} matrices; values {b.S[at]} times "
                f"{b.scale[at]:.1e}"
            )
    if question.exact is None:
        return
    G = ct.astype(np.result_type(ct.dtype, np.float64))
    compare = [("gradient", ct_x, question.exact(b, G), _norm(G))]
    if question.self_adjoint:
        dA = b.direction.astype(np.result_type(b.direction.dtype, np.float64))
        compare.append(("tangent", dout, question.exact(b, dA), _norm(dA)))
    if name == "svt" and ct_tau is not None:
        compare.append(("gradient in tau", ct_tau, through_tau(b, G), _norm(G)))
    kappa = question.condition(b)
    zero = b.S[:, 0] == 0
    use = seen & np.isfinite(kappa) & ~zero & (eps < 1e-3)
    bound = question.bound * eps**question.power * np.where(use, kappa, 1.0)
    for what, y, exact, size in compare:
        error = np.where(use, _norm(y - exact) / size / bound, 0.0)
        error = np.where(use & ~np.isfinite(error), np.inf, error)
        tally.compared += int(use.sum())
        worst = int(np.argmax(error))
        tally.worst = max(tally.worst, float(error[worst]))
        if error[worst] > 1:
            tally.faults.append(
                f"{where}: {what} is off by {error[worst] * bound[worst]:.1e} in "
                f"{int((error > 1).sum())} matrices; values {b.S[worst]} times {b.scale[worst]:.1e}"
            )


def batches(rng, total, size) -> Iterator[tuple[Any, Any, Batch]]:
    """Batches of all cells and precisions, `total` matrices or more."""
    kinds = [(cell, dtype) for dtype in (np.float32, np.float64) for cell in CELLS]
    drawn = 0
    while drawn < total:
        for (shape, is_complex), dtype in kinds:
            yield shape, dtype, draw(rng, size, shape, is_complex, dtype)
            drawn += size


def run(total, size, frameworks, names=tuple(QUESTIONS), seed=0) -> dict[tuple[str, str], Tally]:
    """Ask every module every question about every batch."""
    rng = np.random.default_rng(seed)
    tallies = {(f, n): Tally() for f in frameworks for n in names}
    for (m, n), _, batch in batches(rng, total, size):
        for framework in frameworks:
            for name in names:
                if name in HERMITIAN and m != n:
                    continue
                with np.errstate(all="ignore"):
                    examine(name, framework, batch, tallies[framework, name])
    return tallies


def main() -> int:
    """Print a row for each module and function, then the faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrices", type=int, default=102_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--framework", default="numpy,torch,jax")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tallies = run(options.matrices, options.batch, options.framework.split(","), seed=options.seed)
    for (framework, name), tally in tallies.items():
        print(
            f"{framework:6} {name:18} {tally.asked:7} matrices, {tally.compared:7} derivatives "
            f"compared, worst error {tally.worst:.2f} of its bound, {len(tally.faults)} faults"
        )
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

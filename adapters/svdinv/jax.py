"""svdinv for JAX arrays: one `custom_jvp` for decompositions, one for operators.

JAX transposes a linear forward rule, which gives the reverse rule at the same cost and in JAX's
convention for complex cotangents. If the reverse rule is not linear in the cotangents, forward mode
is a primitive whose transpose is that rule. The factors are computed once, outside the rules, from
the input with its gradient stopped. :func:`_decompose` makes them functions of the input for a rule
that is differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ._missing import cannot_import

try:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.extend.core import Primitive
    from jax.interpreters import ad, batching, mlir
except ImportError as error:
    raise cannot_import(error, "jax", "JAX") from error

from svdinv_core import Decomposition, Given, Operator, Rule, Situation, SVDFactors
from svdinv_core.drivers import LARGEST_JACOBI_ON_GPU, Looks

from . import _jax_namespace, rules
from ._api import (
    AlignmentResult,
    Driver,
    EighDriver,
    EighResult,
    Functions,
    Gauge,
    LstsqResult,
    Multiplets,
    PolarResult,
    Side,
    SVDResult,
    TruncateDriver,
    TruncatedSVDResult,
    documented_by,
)
from ._backend import Backend, Function
from ._checks import check_dtype
from ._driver import Factors, Leading
from ._frameworks import is_foreign
from ._gauge import Watch
from ._jax_operator import apply as _apply
from ._jax_operator import batched
from ._jax_sharding import by_the_compiler, devices, factors_of, is_spread, whole
from .operators import LinearOperator

_xp: Any = _jax_namespace


@partial(jax.jit, static_argnums=(0, 1))
def _run(operation: Decomposition | Operator, method: str, *args: Any) -> Any:
    """Compile and run a method of the core; eager JAX would dispatch every operation."""
    with jax.default_matmul_precision("float32"):
        return getattr(operation, method)(_xp, *args)


@partial(jax.jit, static_argnums=0)
def _values(function: Any, *args: Any) -> Any:
    """Compile and run a function that is compared by its fields, so that it compiles once."""
    return function(*args)


@partial(jax.jit, static_argnums=0)
def _compute(decomposition: Decomposition, x: Any) -> Any:
    """Factors of an array of finite values, compiled."""
    xp: Any = _jax_namespace
    return decomposition.compute(xp, x, finite=True)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _decompose(decomposition: Decomposition, x: Any, raw: Any) -> Any:
    """The factors `raw` as differentiable functions of x."""
    return raw


@_decompose.defjvp
def _decompose_jvp(decomposition: Decomposition, primals: Any, tangents: Any) -> Any:
    factors = _decompose(decomposition, *primals)
    if decomposition.linear:
        return factors, _push_forward(decomposition, *factors, tangents[0])
    known = _decompose(decomposition.fallback, *primals)
    out = _tangents.bind(*known, tangents[0], decomposition=decomposition)
    return factors, decomposition.Factors(*out)


def _push_forward(decomposition: Decomposition, *arrays: Any) -> Any:
    """Forward mode: linear in the last array, which is the tangent; the others are the factors."""
    *factors, dx = arrays
    return _run(decomposition, "jvp", decomposition.Factors(*factors), dx)


@partial(jax.jit, static_argnums=0)
def _pull_back(decomposition: Decomposition, factors: Any, cts: Any) -> Any:
    """Reverse mode. It is differentiated again by the linear rule."""
    with jax.default_matmul_precision("float32"):
        cts = tuple(ct if ct is None else jnp.conj(ct) for ct in cts)
        ct_x: Any = decomposition.vjp(_xp, factors, cts, constant=jax.lax.stop_gradient)
        return jnp.conj(ct_x)


# Forward mode as a primitive, so that its transpose can be a reverse rule that is not linear.
_tangents: Any = Primitive("svdinv_tangents")
_tangents.multiple_results = True
_tangents.def_impl(lambda *arrays, decomposition: tuple(_push_forward(decomposition, *arrays)))
_tangents.def_abstract_eval(lambda *avals, decomposition: avals[:-1])
mlir.register_lowering(
    _tangents,
    mlir.lower_fun(
        lambda *arrays, decomposition: tuple(_push_forward(decomposition, *arrays)),
        multiple_results=True,
    ),
)


def _tangents_jvp(primals: Any, tangents: Any, *, decomposition: Decomposition) -> Any:
    *factors, dx = primals
    *dfactors, ddx = tangents
    out = _tangents.bind(*primals, decomposition=decomposition)
    dout: Any = [None for _ in out]
    if not isinstance(ddx, ad.Zero):
        dout = _tangents.bind(*factors, ddx, decomposition=decomposition)
    if not all(isinstance(d, ad.Zero) for d in dfactors):
        moved = jax.jvp(
            lambda *factors: tuple(_push_forward(decomposition, *factors, dx)),
            tuple(factors),
            tuple(map(ad.instantiate_zeros, dfactors)),
        )[1]
        dout = [b if a is None else a + b for a, b in zip(dout, moved, strict=True)]
    return out, dout


def _tangents_transpose(cts: Any, *primals: Any, decomposition: Decomposition) -> Any:
    *factors, dx = primals
    absent = [None for _ in factors]
    if all(isinstance(ct, ad.Zero) for ct in cts):
        return [*absent, ad.Zero(dx.aval)]
    given = tuple(None if isinstance(ct, ad.Zero) else ct for ct in cts)
    return [*absent, _pull_back(decomposition, decomposition.Factors(*factors), given)]


ad.primitive_jvps[_tangents] = _tangents_jvp
ad.primitive_transposes[_tangents] = _tangents_transpose
batching.primitive_batchers[_tangents] = partial(batched, _tangents)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _watch(watch: Watch, factors: SVDFactors) -> SVDFactors:
    """The factors unchanged; `watch` checks their cotangents in reverse mode."""
    return factors


def _watch_forward(watch: Watch, factors: SVDFactors) -> Any:
    return factors, factors


def _watch_reverse(watch: Watch, factors: SVDFactors, cts: SVDFactors) -> Any:
    if any(isinstance(a, jax.core.Tracer) for a in (*factors, *cts)):
        raise watch.not_eager()
    seen, along = whole((factors, tuple(map(jnp.conj, cts))))
    watch.look(_xp, seen, along, lambda r: r.reshape(-1).tolist())
    return (cts,)


_watch.defvjp(_watch_forward, _watch_reverse)


# Older versions of JAX have it in jax.core.
_INCONCLUSIVE: Any = getattr(jax.errors, "InconclusiveDimensionOperation", None) or vars(
    jax.core
).get("InconclusiveDimensionOperation")


@jax.jit
def _without_small_entries(x: Any) -> Any:
    """x with 0 for entries off the diagonal far below the rounding error of the largest entry.

    LAPACK does not converge for some matrices because of such entries, and a compiled program
    cannot try again.
    """
    size = jnp.abs(x)
    largest = jnp.max(size, axis=(-2, -1), keepdims=True, initial=0.0)
    small = size < 0.01 * float(np.finfo(x.dtype).eps) * largest
    diagonal = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=bool), x.shape)
    return jnp.where(small & ~diagonal, 0.0, x)


def _on_the_host(x: Any) -> bool:
    """Whether x is on the host, so that reading its values is free."""
    return not isinstance(x, jax.core.Tracer) and all(d.platform == "cpu" for d in x.devices())


def _for_a_batch(choice: Any) -> Any:
    """Make `vmap` call a function of arrays (..., m, n) and (...) once, for the whole batch.

    By default `vmap` turns a `cond` inside it into a `select`, which runs both branches.
    """

    @jax.custom_batching.custom_vmap
    def call(x: Any, *params: Any) -> Any:
        return choice(x, *params)

    @call.def_vmap
    def batch(size: int, batched: Any, x: Any, *params: Any) -> Any:
        if not batched[0]:
            x = jnp.broadcast_to(x, (size, *x.shape))
        dims = x.ndim - 2

        def aligned(p: Any) -> Any:
            return jnp.reshape(p, (p.shape[0], *(1,) * (dims - p.ndim), *p.shape[1:]))

        params = tuple(
            aligned(p) if mapped else p for p, mapped in zip(params, batched[1:], strict=True)
        )
        out = call(x, *params)
        return out, jax.tree.map(lambda _: True, out)

    return call


def _situation(
    shape: tuple[Any, ...], single: bool, looks: Looks, platform: str, devices: int = 1
) -> Situation:
    """The situation of an array on a platform of JAX; tracers are taken to be on the default one.

    On a GPU the SVD is batched only if both sides are at most 32; `eigh` is batched.
    """
    largest = LARGEST_JACOBI_ON_GPU if platform in ("gpu", "cuda", "rocm") else 8
    return Situation(shape, single=single, looks=looks, largest_jacobi=largest, devices=devices)


@dataclass(frozen=True)
class _SparseProduct:
    """A sparse matrix times a few columns, or its adjoint (`side` 1), from entries and indices."""

    side: int
    shape: tuple[int, ...]

    def __call__(self, X: Any, values: Any, places: Any) -> Any:
        entries = jnp.conj(values) if self.side else values
        # A BCOO may have indices beyond the matrix, which are ignored.
        kept = jnp.all(places < jnp.asarray(self.shape), axis=-1, keepdims=True)
        terms = jnp.where(kept, entries[:, None] * X[places[:, 1 - self.side]], 0)
        out = jnp.zeros((self.shape[self.side], X.shape[-1]), terms.dtype)
        return out.at[places[:, self.side]].add(terms, mode="drop")


class _JaxBackend(Backend):
    array_name = "jax.Array"
    xp = _xp

    def asarray(self, x: Any) -> Any:
        if isinstance(x, np.ndarray):
            check_dtype(x.dtype)  # before JAX, which accepts fewer dtypes
        if not isinstance(x, (jax.Array, np.ndarray)):
            return None
        try:
            _ = x.ndim < 2 or x.shape[-2] < x.shape[-1]
        except _INCONCLUSIVE:
            raise ValueError(
                f"x: it is not known here which of m and n is larger, got shape {x.shape}; "
                "give symbolic lengths a constraint such as 'm >= n'"
            ) from None
        return jnp.asarray(x)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        return None if is_foreign(value, "jax") else jnp.asarray(value, dtype=dtype)

    def situation(self, x: Any) -> Situation:
        traced = isinstance(x, jax.core.Tracer)
        platform = jax.default_backend() if traced else next(iter(x.devices())).platform
        return _situation(
            tuple(x.shape),
            x.dtype in (jnp.float32, jnp.complex64),
            "free" if _on_the_host(x) else "program",
            platform,
            devices() if traced else len(x.devices()),
        )

    def of_values(self, function: Any, x: Any, params: tuple[Any, ...]) -> Any:
        x, *fixed = (jax.lax.stop_gradient(a) for a in (x, *params))
        if not isinstance(function, Factors | Leading):  # functions that may read values
            return function(x)
        if function.operation.needs == "eigenvectors":
            x = _without_small_entries(x)
        with jax.default_matmul_precision("float32"):
            if is_spread(x):
                return by_the_compiler(function, x, *fixed, specs=factors_of)
            if not any(isinstance(a, jax.core.Tracer) for a in (x, *fixed)):
                return _values(function, x, *fixed)
            if isinstance(function, Leading) and isinstance(function.operation.linear, Given):
                return function(x, *fixed)  # whose products know of no batch
            return _for_a_batch(function)(x, *fixed)

    def failed(self, values: Any) -> bool:
        return _on_the_host(values) and bool(np.isnan(np.asarray(values)).any())

    def compute(self, decomposition: Decomposition, x: Any) -> Any:
        return _compute(decomposition, x)

    def choose(self, enough: Any, found: Any, otherwise: Any) -> Any:
        if _on_the_host(enough):
            return found if enough else otherwise()
        return jax.lax.cond(enough, lambda: found, otherwise)

    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> Any:
        if is_spread(x):
            given = partial(_decompose, decomposition)
            return by_the_compiler(given, x, raw, specs=factors_of)
        return _decompose(decomposition, x, raw)

    def apply(
        self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        params = tuple(
            p if p.ndim >= x.ndim - 2 else jnp.expand_dims(p, tuple(range(x.ndim - 2 - p.ndim)))
            for p in params
        )
        if is_spread(x, *params):
            return tuple(by_the_compiler(partial(_apply, operator), x, raw, params))
        return tuple(_apply(operator, x, raw, params))

    def call(self, function: Any, *arrays: Any) -> Any:
        of_arrays = partial(function, _xp)
        with jax.default_matmul_precision("float32"):
            return by_the_compiler(of_arrays, *arrays) if is_spread(*arrays) else of_arrays(*arrays)

    def sparse(self, x: Any) -> LinearOperator | None:
        if type(x).__name__ != "BCOO" or x.ndim != 2 or x.n_batch or x.n_dense:
            return None
        m, n = x.shape
        there, back = (_SparseProduct(side, (m, n)) for side in (0, 1))
        return LinearOperator((m, n), x.dtype, there, back, (x.data, x.indices))

    def stopped(self, x: Any) -> Any:
        return jax.lax.stop_gradient(x)

    def constant(self, rows: Any, like: Any, is_complex: bool) -> Any:
        real = jnp.zeros(0, like.dtype).real.dtype
        return jnp.asarray(rows, dtype=jnp.result_type(real, jnp.complex64) if is_complex else real)

    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        return _watch(watch, factors)

    def cotangent(self, ct: Any) -> Any:
        return jnp.conj(ct)

    def product(self, fn: Function, s: Any) -> Function:
        f, pullback = jax.vjp(fn, s)
        return lambda v: pullback(jnp.astype(v, f.dtype))[0]

    def any(self, flags: Any) -> bool:
        return _on_the_host(flags) and bool(flags.any())


_backend = _JaxBackend()
_functions = Functions[jax.Array](lambda x: _backend)

# Written by adapters/write_public.py, between this mark and the next.
__all__ = [
    "AlignmentResult",
    "EighResult",
    "LstsqResult",
    "PolarResult",
    "SVDResult",
    "TruncatedSVDResult",
    "align_points",
    "eigenvalue_map",
    "eigh",
    "eigvalsh",
    "expm",
    "gauge_residual",
    "inv_sqrtm",
    "logm",
    "low_rank",
    "lstsq",
    "nuclear_norm",
    "pinv",
    "polar",
    "powm",
    "procrustes",
    "project_nuclear_ball",
    "range_projector",
    "rule_residual",
    "rules",
    "schatten_norm",
    "singular_value_clip",
    "singular_value_map",
    "spectral_function",
    "spectral_norm",
    "sqrtm",
    "svd",
    "svdvals",
    "svt",
    "tensor_svt",
    "truncated_svd",
]


@documented_by(Functions)
def align_points(
    p: jax.Array,
    q: jax.Array,
    weights: Any = None,
    /,
    *,
    scale: bool = False,
    reflection: bool = False,
    driver: Driver = "auto",
) -> AlignmentResult[jax.Array]:
    return _functions.align_points(p, q, weights, scale=scale, reflection=reflection, driver=driver)


@documented_by(Functions)
def eigenvalue_map(
    x: jax.Array,
    fn: Callable[[jax.Array], jax.Array],
    *,
    elementwise: bool = True,
    driver: EighDriver = "auto",
) -> jax.Array:
    return _functions.eigenvalue_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def eigh(
    x: jax.Array, /, *, rule: str | Rule = "auto", driver: EighDriver = "auto"
) -> EighResult[jax.Array]:
    return _functions.eigh(x, rule=rule, driver=driver)


@documented_by(Functions)
def eigvalsh(x: jax.Array, /, *, driver: EighDriver = "auto") -> jax.Array:
    return _functions.eigvalsh(x, driver=driver)


@documented_by(Functions)
def expm(x: jax.Array, /, *, driver: EighDriver = "auto") -> jax.Array:
    return _functions.expm(x, driver=driver)


@documented_by(Functions)
def gauge_residual(
    U: jax.Array, S: jax.Array, Vh: jax.Array, ct_U: jax.Array, ct_Vh: jax.Array
) -> jax.Array:
    return _functions.gauge_residual(U, S, Vh, ct_U, ct_Vh)


@documented_by(Functions)
def inv_sqrtm(
    x: jax.Array,
    /,
    *,
    floor: float | None = None,
    rtol: float | None = None,
    driver: EighDriver = "auto",
) -> jax.Array:
    return _functions.inv_sqrtm(x, floor=floor, rtol=rtol, driver=driver)


@documented_by(Functions)
def logm(x: jax.Array, /, *, driver: EighDriver = "auto") -> jax.Array:
    return _functions.logm(x, driver=driver)


@documented_by(Functions)
def low_rank(
    x: jax.Array,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    driver: TruncateDriver = "auto",
) -> jax.Array:
    return _functions.low_rank(
        x, rank, rtol=rtol, atol=atol, energy=energy, multiplets=multiplets, driver=driver
    )


@documented_by(Functions)
def lstsq(
    a: jax.Array, b: jax.Array, /, *, rtol: float | None = None, driver: Driver = "auto"
) -> LstsqResult[jax.Array]:
    return _functions.lstsq(a, b, rtol=rtol, driver=driver)


@documented_by(Functions)
def nuclear_norm(x: jax.Array, /, *, driver: Driver = "auto") -> jax.Array:
    return _functions.nuclear_norm(x, driver=driver)


@documented_by(Functions)
def pinv(x: jax.Array, /, *, rtol: float | None = None, driver: Driver = "auto") -> jax.Array:
    return _functions.pinv(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def polar(
    x: jax.Array, /, *, side: Side = "auto", driver: Driver = "auto"
) -> PolarResult[jax.Array]:
    return _functions.polar(x, side=side, driver=driver)


@documented_by(Functions)
def powm(
    x: jax.Array, p: float, /, *, rtol: float | None = None, driver: EighDriver = "auto"
) -> jax.Array:
    return _functions.powm(x, p, rtol=rtol, driver=driver)


@documented_by(Functions)
def procrustes(x: jax.Array, /, *, special: bool = False, driver: Driver = "auto") -> jax.Array:
    return _functions.procrustes(x, special=special, driver=driver)


@documented_by(Functions)
def project_nuclear_ball(x: jax.Array, radius: Any, /, *, driver: Driver = "auto") -> jax.Array:
    return _functions.project_nuclear_ball(x, radius, driver=driver)


@documented_by(Functions)
def range_projector(
    x: jax.Array,
    /,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    driver: TruncateDriver = "auto",
) -> jax.Array:
    return _functions.range_projector(x, rank=rank, rtol=rtol, driver=driver)


@documented_by(Functions)
def rule_residual(
    U: jax.Array,
    S: jax.Array,
    Vh: jax.Array,
    ct_U: jax.Array,
    ct_Vh: jax.Array,
    *,
    ct_S: jax.Array | None = None,
) -> jax.Array:
    return _functions.rule_residual(U, S, Vh, ct_U, ct_Vh, ct_S=ct_S)


@documented_by(Functions)
def schatten_norm(x: jax.Array, p: float, /, *, driver: Driver = "auto") -> jax.Array:
    return _functions.schatten_norm(x, p, driver=driver)


@documented_by(Functions)
def singular_value_clip(x: jax.Array, maximum: Any, /, *, driver: Driver = "auto") -> jax.Array:
    return _functions.singular_value_clip(x, maximum, driver=driver)


@documented_by(Functions)
def singular_value_map(
    x: jax.Array,
    fn: Callable[[jax.Array], jax.Array],
    *,
    elementwise: bool = True,
    driver: Driver = "auto",
) -> jax.Array:
    return _functions.singular_value_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def spectral_function(
    x: jax.Array, fn: Callable[[jax.Array], jax.Array], *, driver: Driver = "auto"
) -> jax.Array:
    return _functions.spectral_function(x, fn, driver=driver)


@documented_by(Functions)
def spectral_norm(x: jax.Array, /, *, driver: Driver = "auto") -> jax.Array:
    return _functions.spectral_norm(x, driver=driver)


@documented_by(Functions)
def sqrtm(x: jax.Array, /, *, rtol: float | None = None, driver: EighDriver = "auto") -> jax.Array:
    return _functions.sqrtm(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def svd(
    x: jax.Array,
    /,
    *,
    full_matrices: bool = False,
    rule: str | Rule = "auto",
    gauge: Gauge = "ignore",
    driver: Driver = "auto",
) -> SVDResult[jax.Array]:
    return _functions.svd(x, full_matrices=full_matrices, rule=rule, gauge=gauge, driver=driver)


@documented_by(Functions)
def svdvals(x: jax.Array, /, *, driver: Driver = "auto") -> jax.Array:
    return _functions.svdvals(x, driver=driver)


@documented_by(Functions)
def svt(
    x: jax.Array,
    tau: float | jax.Array,
    weights: jax.Array | None = None,
    *,
    relative: bool = False,
    driver: Driver = "auto",
) -> jax.Array:
    return _functions.svt(x, tau, weights, relative=relative, driver=driver)


@documented_by(Functions)
def tensor_svt(
    x: jax.Array,
    tau: Any,
    /,
    *,
    axis: int = -1,
    transform: str | jax.Array | tuple[Callable[..., Any], Callable[..., Any]] = "fft",
    driver: Driver = "auto",
) -> jax.Array:
    return _functions.tensor_svt(x, tau, axis=axis, transform=transform, driver=driver)


@documented_by(Functions)
def truncated_svd(
    x: jax.Array | LinearOperator,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    rule: str | Rule = "auto",
    driver: TruncateDriver = "auto",
    seed: int = 0,
) -> TruncatedSVDResult[jax.Array]:
    return _functions.truncated_svd(
        x,
        rank,
        rtol=rtol,
        atol=atol,
        energy=energy,
        multiplets=multiplets,
        rule=rule,
        driver=driver,
        seed=seed,
    )


# End of what is written.

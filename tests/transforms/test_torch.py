"""Every function under every transform of PyTorch, by value at exact ties."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import svdinv.numpy
import svdinv.torch
import torch
from support import torch_operations
from support.family import normal
from support.observables import OBSERVABLES, problems
from support.transforms import (
    TWICE,
    Transform,
    cells,
    check,
    check_red,
    native,
    relative,
    with_fewer_matrices,
)
from svdinv import _torch_function, _torch_library, _torch_namespace
from svdinv._limits import limit
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils import checkpoint

func = torch.func


@pytest.fixture(autouse=True, scope="module")
def settings():
    """Switch off caches, which may hold programs with another version of the derivatives."""
    from torch._functorch import config

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with config.patch(enable_autograd_cache=False):
        yield
    torch.set_num_threads(threads)


def gradient(loss, x, create_graph=False):
    leaf = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(loss(leaf), leaf, create_graph=create_graph)
    return leaf, g


def realified(loss, x):
    """Make a loss of real arrays, for transforms that take no others, and map gradients back."""
    if not x.is_complex():
        return loss, x, lambda g: g
    return lambda r: loss(torch.view_as_complex(r)), torch.view_as_real(x), torch.view_as_complex


def forward(loss, x, d):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(loss(forward_ad.make_dual(x, d))).tangent


def func_jvp(loss, x, d):
    return func.jvp(loss, (x,), (d,))[1]


def func_vjp(loss, x, d=None):
    y, pullback = func.vjp(loss, x)
    return pullback(torch.ones_like(y))[0]


def jacobian(of):
    def run(loss, x, d):
        loss, x, back = realified(loss, x)
        return back(of(loss)(x))

    return run


def hessian_product(of):
    """The Hessian a transform gives, applied to a direction."""

    def run(loss, x, d):
        loss, x, back = realified(loss, x)
        direction = torch.view_as_real(d) if d.is_complex() else d
        product = torch.tensordot(of(loss)(x), direction, dims=x.ndim)
        return back(product.contiguous())

    return run


def backward_of_backward(loss, x, d):
    leaf, g = gradient(loss, x, create_graph=True)
    if not g.requires_grad:
        return torch.zeros_like(x)
    (second,) = torch.autograd.grad(g, leaf, d, materialize_grads=True)
    return second


def compiled(f, **kwargs):
    torch._dynamo.reset()
    return torch.compile(f, fullgraph=True, backend=kwargs.pop("backend", "aot_eager"), **kwargs)


class Together(torch.nn.Module):
    """Losses of several matrices in one program."""

    def __init__(self, losses):
        super().__init__()
        self.losses = torch.nn.ModuleList(losses)

    def forward(self, *xs):
        return [loss(x) for loss, x in zip(self.losses, xs, strict=True)]


def gradients(f, xs):
    """The gradients of a sum of values, one for each matrix."""
    leaves = [x.detach().requires_grad_() for x in xs]
    return torch.autograd.grad(sum(f(*leaves)), leaves)


def in_one_program(run):
    """Run all matrices of a cell in one compiled program."""

    def results(functions, xs, ds):
        def all_of_them(xs, ds):
            return [run(f, x, d) for f, x, d in zip(functions, xs, ds, strict=True)]

        return compiled(all_of_them)(xs, ds)

    return results


def compiled_backward(run):
    return lambda losses, xs, ds: gradients(compiled(Together(losses)), xs)


def export(losses, xs):
    leaves = tuple(x.detach().requires_grad_() for x in xs)
    return torch.export.export(Together(losses), leaves)


def exported(run):
    return lambda losses, xs, ds: gradients(export(losses, xs).module(), xs)


def exported_saved_loaded(run):
    def results(losses, xs, ds):
        file = io.BytesIO()
        torch.export.save(export(losses, xs), file)
        file.seek(0)
        return gradients(torch.export.load(file).module(), xs)

    return results


def value_of(loss, x, d):
    return loss(x)


def saved_loaded(loss, x, d):
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    return gradient(torch.load(file, weights_only=False), x)[1]


def checkpointed(loss, x, d):
    return gradient(lambda y: checkpoint.checkpoint(loss, y, use_reentrant=False), x)[1]


def reentrant_checkpoint(loss, x, d):
    leaf = x.detach().requires_grad_()
    checkpoint.checkpoint(loss, leaf, use_reentrant=True).backward()
    return leaf.grad


def autocast(loss, x, d):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return gradient(loss, x)[1]


def no_grad(value, x, d):
    with torch.no_grad():
        out = value(x.detach().requires_grad_())
    assert not out.requires_grad
    return out


def not_contiguous(loss, x, d):
    strided = torch.empty(*x.shape[:-2], x.shape[-1] * 2, x.shape[-2], dtype=x.dtype)
    view = strided.mT[..., ::2]
    view.copy_(x)
    assert not view.is_contiguous()
    return gradient(loss, view)[1]


def conjugated(loss, x, d):
    if not x.is_complex():
        return gradient(loss, x)[1]
    lazy = x.conj().resolve_conj().conj()
    assert lazy.is_conj()
    return gradient(loss, lazy)[1]


def twice(f):
    """The second result for a batch that contains the matrix twice."""
    return lambda loss, x, d: f(loss, torch.stack([x, x]))[1]


ALL_TRANSFORMS = (
    Transform("backward", "gradient", lambda loss, x, d: gradient(loss, x)[1]),
    Transform("no_grad", "value", no_grad),
    Transform("forward_ad", "tangent", forward),
    Transform("func.grad", "gradient", lambda loss, x, d: func.grad(loss)(x)),
    Transform("func.vjp", "gradient", func_vjp),
    Transform("func.jvp", "tangent", func_jvp),
    Transform("vmap", "value", lambda value, x, d: func.vmap(value)(torch.stack([x, x]))[1]),
    Transform("vmap(grad)", "gradient", twice(lambda loss, X: func.vmap(func.grad(loss))(X))),
    Transform(
        "grad(vmap)",
        "gradient",
        twice(lambda loss, X: func.grad(lambda Y: func.vmap(loss)(Y).sum())(X)),
    ),
    Transform(
        "vmap(jvp)",
        "tangent",
        lambda loss, x, d: func.vmap(lambda y: func_jvp(loss, y, d))(torch.stack([x, x]))[1],
    ),
    Transform("jacrev", "gradient", jacobian(func.jacrev)),
    Transform("jacfwd", "gradient", jacobian(func.jacfwd)),
    Transform("backward of backward", "second", backward_of_backward),
    Transform("jvp(grad)", "second", lambda loss, x, d: func.jvp(func.grad(loss), (x,), (d,))[1]),
    Transform(
        "grad(jvp)", "second", lambda loss, x, d: func.grad(lambda y: func_jvp(loss, y, d))(x)
    ),
    Transform("hessian", "second", hessian_product(func.hessian)),
    Transform("jacrev(jacrev)", "second", hessian_product(lambda f: func.jacrev(func.jacrev(f)))),
    Transform("jacrev(jacfwd)", "second", hessian_product(lambda f: func.jacrev(func.jacfwd(f)))),
    Transform("jacfwd(jacfwd)", "second", hessian_product(lambda f: func.jacfwd(func.jacfwd(f)))),
    Transform("compile, backward", "gradient", value_of, compiled_backward),
    Transform("compile(grad)", "gradient", lambda loss, x, d: func.grad(loss)(x), in_one_program),
    Transform("compile(vjp)", "gradient", func_vjp, in_one_program),
    Transform("compile(jvp)", "tangent", func_jvp, in_one_program),
    Transform(
        "compile(vmap(grad))",
        "gradient",
        twice(lambda loss, X: func.vmap(func.grad(loss))(X)),
        in_one_program,
    ),
    Transform("export, backward", "gradient", value_of, exported),
    Transform("export, save, load, backward", "gradient", value_of, exported_saved_loaded),
    Transform("torch.save, torch.load", "gradient", saved_loaded),
    Transform("autocast", "gradient", autocast),
    Transform("checkpoint", "gradient", checkpointed),
    Transform("checkpoint, reentrant", "gradient", reentrant_checkpoint),
    Transform("not contiguous", "gradient", not_contiguous),
    Transform("conjugated view", "gradient", conjugated),
)


USUAL = (
    "backward",
    "forward_ad",
    "func.jvp",
    "vmap(grad)",
    "backward of backward",
    "compile, backward",
)
TRANSFORMS = tuple(
    replace(t, sample=("identity", "twice a unitary"))
    if t.name == "compile, backward"
    else with_fewer_matrices([t], USUAL)[0]
    if t.compiled
    else t
    for t in ALL_TRANSFORMS
)


COMPILED = ("compile(grad)", "compile(vjp)", "compile(jvp)", "compile(vmap(grad))")
FEW = dict.fromkeys(COMPILED, (*TWICE, "singular_value_map"))


@pytest.mark.parametrize(("transform", "observable"), cells(TRANSFORMS, USUAL, FEW))
def test_cell(transform, observable, whole_family):
    check(torch_operations, transform, observable, whole_family)


@pytest.mark.parametrize("observable", list(OBSERVABLES))
def test_gradcheck(observable):
    """Forward and reverse mode and their combinations, against differences, at distinct values."""
    entry = OBSERVABLES[observable]
    rng = np.random.default_rng(0)
    for dtype in (float,) if entry.real else (float, complex):
        A = normal(rng, (3, 3), dtype is complex)
        x = torch.tensor(A @ A.conj().T if entry.hermitian else A, requires_grad=True)
        observe = torch_operations.Loss(observable, np.zeros(())).observe
        forward_mode = entry.second  # without a second derivative there is no forward mode either
        assert torch.autograd.gradcheck(observe, (x,), check_forward_ad=forward_mode)
        if entry.second:
            assert torch.autograd.gradgradcheck(observe, (x,), check_fwd_over_rev=True)


def test_fn_that_takes_no_complex_values_is_refused_by_export():
    class Map(torch.nn.Module):
        def forward(self, x):
            return svdinv.torch.singular_value_map(x, lambda s: torch.clamp(s, 0.5))

    x = torch.eye(3, requires_grad=True)
    # PyTorch refuses it during the export, or else when the program runs.
    words = f"{re.escape(str(limit('torch.export of fn')))}|not supported for complex"
    with pytest.raises(Exception, match=words):
        torch.export.export(Map(), (x,)).module()(x)


@pytest.mark.parametrize("kind", ["meta", "fake"])
@pytest.mark.parametrize("observable", [n for n in OBSERVABLES if n != "gauge_residual"])
def test_tensors_without_values(observable, kind):
    """Shapes and dtypes, forward and backward; reading a value would raise."""
    device = {"meta": "meta", "fake": "cpu"}[kind]
    for problem in problems(observable):
        loss = torch_operations.Loss(observable, problem.W)
        out = loss.observe(torch.tensor(problem.x))
        with FakeTensorMode() if kind == "fake" else contextlib.nullcontext():
            x = torch.empty(problem.x.shape, dtype=out.dtype, device=device, requires_grad=True)
            value = loss.observe(x)
            (g,) = torch.autograd.grad(value, x, torch.empty_like(value))
        assert (value.shape, value.dtype, value.device.type) == (out.shape, out.dtype, device)
        assert (g.shape, g.dtype, g.device.type) == (x.shape, x.dtype, device)


@pytest.mark.filterwarnings("ignore")  # inductor raises several warnings of its own
def test_the_inductor_backend():
    """Once with the compiler that users have; the cells above use a backend without it."""
    for problem in problems("svt"):
        if problem.name == "twice a unitary":
            loss = torch_operations.Loss("svt", problem.W)
            x = torch.tensor(problem.x)
            g = gradient(compiled(loss, backend="inductor"), x)[1]
            assert relative(torch_operations.numpy(g), problem.gradient) < 1e-12


DISTRIBUTED = """
import sys
import numpy as np, torch, torch.distributed as dist
import svdinv.torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.float64))
        self.tau = torch.nn.Parameter(torch.tensor(0.25, dtype=torch.float64))
    def forward(self, x):
        return svdinv.torch.svt(x + self.matrix, self.tau)

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
model = torch.nn.parallel.DistributedDataParallel(Model())
x = (rank + 1) * torch.eye(4, dtype=torch.float64)[None]
weights = torch.arange(16, dtype=torch.float64).reshape(4, 4)
(model(x) * weights).sum().backward()
print(model.module.matrix.grad.tolist(), model.module.tau.grad.item(), sep=";")

from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh
from torch.utils._python_dispatch import TorchDispatchMode

class Sent(TorchDispatchMode):
    entries = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if "c10d_functional" in name and "wait" not in name and "wrap" not in name:
            self.entries += args[0].numel()
        if any(issubclass(t, torch.distributed.tensor.DTensor) for t in types):
            return NotImplemented  # of the tensors in it
        return func(*args, **kwargs or {})

line, plane = init_device_mesh("cpu", (2,)), init_device_mesh("cpu", (1, 2))
rng = np.random.default_rng(0)
for shape, mesh, dims, most in (
    ((3, 6, 4), line, [0], 0),  # a batch that two do not divide
    ((512, 4), line, [0], 100),  # rows: a triangle for each block, and a sum of 4 by 4
    ((4, 512), line, [1], 100),
    ((4, 512, 4), plane, [0, 1], 400),  # the batch, and the rows of its matrices
    ((512, 4), line, [1], 1024),  # the shorter side, which is gathered
):
    placements = [Shard(d) for d in dims]
    x = torch.tensor(rng.standard_normal(shape), requires_grad=True)
    spread = distribute_tensor(x.detach(), mesh, placements).requires_grad_()
    whole = svdinv.torch.svt(x, 1.0)
    (plain,) = torch.autograd.grad((whole * whole * whole).sum(), x, create_graph=True)
    (twice,) = torch.autograd.grad((plain * plain).sum(), x)
    with Sent() as sent:
        out = svdinv.torch.svt(spread, 1.0)
        (g,) = torch.autograd.grad((out * out * out).sum(), spread, create_graph=True)
    assert sent.entries <= most, (shape, sent.entries)
    (h,) = torch.autograd.grad((g * g).sum(), spread)
    if most < 1024:
        assert list(out.placements) == placements
    assert list(g.placements) == placements
    for got, wanted in (out, whole), (g, plain), (h, twice):
        torch.testing.assert_close(got.full_tensor(), wanted)

class Penalised(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = (
            torch.nn.Parameter(torch.tensor(np.random.default_rng(s).standard_normal(shape)))
            for s, shape in enumerate([(40, 6), (3, 40)])  # of the second not all rows are a pair
        )
    def forward(self, x):
        return (self.second @ (svdinv.torch.svt(self.first, 1.0) @ x)).square().sum()

x = torch.tensor(rng.standard_normal((6, 5)))
gradients = []
for model in Penalised(), fully_shard(Penalised()):
    loss, penalty = model(x), svdinv.torch.nuclear_norm(model.second)
    (loss + getattr(penalty, "full_tensor", lambda: penalty)()).backward()
    gradients.append([p.grad for p in model.parameters()])
for plain, spread in zip(*gradients):
    torch.testing.assert_close(spread.full_tensor(), plain)
dist.destroy_process_group()
"""


def test_two_processes_average_the_exact_gradients_and_keep_shards(tmp_path):
    """DistributedDataParallel, distributed tensors, sharded parameters; second derivatives too."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", DISTRIBUTED, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    weights = np.arange(16.0).reshape(4, 4)
    expected = [
        svdinv.numpy.vjp(svdinv.numpy.svt, (rank + 1) * np.eye(4), 0.25)[1](weights)
        for rank in range(2)
    ]
    for run in runs:
        out, _ = run.communicate(timeout=900)
        assert run.returncode == 0
        matrix, tau = (np.array(ast.literal_eval(part)) for part in out.split(";"))
        assert relative(matrix, (expected[0][0] + expected[1][0]) / 2) < 1e-13
        assert relative(tau, (expected[0][1] + expected[1][1]) / 2) < 1e-13


def test_gauge_modes_say_so_under_transforms():
    def loss(x):
        return svdinv.torch.svd(x, gauge="raise").U.sum()

    words = "gauge: 'raise' reads values"
    with pytest.raises(ValueError, match=words):
        func.grad(loss)(torch.eye(3))
    with pytest.raises(RuntimeError, match=words):
        compiled(loss)(torch.eye(3))


def test_a_rule_of_the_callers_own_is_refused_by_compiled_programs():
    from svdinv._torch_library import describe, restore

    from svdinv_core import SVD, Inv, Rule

    class Own(Rule):
        name = "own"

    assert restore(describe(SVD(Inv(degeneracy_rtol=1e-3)))) == SVD(Inv(degeneracy_rtol=1e-3))
    with pytest.raises(ValueError, match="'Own' is not a class of svdinv_core"):
        restore(describe(SVD(Own())))


def _without_function(patch, apply, decompose):
    def plain_apply(operator, x, *rest):
        count = len(operator.decomposition.Factors._fields)
        return apply(operator, x, rest[:count], rest[count:])

    patch.setattr(_torch_function, "apply", plain_apply)
    patch.setattr(_torch_function, "decompose", lambda d, x, *raw: decompose(d, x, raw))


def _without_library(patch, apply, decompose):
    def plain_apply(spec, x, raw, params):
        return list(apply(_torch_library.restore(spec), x, raw, params))

    patch.setattr(_torch_library, "apply", plain_apply)
    patch.setattr(
        _torch_library,
        "decompose",
        lambda spec, x, raw: decompose(_torch_library.restore(spec), x, raw),
    )


def _without_midpoint(patch, apply, decompose):
    def plain_apply(operator, at, along):
        return apply(operator, at.A + along.A, at.factors, at.params)

    patch.setattr(svdinv.torch, "apply_at_midpoint", plain_apply)
    patch.setattr(
        svdinv.torch,
        "decompose_at_midpoint",
        lambda xp, d, raw, dx: decompose(d, dx + torch.eye(4), raw),
    )


@pytest.mark.parametrize("observable", ["svt", "svd"])
@pytest.mark.parametrize(
    ("remove", "name"),
    [
        (_without_function, "backward"),
        (_without_function, "func.jvp"),
        (_without_library, "export, backward"),
        (_without_midpoint, "compile(grad)"),
        (_without_midpoint, "jacfwd(jacfwd)"),
    ],
)
def test_a_cell_goes_red_without_its_rule(monkeypatch, remove, name, observable):
    (transform,) = (t for t in TRANSFORMS if t.name == name)
    real = replace(transform, matrices=("identity",))  # complex numbers cannot be compiled

    @contextlib.contextmanager
    def without():
        with monkeypatch.context() as patch:
            remove(patch, *native(_torch_namespace))
            yield

    check_red(torch_operations, real, observable, without(), "identity: inf")


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("relative", [False, True])
def test_gradcheck_of_svt(dtype, shape, relative):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=getattr(torch, dtype), requires_grad=True)
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def fn(x, tau):
        return svdinv.torch.svt(x, tau, relative=relative)

    assert torch.autograd.gradcheck(
        fn,
        (x, tau),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(
        fn, (x, tau), check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True
    )


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("rule", ["inv", "pinv", "plain", "tf", "clip", "lorentzian"])
def test_gradcheck_of_svd(dtype, shape, rule):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=getattr(torch, dtype), requires_grad=True)

    def fn(x):
        U, S, Vh = svdinv.torch.svd(x, rule=rule)
        return (U * torch.tanh(S)[..., None, :]) @ Vh

    assert torch.autograd.gradcheck(fn, (x,), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(fn, (x,), check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("batch", [(), (1,), (2,), (2, 3)], ids=str)
def test_products_in_place(batch, dtype):
    """The gradient of a step without guards, against that of NumPy, for every kind of product."""
    rng = np.random.default_rng(0)
    for shape in ((6, 5), (24, 5), (5, 24), (40, 20)):
        x, W = normal(rng, (2, *batch, *shape), dtype.is_complex)
        leaf = torch.tensor(x, requires_grad=True)
        out = svdinv.torch.svt(leaf, 0.5, relative=True)
        (found,) = torch.autograd.grad(out, leaf, torch.tensor(W))
        value, pull = svdinv.numpy.vjp(svdinv.numpy.svt, x, 0.5, relative=True)
        assert relative(out.detach().numpy(), value) < 1e-13
        assert relative(found.numpy(), pull(W)[0]) < 1e-12


def test_autocast_does_not_reach_the_derivative():
    x = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    grads = []
    for enabled in (False, True):
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            out = svdinv.torch.svt(leaf, 0.5)
            assert out.dtype == torch.float32
            (out * x).sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-6)

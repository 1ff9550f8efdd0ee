"""Every function under every transform of PyTorch, by value at exact ties."""

from __future__ import annotations

import io

import pytest
import torch
from support import torch_operations
from support.transforms import Transform, cells, check
from torch.autograd import forward_ad
from torch.utils import checkpoint

func = torch.func


@pytest.fixture(autouse=True, scope="module")
def settings():
    """No answer from a cache of another version of the derivatives."""
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
    """A loss of real arrays, and the way back, for what takes real arrays only."""
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


def compiled_backward(loss, x, d):
    return gradient(compiled(loss), x)[1]


def exported(loss, x, d):
    program = torch.export.export(loss, (x.detach().requires_grad_(),))
    return gradient(program.module(), x)[1]


def exported_saved_loaded(loss, x, d):
    file = io.BytesIO()
    torch.export.save(torch.export.export(loss, (x.detach().requires_grad_(),)), file)
    file.seek(0)
    return gradient(torch.export.load(file).module(), x)[1]


def saved_loaded(loss, x, d):
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    return gradient(torch.load(file, weights_only=False), x)[1]


def checkpointed(reentrant):
    def run(loss, x, d):
        return gradient(lambda y: checkpoint.checkpoint(loss, y, use_reentrant=reentrant), x)[1]

    return run


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
    """Of a batch of the matrix twice, the second result."""
    return lambda loss, x, d: f(loss, torch.stack([x, x]))[1]


TRANSFORMS = (
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
    Transform(
        "jvp(grad)", "second", lambda loss, x, d: func.jvp(func.grad(loss), (x,), (d,))[1]
    ),
    Transform(
        "grad(jvp)", "second", lambda loss, x, d: func.grad(lambda y: func_jvp(loss, y, d))(x)
    ),
    Transform("hessian", "second", hessian_product(func.hessian)),
    Transform("jacrev(jacrev)", "second", hessian_product(lambda f: func.jacrev(func.jacrev(f)))),
    Transform("jacrev(jacfwd)", "second", hessian_product(lambda f: func.jacrev(func.jacfwd(f)))),
    Transform("jacfwd(jacfwd)", "second", hessian_product(lambda f: func.jacfwd(func.jacfwd(f)))),
    Transform("compile, backward", "gradient", compiled_backward),
    Transform("compile(grad)", "gradient", lambda loss, x, d: compiled(func.grad(loss))(x)),
    Transform(
        "compile(vjp)", "gradient", lambda loss, x, d: compiled(lambda y: func_vjp(loss, y))(x)
    ),
    Transform(
        "compile(jvp)", "tangent", lambda loss, x, d: compiled(lambda y: func_jvp(loss, y, d))(x)
    ),
    Transform(
        "compile(vmap(grad))",
        "gradient",
        twice(lambda loss, X: compiled(func.vmap(func.grad(loss)))(X)),
    ),
    Transform("export, backward", "gradient", exported),
    Transform("export, save, load, backward", "gradient", exported_saved_loaded),
    Transform("torch.save, torch.load", "gradient", saved_loaded),
    Transform("autocast", "gradient", autocast),
    Transform("checkpoint", "gradient", checkpointed(reentrant=False)),
    Transform("checkpoint, reentrant", "gradient", reentrant_checkpoint),
    Transform("not contiguous", "gradient", not_contiguous),
    Transform("conjugated view", "gradient", conjugated),
)


@pytest.mark.parametrize(("transform", "observable"), cells(TRANSFORMS))
def test_cell(transform, observable):
    check(torch_operations, transform, observable)

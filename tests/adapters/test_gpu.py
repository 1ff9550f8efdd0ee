"""Tests about GPUs without one: the choices of `auto`, and CuPy computed by NumPy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import svdinv.jax
import svdinv.torch
import torch
from svdinv import _torch_batches

from svdinv_core import select

TESTS = Path(__file__).parents[1]


def names(situation, needs="large values"):
    return [d.name + ("2" if d.double else "") for d in select(situation, needs, exact=True)]


def torch_on(shape, looks="waits", single=True):
    return svdinv.torch._cuda_situation(shape, single, looks)


def jax_on(platform, shape):
    return svdinv.jax._situation(shape, True, "program", platform)


def test_what_auto_takes_on_cuda():
    """The Gram matrix and a batched `eigh` above 32, rotations for many small ones; no doubles."""
    for looks in ("waits", "never"):
        assert names(torch_on((4096, 3, 3), looks)) == ["jacobi"]
        assert names(torch_on((8716, 3, 2), looks), "factors") == ["jacobi"]
        assert names(torch_on((2000, 100, 16), looks), "factors") == ["jacobi"]
        assert names(torch_on((2000, 16, 16), looks), "eigenvectors") == ["jacobi"]
        assert names(torch_on((4, 2048, 64), looks), "factors") == ["qr"]
        assert names(torch_on((384, 64, 64), looks), "factors") == ["svd"]
        assert names(torch_on((8, 8), looks)) == ["svd"]
    assert names(torch_on((384, 64, 64))) == ["gram", "svd"]
    assert names(torch_on((384, 64, 64), "never")) == ["svd"]
    assert names(torch_on((4, 2048, 64))) == ["gram", "qr"]
    assert names(torch_on((2000, 16, 16))) == ["gram", "svd"]
    assert names(torch_on((200, 64, 32)), "all values") == ["gram", "svd"]
    assert names(torch_on((200, 63, 32)), "all values") == ["svd"]
    assert names(torch_on((2000, 100, 16), single=False)) == ["gram", "qr"]
    for platform in ("cuda", "rocm", "gpu"):
        assert names(jax_on(platform, (2000, 16, 16))) == ["jacobi"]
        assert names(jax_on(platform, (384, 64, 64))) == ["gram", "svd"]
    for platform in ("cpu", "tpu"):
        assert names(jax_on(platform, (2000, 16, 16))) == ["gram", "svd"]


def test_who_may_look_on_cuda(monkeypatch):
    """Values are read only for a tensor in eager mode while no graph is captured."""

    class OnCuda:
        device = torch.device("cuda")

    monkeypatch.setattr(_torch_batches, "_is_eager", lambda x: eager)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captured)
    for eager, captured in ((True, False), (True, True), (False, False)):
        assert _torch_batches.waits(OnCuda()) == (eager and not captured)
        assert not _torch_batches.is_plain(OnCuda())
        assert not _torch_batches.waits(torch.eye(2))


def run(*command):
    paths = [str(TESTS), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_cupy_passes_every_case_of_the_suite():
    """On a stand-in with CuPy's names, signatures and refusals."""
    pytest.importorskip("cupy")
    out = run("-m", "support.cupy_on_numpy", "run", "svdinv.cupy", "--device", "cuda")
    total = next(line.split() for line in out.splitlines() if line.split()[:1] == ["all"])
    assert int(total[1]) > 5000
    assert total[2] == "."


EVERY = """
import numpy as np
from support.cupy_on_numpy import install, looks
from support.functions import CALLS, REAL_CALLS
cupy = install()
import svdinv.cupy as ours, svdinv.numpy as numpys
from svdinv.drivers import explain

rng = np.random.default_rng(0)
A = rng.standard_normal((2, 7, 5)) + 1j * rng.standard_normal((2, 7, 5))
R = rng.standard_normal((2, 5, 5))
H = R @ np.swapaxes(R, -1, -2)
p, q = rng.standard_normal((2, 2, 6, 3))
tau = np.array([0.5, 1.0])
given = {"x": A, "h": H, "d": H, "b": A[..., 0], "z": R, "t": tau, "p": p, "q": q,
         "u": np.ones(6), "w": np.linspace(0.1, 1.0, 5)}
calls = {
    "low_rank": (A, 2), "nuclear_norm": (A,), "procrustes": (A,), "svdvals": (A,),
    "singular_value_map": (A, lambda s: s * s), "eigenvalue_map": (H, lambda w: w * w),
}
for call in (*CALLS, *REAL_CALLS):
    of_call = given | ({"t": 1.0} if call.inputs[0] == "z" else {})
    calls.setdefault(call.function, (*(of_call[i] for i in call.inputs), *call.static))
others = {"svd", "eigh", "truncated_svd", "spectral_function", "gauge_residual", "rule_residual",
          "rules", "vjp", "jvp", "hvp"}
assert set(calls) | others == {n for n in ours.__all__ if n[0].islower()}

def there(x):
    return cupy.asarray(x) if isinstance(x, np.ndarray) else x

def back(out):
    return [cupy.asnumpy(y) for y in (out if isinstance(out, tuple) else (out,))]

for name, args in calls.items():
    function, expected = getattr(ours, name), getattr(numpys, name)
    drivers = ["auto", "jacobi"]
    drivers += ["eigh"] if args[0] is H else ["svd", "qr", "gram"]
    for driver in drivers:
        out, pullback = ours.vjp(function, *map(there, args), driver=driver)
        wanted, known = numpys.vjp(expected, *args, driver="eigh" if args[0] is H else "svd")
        pairs = list(zip(back(out), wanted if isinstance(wanted, tuple) else (wanted,)))
        many = isinstance(wanted, tuple)
        cts = tuple(rng.standard_normal(w.shape) for _, w in pairs)
        found = pullback(tuple(map(there, cts)) if many else there(cts[0]))
        pairs += zip(back(tuple(found)), known(cts if many else cts[0]))
        for y, z in pairs:
            assert np.abs(y - z).max() <= 1e-9 * max(np.abs(z).max(), 1e-3), (name, driver)
    looks.clear()
    function(*map(there, args))
    assert len(looks) <= 2, (name, looks)  # whether the Gram matrix is enough, twice

looks.clear()
ours.svd(there(A)); ours.eigh(there(H)); ours.svt(there(A), 0.5, driver="svd")
assert not looks
large = cupy.asarray(np.ones((300, 64, 64)))
assert [s.driver for s in explain(large) if s.tried] == ["gram", "svd"]
small = cupy.asarray(np.ones((2000, 16, 16)))
assert [s.driver for s in explain(small) if s.tried] == ["jacobi"]
try:
    np.asarray(large)
except TypeError:
    print("done")
"""


def test_every_function_of_cupy():
    """By every driver, with its gradient; and the number of times it waits for the device."""
    pytest.importorskip("cupy")
    assert run("-c", EVERY).split() == ["done"]

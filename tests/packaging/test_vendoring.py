"""A copy of the core inside another package: its imports, its numbers, its check."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import svdinv
from support.family import normal

import svdinv_core

ROOT = Path(__file__).parents[2]
CORE = Path(svdinv_core.__file__).parent
ADAPTERS = Path(svdinv.__file__).parent
SHIM = ("_tensorflow_namespace.py", "_failures.py", "_limits.py")  # also needed for TensorFlow

PACKAGES = ("torch", "jax", "jaxlib", "tensorflow", "cupy", "dask", "array_api_strict")

NAMESPACES = {  # its packages, and a program that defines: xp, from NumPy, to NumPy
    "numpy": ((), "xp = np; to = back = np.asarray"),
    "torch": (
        ("torch",),
        "import array_api_compat.torch as xp\n"
        "to, back = xp.asarray, lambda x: x.resolve_conj().numpy()",
    ),
    "jax": (
        ("jax", "jaxlib"),
        "import jax; jax.config.update('jax_enable_x64', True)\n"
        "xp = jax.numpy; to, back = xp.asarray, np.asarray",
    ),
    "tensorflow": (
        ("tensorflow",),
        "import tensorflow as tf; from somebody import _tensorflow_namespace as xp\n"
        "to, back = tf.constant, lambda x: x.numpy()",
    ),
    "strict": (
        ("array_api_strict",),
        "import array_api_strict as xp; to, back = xp.asarray, np.asarray",
    ),
}

PROGRAM = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
{setup}
from somebody._svd import SVD, Point, ScaledSVD, SoftThreshold, SVDFactors

given = np.load("given.npz")
x, tau, W = (to(given[name]) for name in ("x", "tau", "W"))
wh = lambda y: xp.conj(xp.matrix_transpose(y))
column = lambda S: xp.astype(xp.expand_dims(S, axis=-1), x.dtype)

threshold = SoftThreshold()
factors = ScaledSVD().compute(xp, x)
at = Point(xp, x, factors, (tau,))
(B,) = threshold.apply(at)
ct_x, (ct_tau,) = threshold.vjp(at, (W,))

# The loss Re tr(W^H U S Vh), whose gradient is W.
U, S, Vh = factors = SVD().compute(xp, to(given["distinct"]))
V, Uh = wh(Vh), wh(U)
core = xp.matmul(xp.matmul(Uh, W), V)
row = xp.matrix_transpose(column(S))
ct_S = xp.linalg.diagonal(core)
ct_S = xp.real(ct_S) if {is_complex} else ct_S
ct = SVD().vjp(xp, factors, (xp.matmul(W, V) * row, ct_S, column(S) * xp.matmul(Uh, W)))
again = xp.matmul(U * row, Vh)
results = dict(B=B, ct_x=ct_x, ct_tau=ct_tau, S=S, again=again, ct=ct)
np.savez("found.npz", **{{name: back(y) for name, y in results.items()}})
taken = {{name.partition(".")[0] for name in sys.modules}}
print(sorted(taken & {blocked!r}))
"""


def vendor(folder):
    """A package `somebody` with the copied core in it."""
    package = folder / "somebody"
    package.mkdir()
    (package / "__init__.py").write_text("")
    shutil.copytree(CORE, package / "_svd", ignore=shutil.ignore_patterns("__pycache__"))
    return package


def threshold_by_hand(U, s, V, tau, W):
    """Value and cotangents of U max(s - tau, 0) V^H for square U and V, from its definition."""
    f, slope = np.maximum(s - tau, 0), (s > tau) * 1.0
    gap, total = s[:, None] - s[None, :], s[:, None] + s[None, :]
    tied = np.abs(gap) < 1e-9
    E = np.where(tied, slope[:, None], (f[:, None] - f[None, :]) / np.where(tied, 1, gap))
    F = (f[:, None] + f[None, :]) / total
    Vh = V.conj().swapaxes(-1, -2)
    M = U.conj().swapaxes(-1, -2) @ W @ V
    Mh = M.conj().swapaxes(-1, -2)
    ct_x = U @ (E * (M + Mh) / 2 + F * (M - Mh) / 2) @ Vh
    ct_tau = -np.sum(slope * np.diagonal(M, axis1=-2, axis2=-1).real, axis=-1)
    return (U * f) @ Vh, ct_x, ct_tau


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("name", NAMESPACES)
def test_a_copy_has_the_right_numbers_with_one_framework_and_nothing_of_ours(
    tmp_path, name, is_complex
):
    package = vendor(tmp_path)
    if name == "tensorflow":
        for file in SHIM:
            shutil.copy(ADAPTERS / file, package)
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(normal(rng, (2, 4, 4), is_complex))[0] for _ in range(2))
    Vh, W = V.conj().swapaxes(-1, -2), normal(rng, (2, 4, 4), is_complex)
    s, tau, distinct = np.array([3.0, 3.0, 1.0, 0.5]), 2.0, np.array([4.0, 3.0, 2.0, 1.0])
    np.savez(
        tmp_path / "given.npz",
        x=(U * s) @ Vh,
        tau=np.full(2, tau),
        W=W,
        distinct=(U * distinct) @ Vh,
    )
    own, setup = NAMESPACES[name]
    blocked = {"svdinv", "svdinv_core", *PACKAGES} - set(own)
    program = PROGRAM.format(blocked=blocked, setup=setup, is_complex=is_complex)
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-1] == "[]"
    found = np.load(tmp_path / "found.npz")
    B, ct_x, ct_tau = threshold_by_hand(U, s, V, tau, W)
    expected = {
        "B": B,
        "ct_x": ct_x,
        "ct_tau": ct_tau,
        "S": np.stack([distinct, distinct]),
        "again": (U * distinct) @ Vh,
        "ct": W,
    }
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-12, err_msg=key)


def test_the_licence_and_the_version_travel_with_the_core(tmp_path):
    assert (CORE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert svdinv_core.__version__ == svdinv.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", svdinv_core.__version__)
    assert (vendor(tmp_path) / "_svd" / "LICENSE").is_file()


def test_the_suite_runs_a_copy_inside_a_package(tmp_path):
    vendor(tmp_path)
    command = [sys.executable, "-m", "svdinv_conformance", "run", "somebody._svd"]
    command += ["--framework", "core", "-k", "(soft or reconstruction) and tall and float64"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "somebody._svd on cpu" in run.stdout
    soft = next(line.split() for line in run.stdout.splitlines() if line.startswith(" soft"))
    assert int(soft[1]) > 20  # passes
    assert soft[2] == "."  # fails

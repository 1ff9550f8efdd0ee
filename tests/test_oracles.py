"""Derivative cases from outside, computed by somebody else: the tensor-ad-oracles collection.

They are read from the folder that ``SVDINV_ORACLES`` names; every case is held to its own
tolerance. Nothing degenerate is in them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import svdinv
from support.drivers import FRAMEWORKS, driver

FOLDER = os.environ.get("SVDINV_ORACLES", "")
COLLECTIONS = ("svdvals_identity", "svd_uvh_product")

pytestmark = pytest.mark.skipif(
    not os.path.isdir(FOLDER), reason="SVDINV_ORACLES does not name the folder of the oracles"
)


def read(collection):
    with open(Path(FOLDER, f"{collection}.jsonl")) as lines:
        return [json.loads(line) for line in lines]


def array(entry):
    data = np.array(entry["data"], dtype=np.float64)
    if entry["dtype"].startswith("complex"):
        data = data.reshape(-1, 2) @ np.array([1, 1j])
    return data.reshape(entry["shape"]).astype(entry["dtype"])


def arrays(entries, names):
    return tuple(array(entries[name]) for name in names)


def observe(module, op, x):
    """The observable: ``(S,)``, or ``(S, U Vh)`` in a framework that differentiates."""
    if op == "svdvals":
        return (module.svdvals(x),)
    U, S, Vh = module.svd(x)
    return S, U @ Vh


class NumPy:
    def __init__(self, op):
        self.op, self.driver = op, driver("numpy")

    def jvp(self, x, dx):
        out, dout = self.driver.jvp(self.op, (x,), (dx,))
        if self.op == "svdvals":
            return dout
        (U, _, Vh), (dU, dS, dVh) = out, dout
        return dS, dU @ Vh + U @ dVh

    def vjp(self, x, cts):
        if self.op == "svd":
            (U, _, Vh), (ct_S, ct) = self.driver.module.svd(x), cts
            adjoint = (np.conj(np.swapaxes(y, -1, -2)) for y in (Vh, U))
            cts = ct @ next(adjoint), ct_S, next(adjoint) @ ct
        return self.driver.vjp(self.op, (x,), cts)[1][0]


class Torch:
    def __init__(self, op):
        import torch

        self.op, self.torch, self.driver = op, torch, driver("torch")

    def _observe(self, x):
        return observe(self.driver.module, self.op, x)

    def jvp(self, x, dx):
        x, dx = map(self.driver.array, (x, dx))
        _, dout = self.torch.func.jvp(self._observe, (x,), (dx,))
        return tuple(map(self.driver.numpy, dout))

    def _gradient(self, x, cts):
        leaf = self.driver.array(x).requires_grad_()
        cts = tuple(map(self.driver.array, cts))
        out = self._observe(leaf)
        return leaf, self.torch.autograd.grad(out, leaf, cts, create_graph=True)[0]

    def vjp(self, x, cts):
        return self.driver.numpy(self._gradient(x, cts)[1])

    def hvp(self, x, dx, cts):
        leaf, gradient = self._gradient(x, cts)
        second = self.torch.autograd.grad(gradient, leaf, self.driver.array(dx))
        return self.driver.numpy(second[0])


class Jax:
    def __init__(self, op):
        self.op, self.driver = op, driver("jax")
        jax, module = self.driver.jax, self.driver.module

        def gradient(x, cts):
            out, pullback = jax.vjp(lambda y: observe(module, op, y), x)
            cts = tuple(jax.numpy.conj(c).astype(o.dtype) for c, o in zip(cts, out, strict=True))
            return jax.numpy.conj(pullback(cts)[0])

        def pushed(x, dx, cts):
            _, tangent = jax.jvp(lambda y: observe(module, op, y), (x,), (dx,))
            return tangent, *jax.jvp(lambda y: gradient(y, cts), (x,), (dx,))

        self._pushed = jax.jit(pushed)

    def _all(self, x, dx, cts):
        return self.driver.jax.tree.map(np.asarray, self._pushed(x, dx, cts))

    def jvp(self, x, dx):
        k = min(x.shape[-2:])
        shapes = ((*x.shape[:-2], k), x.shape)[: 1 if self.op == "svdvals" else 2]
        real = x.real.dtype
        cts = tuple(np.zeros(s, d) for s, d in zip(shapes, (real, x.dtype), strict=False))
        return self._all(x, dx, cts)[0]

    def vjp(self, x, cts):
        return self._all(x, np.zeros_like(x), cts)[1]

    def hvp(self, x, dx, cts):
        return self._all(x, dx, cts)[2]


class TensorFlow:
    def __init__(self, op):
        self.op, self.driver = op, driver("tensorflow")
        self.tf = self.driver.tf

    def _observe(self, x):
        return observe(self.driver.module, self.op, x)

    def jvp(self, x, dx):
        x, dx = map(self.tf.constant, (x, dx))
        with self.tf.autodiff.ForwardAccumulator(x, dx) as accumulator:
            out = self._observe(x)
        return tuple(accumulator.jvp(o).numpy() for o in out)

    def _gradient(self, x, cts):
        with self.tf.GradientTape() as tape:
            tape.watch(x)
            out = self._observe(x)
        return tape.gradient(out, x, output_gradients=[self.tf.constant(c) for c in cts])

    def vjp(self, x, cts):
        return self._gradient(self.tf.constant(x), cts).numpy()

    def hvp(self, x, dx, cts):
        x = self.tf.constant(x)
        with self.tf.GradientTape() as tape:
            tape.watch(x)
            gradient = self._gradient(x, cts)
        second = tape.gradient(gradient, x, output_gradients=self.tf.constant(dx))
        return np.zeros_like(x) if second is None else second.numpy()


class Autograd(NumPy):
    def __init__(self, op):
        self.op, self.driver = op, driver("autograd")


TESTED = {
    "numpy": NumPy,
    "torch": Torch,
    "jax": Jax,
    "tensorflow": TensorFlow,
    "autograd": Autograd,
}


def check(hold, tested, case, framework):
    """Every probe of a case, in units of its own tolerance."""
    names = ("value",) if case["op"] == "svdvals" else ("s", "uvh")
    x = array(case["inputs"]["a"])
    for probe in case["probes"]:
        dx, cts = array(probe["direction"]["a"]), arrays(probe["cotangent"], names)
        reference, comparison = probe["pytorch_ref"], case["comparison"]
        results = [
            ("JVP", "first_order", tested.jvp(x, dx), arrays(reference["jvp"], names)),
            ("VJP", "first_order", (tested.vjp(x, cts),), arrays(reference["vjp"], "a")),
        ]
        if "second_order" in comparison and hasattr(tested, "hvp"):
            second = (tested.hvp(x, dx, cts),)
            results.append(("HVP", "second_order", second, arrays(reference["hvp"], "a")))
        precision = "float32" if x.real.dtype == np.float32 else "float64"
        for what, order, got, expected in results:
            allowed = comparison[order]
            for g, e in zip(got, expected, strict=True):
                assert g.shape == e.shape
                assert g.dtype == e.dtype
                error = np.abs(g - e) / (allowed["atol"] + allowed["rtol"] * np.abs(e))
                name = f"oracles, {what} in tolerances, {precision}, {framework}"
                hold(name, error.max(initial=0), 1.0, case["case_id"])
                relative = np.linalg.norm(g - e) / max(np.linalg.norm(e), 1e-3)
                # the float32 cases allow an error of 100 times the value: not so here
                bound = {"float64": 1e-12, "float32": 1e-4}[precision]
                hold(f"oracles, {what}, {precision}, {framework}", relative, bound, case["case_id"])


@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_case_within_its_own_tolerance(hold, name, collection):
    cases = read(collection)
    assert len(cases) > 100
    tested = TESTED[name](cases[0]["op"])
    for case in cases:
        assert case["expected_behavior"] == "success"
        check(hold, tested, case, name)


def test_the_ill_defined_case_raises(framework):
    """The phase of complex singular vectors: no gradient, and said so."""
    (case,) = read("svd_gauge_ill_defined")
    assert case["comparison"]["reason_code"] == "gauge_ill_defined"
    x = array(case["inputs"]["a"])
    U, _, Vh = framework.call("svd", (x,))
    # the loss that the case was taken from: the sum of U's and V^H's entries
    cts = np.ones_like(U), None, np.ones_like(Vh)
    with pytest.raises(svdinv.GaugeError, match="depends on the choice of singular vectors"):
        framework.vjp("svd", (x,), cts, gauge="raise")

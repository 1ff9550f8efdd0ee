"""Derivative cases computed by others: the tensor-ad-oracles collection.

They are read from the folder that ``SVDINV_ORACLES`` names, and compared with their own tolerances.
They contain nothing degenerate.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import svdinv
from support.arrays import adjoint
from support.drivers import FRAMEWORKS, driver
from support.namespaces import each
from svdinv_conformance.frameworks import AUTODIFF

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


def worth_compiling(case):
    """Whether to run a case in frameworks that compile for every shape and dtype.

    The formulas are the same in all frameworks; the others run every case.
    """
    shape, dtype = (case["inputs"]["a"][key] for key in ("shape", "dtype"))
    if 0 in shape:
        return dtype == "float32" and len(shape) == 2
    return dtype == ("complex128" if len(shape) > 2 or shape[0] > shape[1] else "float32")


def arrays(entries, names):
    return tuple(array(entries[name]) for name in names)


def derivatives(name, op):
    """For ``(S,)`` or ``(S, U Vh)``: tangent, cotangent and its tangent, in NumPy arrays."""
    tested = driver(name)
    if name not in AUTODIFF:
        return partial(explicit_derivatives, tested, op)
    bridge = tested.bridge

    def observe(x):
        if op == "svdvals":
            return (tested.module.svdvals(x),)
        U, S, Vh = tested.module.svd(x)
        return S, U @ Vh

    def all_of_them(x, dx, *cts):
        return (
            bridge.jvp(observe, (x,), (dx,))[1],
            bridge.vjp(observe, (x,), cts)[1],
            bridge.hvp(observe, (x,), cts, (dx,)),
        )

    compute = bridge.prepare("value", all_of_them)
    return lambda x, dx, cts: each(tested.numpy, compute(each(tested.array, (x, dx, *cts))))


def explicit_derivatives(tested, op, x, dx, cts):
    """The same by the explicit derivatives of NumPy, without second ones."""
    out, dout = tested.jvp(op, (x,), (dx,))
    if op == "svd":
        (U, _, Vh), (dU, dS, dVh), (ct_S, ct) = out, dout, cts
        dout = dS, dU @ Vh + U @ dVh
        cts = ct @ adjoint(Vh), ct_S, adjoint(U) @ ct
    return dout, tested.vjp(op, (x,), cts)[1], None


def check(hold, derive, case, framework):
    """Check every probe of a case, with errors in units of its own tolerance."""
    names = ("value",) if case["op"] == "svdvals" else ("s", "uvh")
    x = array(case["inputs"]["a"])
    for probe in case["probes"]:
        dx, cts = array(probe["direction"]["a"]), arrays(probe["cotangent"], names)
        reference, comparison = probe["pytorch_ref"], case["comparison"]
        tangents, cotangents, second = derive(x, dx, cts)
        results = [
            ("JVP", "first_order", tangents, arrays(reference["jvp"], names)),
            ("VJP", "first_order", cotangents, arrays(reference["vjp"], "a")),
        ]
        if "second_order" in comparison and second is not None:
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
                # the float32 cases allow an error of 100 times the value; we do not
                bound = {"float64": 1e-12, "float32": 1e-4}[precision]
                hold(f"oracles, {what}, {precision}, {framework}", relative, bound, case["case_id"])


@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_case_within_its_own_tolerance(hold, name, collection):
    cases = read(collection)
    assert len(cases) > 100
    derive = derivatives(name, cases[0]["op"])
    if name in ("jax", "tensorflow"):
        cases = [case for case in cases if worth_compiling(case)]
    assert len(cases) > 15
    for case in cases:
        assert case["expected_behavior"] == "success"
        check(hold, derive, case, name)


def test_the_ill_defined_case_raises(framework):
    """A loss of the phase of complex singular vectors has no gradient, and raises."""
    (case,) = read("svd_gauge_ill_defined")
    assert case["comparison"]["reason_code"] == "gauge_ill_defined"
    x = array(case["inputs"]["a"])
    U, _, Vh = framework.call("svd", (x,))
    # the loss that the case was taken from: the sum of U's and V^H's entries
    cts = np.ones_like(U), None, np.ones_like(Vh)
    with pytest.raises(svdinv.GaugeError, match="depends on the choice of singular vectors"):
        framework.vjp("svd", (x,), cts, gauge="raise")

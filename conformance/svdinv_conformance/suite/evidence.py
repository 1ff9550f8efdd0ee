"""What a machine without a GPU can show about one.

Three things: JAX lowers every gradient for CUDA; arrays on a second (fake) device of
array-api-strict stay there, with the right numbers; PyTorch's tensors without values (fake CUDA
tensors where the build knows CUDA) go through forward and backward and keep their device.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..frameworks import first_line
from .case import Case, load_cases
from .implementation import UnavailableError
from .named import resolve
from .runner import plan, run

__all__ = ["Evidence", "gather"]

SPECTRUM = "distinct"
SHAPES = ("square", "tall", "wide")
ASKED = ("float32", "complex64")


@dataclass(frozen=True)
class Evidence:
    """One claim, whether it ``"holds"``, ``"fails"`` or was ``"not run"``, and the numbers."""

    claim: str
    status: str
    detail: str


def _questions() -> list[Case]:
    """One ordinary case for each observable, shape and field."""
    return [
        case
        for case in load_cases(ASKED)
        if case.expected == "success" and case.id.split("/")[1] in SHAPES
        and case.id.split("/")[2] == SPECTRUM
    ]  # fmt: skip


def _count(run_one: Callable[[Case], str | None]) -> tuple[str, str]:
    """Status and numbers of one thing done with every question."""
    cases = _questions()
    failures = []
    for case in cases:
        try:
            trouble = run_one(case)
        except Exception as error:
            trouble = f"{type(error).__name__}: {first_line(error)}"
        if trouble:
            failures.append(f"{case.name}: {trouble}")
    if failures:
        return "fails", f"{len(failures)} of {len(cases)}, first: {failures[0]}"
    return "holds", f"{len(cases)} of {len(cases)} questions"


def jax_lowers_for_cuda() -> tuple[str, str]:
    """Export value and gradient for CUDA."""
    implementation: Any = resolve("svdinv.jax")
    bridge, jax = implementation.bridge, implementation.bridge.module
    export = importlib.import_module("jax.export")

    def lower(case: Case) -> str | None:
        inputs, cts = tuple(case.inputs.values()), tuple(case.cotangent.values())
        with bridge.settings():
            observe = implementation.observe(case.observable)
            gradient = jax.jit(lambda inputs, cts: bridge.vjp(observe, inputs, cts))
            exported = export.export(gradient, platforms=["cuda"])(inputs, cts)
        text = exported.mlir_module()
        return None if "cusolver" in text else "no call of cuSOLVER in what was lowered"

    return _count(lower)


def torch_without_values() -> tuple[str, str]:
    """Forward and backward on fake CUDA tensors, or in a build for CPUs on the meta device.

    A build without CUDA aborts when autograd sees a fake CUDA tensor. Both kinds have a device and
    no values: an array made on the CPU by mistake raises, and so does reading a value.
    """
    torch = importlib.import_module("torch")
    fake = importlib.import_module("torch._subclasses.fake_tensor").FakeTensorMode
    implementation: Any = resolve("svdinv.torch")
    device = "meta" if torch.version.cuda is None else "cuda"

    def pass_through(case: Case) -> str | None:
        with contextlib.nullcontext() if device == "meta" else fake():
            inputs, cts = (
                tuple(
                    torch.empty(x.shape, dtype=getattr(torch, x.dtype.name), device=device)
                    for x in arrays.values()
                )
                for arrays in (case.inputs, case.cotangent)
            )
            out = (
                *implementation.value(case.observable, inputs),
                *implementation.vjp(case.observable, inputs, cts),
            )
        places = {x.device.type for x in out}
        return None if places == {device} else f"results on {places}"

    status, detail = _count(pass_through)
    kind = "the meta device, PyTorch being built for CPUs" if device == "meta" else "fake CUDA"
    return status, f"{detail}, on {kind}"


def second_device() -> tuple[str, str]:
    """The whole suite in single precision on a second device of array-api-strict."""
    report = run(resolve("svdinv", "array-api"), plan(load_cases(ASKED)), device="device1")
    asked = report.count("pass") + report.count("fail")
    first = f", first: {report.failed[0].test.id}" if report.failed else ""
    status = "fails" if report.failed else "holds"
    return status, f"{report.count('pass')} of {asked} tests pass{first}"


_CLAIMS: dict[str, tuple[str, Callable[[], tuple[str, str]]]] = {
    "JAX lowers every gradient for CUDA": ("jax", jax_lowers_for_cuda),
    "PyTorch's tensors without values keep their device, forward and backward": (
        "torch",
        torch_without_values,
    ),
    "arrays on a second device of array-api-strict stay there, with the right numbers": (
        "array_api_strict",
        second_device,
    ),
}


def gather() -> list[Evidence]:
    """Collect the evidence; a claim that needs a missing package is not run."""
    found = []
    for claim, (package, prove) in _CLAIMS.items():
        if importlib.util.find_spec(package) is None:
            found.append(Evidence(claim, "not run", f"{package} is not installed"))
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(Evidence(claim, *prove()))
        except UnavailableError as reason:
            found.append(Evidence(claim, "not run", str(reason)))
    return found

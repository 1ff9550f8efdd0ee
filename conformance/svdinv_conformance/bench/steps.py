"""What is timed, in each framework: a function of no arguments for each side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frameworks import FRAMEWORKS, AutodiffBridge, Bridge, UnavailableError
from ..suite.case import Observable
from ..suite.implementation import Implementation

__all__ = ["TIMED", "Step", "of_implementation", "steps_of"]

Array = NDArray[Any]
Step = Callable[[], Any]
"""One step, finished when it returns; gives what it computed, the gradient in x last but one."""

TIMED = tuple(name for name in FRAMEWORKS if name != "autograd")
"""Whose steps are timed."""


def steps_of(
    bridge: Bridge,
    mode: str,
    x: Array,
    tau: Array,
    ct: Array,
    device: str,
    driver: str = "auto",
) -> dict[str, Step]:
    """One step for each of ``svdinv``, ``native`` and ``svd`` that there is.

    Parameters
    ----------
    bridge
        The framework.
    mode
        ``"eager"`` or ``"compiled"``.
    x, ct
        Matrices ``(..., m, n)`` and cotangents of the result.
    tau
        Thresholds ``(...)``.
    device
        ``"cpu"`` or ``"cuda"``.
    driver
        Of svdinv's side.

    Raises
    ------
    UnavailableError
        If there is no such framework, or it has no such mode.
    """
    if mode not in bridge.modes:
        raise UnavailableError(f"{bridge.name} has no mode {mode}")
    library = bridge.library
    double = x.dtype.itemsize // (2 if x.dtype.kind == "c" else 1) == 8

    def settings() -> Any:  # as users have it: double precision is off unless they need it
        return bridge.settings(device, double, full_products=False)

    def finished(run: Callable[..., Any], *arguments: Any) -> Step:
        def step() -> Any:
            with settings():
                out = run(*arguments)
                bridge.wait(out[1])
                return out

        return step

    with settings():
        X, T, CT = (bridge.array(a, device) for a in (x, tau, ct))
    if not isinstance(bridge, AutodiffBridge):

        def explicit() -> Any:
            out, pullback = library.vjp(library.svt, X, T, driver=driver)
            return out, *pullback(CT)

        def decompose() -> Any:
            return bridge.module.linalg.svd(X, full_matrices=False)

        return {"svdinv": finished(explicit), "svd": finished(decompose)}

    def svt(x: Any, tau: Any) -> Any:
        return (library.svt(x, tau, driver=driver),)

    def native(x: Any, tau: Any) -> Any:
        """The framework's own composition."""
        u, s, vh = bridge.native_svd(x)
        beyond = s - tau[..., None]
        return (bridge.recompose(u, bridge.positive_part(beyond), vh),)

    def differentiated(fn: Callable[..., Any]) -> Step:
        vjp = bridge.prepare("vjp", fn, mode)

        def run() -> Any:
            (out,), grads = vjp((X, T), (CT,))
            return out, *grads

        return finished(run)

    return {
        "svdinv": differentiated(svt),
        "native": differentiated(native),
        "svd": finished(bridge.native_svd, X),
    }


def of_implementation(
    implementation: Implementation, x: Array, tau: Array, ct: Array, device: str
) -> Step:
    """One step of any implementation: its gradient of the soft threshold."""
    soft = Observable("soft")
    inputs = tuple(implementation.array(a, device) for a in (x, np.asarray(tau)))
    cotangents = (implementation.array(ct, device),)

    def run() -> Any:
        grads = implementation.vjp(soft, inputs, cotangents)
        implementation.numpy(grads[0])  # waits
        return grads

    return run

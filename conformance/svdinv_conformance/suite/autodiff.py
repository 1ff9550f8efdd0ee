"""Implementations in frameworks with automatic differentiation.

Each takes any module with an ``svd`` of that framework's arrays: a module of the library, the
framework's own functions, or another package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..frameworks import AutodiffBridge
from ..frameworks.bridge import Function
from .case import Observable
from .implementation import Arrays, NotApplicable, OnBridge
from .observables import evaluate

__all__ = ["Autodiff"]


class Autodiff(OnBridge):
    """A module's functions, observables composed from them, and a framework's derivatives.

    A framework that compiles does so once for each question and shape, except for functions that
    read values (``gauge="raise"``).

    Parameters
    ----------
    bridge, module, name, versions
        As :class:`~.implementation.OnBridge` has them.
    mode
        How functions run, see :meth:`~..frameworks.AutodiffBridge.prepare`.
    """

    bridge: AutodiffBridge

    def __init__(
        self,
        bridge: AutodiffBridge,
        module: Any,
        name: str,
        versions: Mapping[str, str] | None = None,
        mode: str = "",
    ) -> None:
        super().__init__(bridge, module, name, versions)
        self._mode = mode
        self._prepared: dict[tuple[str, ...], Function] = {}
        self._kind = ""

    def observe(self, observable: Observable) -> Function:
        """The observable as a function of its inputs."""
        return lambda *inputs: evaluate(self.functions, self.bridge, observable, inputs)

    def _run(self, what: str, observable: Observable, inputs: Arrays, *others: Arrays) -> Arrays:
        """Value, or derivative without the value that a framework gives beside it."""
        if observable.kind != self._kind:  # compiled functions take memory
            self._prepared.clear()
            self._kind = observable.kind
        place = self.device(inputs[0])
        key = (what, repr(observable), place)
        if key not in self._prepared:
            mode = "eager" if observable.options.get("mode") == "raise" else self._mode
            self._prepared[key] = self.bridge.prepare(what, self.observe(observable), mode)
        try:
            with self.bridge.settings(place):
                out = self._prepared[key](inputs, *others)
        except self.bridge.no_derivative as error:
            raise NotApplicable(str(error)) from None
        return tuple(out[1] if what in ("vjp", "jvp") else out)

    def value(self, observable: Observable, inputs: Arrays) -> Arrays:
        """The outputs."""
        return self._run("value", observable, inputs)

    def vjp(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        """Reverse mode."""
        return self._run("vjp", observable, inputs, cotangents)

    def jvp(self, observable: Observable, inputs: Arrays, tangents: Arrays) -> Arrays:
        """Forward mode."""
        return self._run("jvp", observable, inputs, tangents)

    def hvp(
        self, observable: Observable, inputs: Arrays, cotangents: Arrays, tangents: Arrays
    ) -> Arrays:
        """Derivative of the reverse mode."""
        return self._run("hvp", observable, inputs, cotangents, tangents)

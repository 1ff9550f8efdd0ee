"""Implementations in frameworks that differentiate: PyTorch, JAX, TensorFlow, autograd.

One class a framework. Each takes any module with an ``svd`` in that framework's arrays: an adapter
of the library, the framework's own functions (:meth:`native`), or somebody else's.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..frameworks import FRAMEWORKS, Framework, Jax, TensorFlow
from .case import Observable
from .implementation import Arrays, NotApplicable
from .observables import Functions, evaluate

__all__ = ["AUTODIFF", "Autodiff"]

Function = Callable[..., Arrays]


class Autodiff:
    """What is common: a module's functions, observables composed from them.

    Parameters
    ----------
    module
        See :class:`~.observables.Functions`; None for the framework's own functions.
    name
        What reports call it.
    versions
        Version of each further package that takes part.
    """

    framework: ClassVar[str]

    def __init__(
        self, module: Any = None, name: str = "", versions: Mapping[str, str] | None = None
    ) -> None:
        self.load()
        self.name = name or f"native.{self.framework}"
        self.functions = Functions(self.native() if module is None else module)
        self._versions = {self.framework: self.version(), **(versions or {})}

    def versions(self) -> Mapping[str, str]:
        """Version of each package that takes part."""
        return self._versions

    # What a framework has to say of itself.

    def load(self) -> None:
        """Import the framework, or raise `UnavailableError`."""
        self.host: Framework = FRAMEWORKS[self.framework]()
        self.host.load()

    def version(self) -> str:
        """Version of the framework."""
        return self.host.version()

    def check_device(self, device: str) -> None:
        """Raise `UnavailableError` if a device cannot be computed on."""
        self.host.check_device(device)

    def numpy(self, x: Any) -> NDArray[Any]:
        """To NumPy."""
        return self.host.to_numpy(x)

    @abstractmethod
    def native(self) -> Any:
        """The framework's own functions under the names of :class:`~.observables.Functions`."""

    @abstractmethod
    def array(self, x: NDArray[Any], device: str) -> Any:
        """From NumPy."""

    @abstractmethod
    def device(self, x: Any) -> str:
        """The device an array lies on."""

    # Derivatives.

    def observe(self, observable: Observable) -> Function:
        """The observable as a function of its inputs."""
        return lambda *inputs: evaluate(self.functions, self, observable, inputs)

    def value(self, observable: Observable, inputs: Arrays) -> Arrays:
        """The outputs."""
        return self.observe(observable)(*inputs)

    @abstractmethod
    def vjp(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        """Reverse mode."""

    @abstractmethod
    def jvp(self, observable: Observable, inputs: Arrays, tangents: Arrays) -> Arrays:
        """Forward mode."""

    @abstractmethod
    def hvp(
        self, observable: Observable, inputs: Arrays, cotangents: Arrays, tangents: Arrays
    ) -> Arrays:
        """Derivative of the reverse mode."""

    # Operations, as NumPy's many descendants spell them.

    xp: Any

    def adjoint(self, x: Any) -> Any:
        return self.xp.conj(self.xp.swapaxes(x, -1, -2))

    def as_type_of(self, s: Any, like: Any) -> Any:
        return s.astype(like.dtype)

    def above(self, s: Any, cut: Any) -> Any:
        return (s > cut).astype(s.dtype)

    def constant(self, x: NDArray[Any], like: Any) -> Any:
        return self.xp.asarray(x, dtype=like.dtype)

    def first(self, s: Any, count: int) -> Any:
        return self.constant(np.arange(s.shape[-1]) < count, s)

    def mean_over(self, s: Any, groups: list[list[int]]) -> Any:
        weights = np.zeros((s.shape[-1], len(groups)))
        for column, group in enumerate(groups):
            weights[group, column] = 1 / len(group)
        return s @ self.constant(weights, s)

    def total(self, s: Any) -> Any:
        return s.sum(-1)

    def tanh(self, s: Any) -> Any:
        return self.xp.tanh(s)

    def exp(self, s: Any) -> Any:
        return self.xp.exp(s)


class TorchImplementation(Autodiff):
    """PyTorch, eager; second derivatives by two reverse passes."""

    framework = "torch"

    def load(self) -> None:
        super().load()
        self.xp = self.host.module

    def native(self) -> Any:
        linalg = self.xp.linalg
        return SimpleNamespace(
            svd=lambda x: linalg.svd(x, full_matrices=False),
            svdvals=linalg.svdvals,
            eigh=linalg.eigh,
        )

    def array(self, x: NDArray[Any], device: str) -> Any:
        return self.xp.tensor(x, device=device)

    def device(self, x: Any) -> str:
        return str(x.device.type)

    def _gradient(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Any:
        # a fresh leaf that shares memory: a change in place of the input is seen by the caller
        leaves = tuple(x.detach().requires_grad_() for x in inputs)
        out = self.observe(observable)(*leaves)
        pairs = [(y, ct) for y, ct in zip(out, cotangents, strict=True) if y.requires_grad]
        grads = self.xp.autograd.grad(
            [y for y, _ in pairs], leaves, [ct for _, ct in pairs],
            create_graph=True, allow_unused=True,
        )  # fmt: skip
        return leaves, self._filled(grads, leaves)

    def _filled(self, grads: Arrays, like: Arrays) -> Arrays:
        """An input that nothing depends on has a gradient of zero."""
        zeros = self.xp.zeros_like
        return tuple(zeros(x) if g is None else g for g, x in zip(grads, like, strict=True))

    def vjp(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        _, grads = self._gradient(observable, inputs, cotangents)
        return tuple(g.detach() for g in grads)

    def jvp(self, observable: Observable, inputs: Arrays, tangents: Arrays) -> Arrays:
        _, dout = self.xp.func.jvp(self.observe(observable), inputs, tangents)
        return tuple(dout)

    def hvp(
        self, observable: Observable, inputs: Arrays, cotangents: Arrays, tangents: Arrays
    ) -> Arrays:
        leaves, grads = self._gradient(observable, inputs, cotangents)
        pairs = [(g, d) for g, d in zip(grads, tangents, strict=True) if g.requires_grad]
        if not pairs:
            return tuple(map(self.xp.zeros_like, leaves))
        second = self.xp.autograd.grad(
            [g for g, _ in pairs], leaves, [d for _, d in pairs], allow_unused=True
        )
        return self._filled(second, leaves)

    def as_type_of(self, s: Any, like: Any) -> Any:
        return s.to(like.dtype)

    def above(self, s: Any, cut: Any) -> Any:
        return (s > cut).to(s.dtype)

    def constant(self, x: NDArray[Any], like: Any) -> Any:
        return self.xp.tensor(x, dtype=like.dtype, device=like.device)


class JaxImplementation(Autodiff):
    """JAX, compiled once for each question and shape, double precision on for the time of a call.

    What looks at values (``gauge="raise"``) runs operation by operation.
    """

    framework = "jax"
    host: Jax

    def load(self) -> None:
        super().load()
        self.xp = self.host.module.numpy
        self._compiled: dict[tuple[str, ...], Function] = {}
        self._kind = ""

    def native(self) -> Any:
        linalg = self.xp.linalg
        return SimpleNamespace(
            svd=lambda x: linalg.svd(x, full_matrices=False),
            svdvals=lambda x: linalg.svd(x, compute_uv=False),
            eigh=linalg.eigh,
        )

    @contextlib.contextmanager
    def settings(self) -> Iterator[None]:
        """Full precision, for the time of a call."""
        jax = self.host.module
        with self.host.double_precision(True), jax.default_matmul_precision("float32"):
            yield

    def array(self, x: NDArray[Any], device: str) -> Any:
        jax = self.host.module
        with self.settings():
            return jax.device_put(x, jax.devices(device)[0])

    def device(self, x: Any) -> str:
        (device,) = x.devices()
        return {"gpu": "cuda"}.get(device.platform, str(device.platform))

    def derivative(self, quantity: str, observable: Observable) -> Function:
        """What is compiled: ``"value"``, ``"vjp"``, ``"jvp"`` or ``"hvp"``, of tuples of arrays."""
        jax, conj, observe = self.host.module, self.xp.conj, self.observe(observable)

        def value(inputs: Arrays) -> Arrays:
            return observe(*inputs)

        def vjp(inputs: Arrays, cotangents: Arrays) -> Arrays:
            out, pullback = jax.vjp(observe, *inputs)
            cts = tuple(conj(ct).astype(y.dtype) for ct, y in zip(cotangents, out, strict=True))
            return tuple(map(conj, pullback(cts)))  # in PyTorch's convention

        def jvp(inputs: Arrays, tangents: Arrays) -> Arrays:
            return tuple(jax.jvp(observe, inputs, tangents)[1])

        def hvp(inputs: Arrays, cotangents: Arrays, tangents: Arrays) -> Arrays:
            return tuple(jax.jvp(lambda *x: vjp(x, cotangents), inputs, tangents)[1])

        functions: dict[str, Function] = {"value": value, "vjp": vjp, "jvp": jvp, "hvp": hvp}
        return functions[quantity]

    def _run(self, quantity: str, observable: Observable, *arguments: Arrays) -> Arrays:
        place = self.device(arguments[0][0])
        key = (quantity, repr(observable), place)
        if observable.kind != self._kind:  # what was compiled takes memory
            self._compiled.clear()
            self._kind = observable.kind
        if key not in self._compiled:
            function = self.derivative(quantity, observable)
            if observable.options.get("mode") != "raise":
                # small matrices: on a CPU compiling is all that takes time
                options = {"xla_backend_optimization_level": 0} if place == "cpu" else None
                function = self.host.module.jit(function, compiler_options=options)
            self._compiled[key] = function
        with self.settings():
            return self._compiled[key](*arguments)

    def value(self, observable: Observable, inputs: Arrays) -> Arrays:
        return self._run("value", observable, inputs)

    def vjp(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        return self._run("vjp", observable, inputs, cotangents)

    def jvp(self, observable: Observable, inputs: Arrays, tangents: Arrays) -> Arrays:
        return self._run("jvp", observable, inputs, tangents)

    def hvp(
        self, observable: Observable, inputs: Arrays, cotangents: Arrays, tangents: Arrays
    ) -> Arrays:
        return self._run("hvp", observable, inputs, cotangents, tangents)


class TensorFlowImplementation(Autodiff):
    """TensorFlow, eager; second derivatives by two tapes."""

    framework = "tensorflow"
    host: TensorFlow

    def load(self) -> None:
        super().load()
        self.tf = self.xp = self.host.module
        self.tf.get_logger().setLevel("ERROR")  # it warns of complex tangents, which work

    def native(self) -> Any:
        tf = self.tf

        def svd(x: Any) -> Any:
            s, u, v = tf.linalg.svd(x)
            return u, s, tf.linalg.adjoint(v)

        def eigh(x: Any) -> Any:
            w, q = tf.linalg.eigh(x)
            return tf.math.real(w), q  # complex eigenvalues of a complex matrix

        return SimpleNamespace(
            svd=svd, svdvals=lambda x: tf.linalg.svd(x, compute_uv=False), eigh=eigh
        )

    def array(self, x: NDArray[Any], device: str) -> Any:
        with self.tf.device("/GPU:0" if device == "cuda" else "/CPU:0"):
            return self.tf.identity(self.tf.constant(x))

    def device(self, x: Any) -> str:
        return "cuda" if "GPU" in x.device else "cpu"

    def _gradient(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        tf = self.tf
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            out = self.observe(observable)(*inputs)
        grads = tape.gradient(out, inputs, output_gradients=list(cotangents))
        return tuple(tf.zeros_like(x) if g is None else g
                     for g, x in zip(grads, inputs, strict=True))  # fmt: skip

    def vjp(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        return self._gradient(observable, inputs, cotangents)

    def jvp(self, observable: Observable, inputs: Arrays, tangents: Arrays) -> Arrays:
        tf = self.tf
        with tf.autodiff.ForwardAccumulator(list(inputs), list(tangents)) as accumulator:
            out = self.observe(observable)(*inputs)
        dout = (accumulator.jvp(y) for y in out)
        return tuple(tf.zeros_like(y) if d is None else d for d, y in zip(dout, out, strict=True))

    def hvp(
        self, observable: Observable, inputs: Arrays, cotangents: Arrays, tangents: Arrays
    ) -> Arrays:
        tf = self.tf
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            grads = self._gradient(observable, inputs, cotangents)
        second = tape.gradient(grads, inputs, output_gradients=list(tangents))
        return tuple(tf.zeros_like(x) if g is None else g
                     for g, x in zip(second, inputs, strict=True))  # fmt: skip

    def adjoint(self, x: Any) -> Any:
        return self.tf.linalg.adjoint(x)

    def as_type_of(self, s: Any, like: Any) -> Any:
        if like.dtype.is_complex:  # not tf.cast, whose gradient warns about the imaginary part
            return self.tf.complex(s, self.tf.zeros_like(s))
        return s

    def above(self, s: Any, cut: Any) -> Any:
        return self.tf.cast(s > cut, s.dtype)

    def constant(self, x: NDArray[Any], like: Any) -> Any:
        return self.tf.cast(self.tf.constant(x), like.dtype)

    def mean_over(self, s: Any, groups: list[list[int]]) -> Any:
        return super().mean_over(s[..., None, :], groups)[..., 0, :]

    def total(self, s: Any) -> Any:
        return self.tf.reduce_sum(s, -1)


class AutogradImplementation(Autodiff):
    """HIPS autograd: NumPy arrays; second derivatives by two reverse passes."""

    framework = "autograd"

    def load(self) -> None:
        super().load()
        self.xp = importlib.import_module("autograd.numpy")
        self.core = importlib.import_module("autograd.core")
        self.builtins = importlib.import_module("autograd.builtins")

    def native(self) -> Any:
        linalg = self.xp.linalg
        return SimpleNamespace(
            svd=lambda x: linalg.svd(x, full_matrices=False),
            eigh=linalg.eigh,
        )

    def array(self, x: NDArray[Any], device: str) -> Any:
        return np.array(x)

    def device(self, x: Any) -> str:
        return "cpu"

    def as_type_of(self, s: Any, like: Any) -> Any:
        return s * np.ones((), like.dtype)  # its astype has no forward mode

    def _pullback(self, observable: Observable, cotangents: Arrays) -> Function:
        """Reverse mode as a function of the inputs, in autograd's convention, which is JAX's."""
        tuples = self.builtins.tuple

        def gradient(inputs: Any) -> Any:
            observe = self.observe(observable)
            pullback, _ = self.core.make_vjp(lambda x: tuples(observe(*x)), inputs)
            return pullback(tuple(map(np.conj, cotangents)))

        return gradient

    @contextlib.contextmanager
    def _where_it_has_one(self) -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Output seems independent of input")  # zero it is
            try:
                yield
            except NotImplementedError as error:
                raise NotApplicable(str(error)) from None

    def vjp(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        with self._where_it_has_one():
            return tuple(map(np.conj, self._pullback(observable, cotangents)(inputs)))

    def jvp(self, observable: Observable, inputs: Arrays, tangents: Arrays) -> Arrays:
        tuples, observe = self.builtins.tuple, self.observe(observable)
        with self._where_it_has_one():
            return tuple(self.core.make_jvp(lambda x: tuples(observe(*x)), inputs)(tangents)[1])

    def hvp(
        self, observable: Observable, inputs: Arrays, cotangents: Arrays, tangents: Arrays
    ) -> Arrays:
        with self._where_it_has_one():
            pullback, _ = self.core.make_vjp(self._pullback(observable, cotangents), inputs)
            return tuple(map(np.conj, pullback(tangents)))


AUTODIFF: dict[str, type[Autodiff]] = {
    cls.framework: cls
    for cls in (
        TorchImplementation, JaxImplementation, TensorFlowImplementation, AutogradImplementation,
    )
}  # fmt: skip
"""The class of each framework."""

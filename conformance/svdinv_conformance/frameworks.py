"""One small class per framework: is it there, and what gradient does it give.

Everything goes through the public interface, as a user would write it: ``svdinv.torch.svd(x,
rule=...)`` and ``torch.autograd.grad``, ``svdinv.jax.svt(x, tau)`` and ``jax.grad``, and so on. The
framework is imported when it is first asked for and not before.

All gradients come back as NumPy arrays in PyTorch's convention for complex numbers: those of JAX
and autograd are the conjugates and are converted.

To add a framework, write a class with the methods of :class:`Framework` (or of
:class:`AutodiffFramework`, if it differentiates) and name it in :data:`FRAMEWORKS`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .losses import EXACT, NATIVE
from .recomposition import pull_back

__all__ = [
    "FRAMEWORKS",
    "AutodiffFramework",
    "Framework",
    "Gradient",
    "Problem",
    "UnavailableError",
]


class UnavailableError(Exception):
    """A framework, a device or a method that is not there; the message is the reason."""


@dataclass(frozen=True)
class Problem:
    """What to differentiate: a loss at some matrices.

    Attributes
    ----------
    loss
        Name of the loss.
    x
        Matrices ``(..., m, n)`` in the computing type.
    weights
        ``W``, of x's shape and type.
    tau
        Threshold of each matrix, the batch shape, real.
    """

    loss: str
    x: NDArray[Any]
    weights: NDArray[Any]
    tau: NDArray[Any]


class Gradient(NamedTuple):
    """A gradient with respect to the matrices, and to the threshold if the loss has one."""

    x: Any
    tau: Any | None


class Framework(ABC):
    """What a comparison needs of a framework."""

    name: ClassVar[str]
    """As users name it, also the name of its module in ``svdinv``."""
    package: ClassVar[str]
    """What is imported."""
    execution: ClassVar[str] = "eager"
    """How the timed code runs, for the caption of the table."""

    def __init__(self) -> None:
        self._modules: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """Import the framework and the library's module for it.

        Raises
        ------
        UnavailableError
            If either cannot be imported.
        """
        if self._modules is None:
            if importlib.util.find_spec(self.package) is None:
                raise UnavailableError(f"{self.package} is not installed")
            try:
                module = importlib.import_module(self.package)
            except Exception as error:
                raise UnavailableError(
                    f"{self.package} cannot be imported: {first_line(error)}"
                ) from error
            try:
                library = importlib.import_module(f"svdinv.{self.name}")
            except Exception as error:
                raise UnavailableError(
                    f"svdinv.{self.name} cannot be imported: {first_line(error)}"
                ) from error
            self._modules = module, library
        return self._modules

    @property
    def module(self) -> Any:
        """The framework."""
        return self.load()[0]

    @property
    def library(self) -> Any:
        """The library's module for the framework."""
        return self.load()[1]

    def version(self) -> str:
        """Give the framework's version."""
        return str(getattr(self.module, "__version__", "?"))

    @abstractmethod
    def check_device(self, device: str) -> None:
        """Raise :class:`UnavailableError` if ``"cpu"`` or ``"cuda"`` cannot be computed on."""

    @abstractmethod
    def gradient(self, problem: Problem, method: str, device: str) -> Callable[[], Gradient]:
        """Prepare a gradient; each call of the result computes it once and waits for it.

        Transfers and, where there is any, compilation are not part of that call (compilation
        happens in the first one).

        Raises
        ------
        UnavailableError
            If this framework has no such method.
        """

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """Copy a result to a NumPy array."""
        return np.asarray(array)

    def exact_operator(self, loss: str, x: Any, tau: Any) -> Any:
        """Call the library's exact operator for a loss: ``svt`` or ``svdvals``."""
        if EXACT[loss] == "svt":
            return self.library.svt(x, tau)
        return self.library.svdvals(x)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Send what is written to file descriptor 2, by C++ code too, nowhere.

    Python exceptions pass as ever.
    """
    try:
        saved = os.dup(2)
    except OSError:  # closed already
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def first_line(error: BaseException) -> str:
    """Give the first line of an error's message, or the error's name if it has none."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip() if lines else ""
    return text or type(error).__name__


# --- frameworks that differentiate ---------------------------------------------------------------


class AutodiffFramework(Framework):
    """The losses in a framework's own operations, for frameworks that differentiate them."""

    def loss(self, loss: str, method: str, x: Any, tau: Any, weights: Any) -> Any:
        """Compute the loss as a real number of the framework, differentiable in x and tau."""
        if method == EXACT.get(loss):
            value = self.exact_operator(loss, x, tau)
            return self.sum(value) if loss == "nuclear" else self.pairing(weights, value)
        u, s, vh = self.native_svd(x) if method == NATIVE else self.library.svd(x, rule=method)
        if loss == "nuclear":
            return self.sum(s)
        if loss == "soft":
            s = self.positive_part(s - tau[..., None])
        elif loss == "hard":
            s = self.where_above(s, tau[..., None])
        return self.pairing(weights, self.scale_columns(u, s) @ vh)

    @abstractmethod
    def native_svd(self, x: Any) -> tuple[Any, Any, Any]:
        """Decompose with the framework's own function: thin U, S, Vh."""

    @abstractmethod
    def sum(self, s: Any) -> Any:
        """Add up all entries."""

    @abstractmethod
    def pairing(self, weights: Any, value: Any) -> Any:
        """Compute ``Re sum(conj(weights) * value)``."""

    @abstractmethod
    def positive_part(self, s: Any) -> Any:
        """Compute ``max(s, 0)``."""

    @abstractmethod
    def where_above(self, s: Any, tau: Any) -> Any:
        """Keep the entries above ``tau``; the others become zero."""

    def scale_columns(self, u: Any, s: Any) -> Any:
        """Multiply the columns of U by real numbers."""
        return u * s[..., None, :]


class Torch(AutodiffFramework):
    """PyTorch, eager."""

    name = "torch"
    package = "torch"

    def check_device(self, device: str) -> None:
        if device == "cuda" and not self.module.cuda.is_available():
            raise UnavailableError("torch sees no CUDA device")
        try:
            self.module.empty(0, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise UnavailableError(f"torch has no device {device!r} here") from error

    def gradient(self, problem: Problem, method: str, device: str) -> Callable[[], Gradient]:
        torch = self.module
        x = torch.tensor(problem.x, device=device, requires_grad=True)
        weights = torch.tensor(problem.weights, device=device)
        soft = problem.loss == "soft"
        tau = torch.tensor(problem.tau, device=device, requires_grad=soft)

        def run() -> Gradient:
            loss = self.loss(problem.loss, method, x, tau, weights)
            grads = torch.autograd.grad(loss, (x, tau) if soft else (x,))
            if device == "cuda":
                torch.cuda.synchronize()
            return Gradient(grads[0], grads[1] if soft else None)

        return run

    def to_numpy(self, array: Any) -> NDArray[Any]:
        return np.asarray(array.detach().resolve_conj().cpu().numpy())

    def native_svd(self, x: Any) -> tuple[Any, Any, Any]:
        u, s, vh = self.module.linalg.svd(x, full_matrices=False)
        return u, s, vh

    def sum(self, s: Any) -> Any:
        return s.sum()

    def pairing(self, weights: Any, value: Any) -> Any:
        return (weights.conj() * value).sum().real

    def positive_part(self, s: Any) -> Any:
        return s.clamp(min=0)

    def where_above(self, s: Any, tau: Any) -> Any:
        return self.module.where(s > tau, s, self.module.zeros_like(s))


class Jax(AutodiffFramework):
    """JAX, compiled; float64 is switched on for the time of a call only."""

    name = "jax"
    package = "jax"
    execution = "compiled"

    def __init__(self) -> None:
        super().__init__()
        self._compiled: dict[tuple[str, str], Callable[..., Any]] = {}

    def check_device(self, device: str) -> None:
        try:
            self.module.devices(device)
        except RuntimeError:
            raise UnavailableError(f"jax sees no {device.upper()} device") from None

    def double_precision(self, on: bool) -> AbstractContextManager[Any]:
        """With float64 switched on or off; older versions of JAX have the switch elsewhere."""
        home = self.module
        if not hasattr(home, "enable_x64"):
            home = importlib.import_module("jax.experimental")
        switched: AbstractContextManager[Any] = home.enable_x64(on)
        return switched

    @contextlib.contextmanager
    def _settings(self, device: str) -> Iterator[None]:
        jax = self.module
        with (
            self.double_precision(True),
            jax.default_matmul_precision("float32"),  # a GPU would multiply with fewer bits
            jax.default_device(jax.devices(device)[0]),
        ):
            yield

    def _differentiated(self, loss: str, method: str) -> Callable[..., Any]:
        """Compile a gradient, once for each loss and method (and shape, type and device)."""
        jax = self.module
        if (loss, method) not in self._compiled:

            def value(x: Any, tau: Any, weights: Any) -> Any:
                return self.loss(loss, method, x, tau, weights)

            def gradient(x: Any, tau: Any, weights: Any) -> Any:
                argnums = (0, 1) if loss == "soft" else (0,)
                grads = jax.grad(value, argnums=argnums)(x, tau, weights)
                return (jax.numpy.conj(grads[0]), *grads[1:])  # to PyTorch's convention

            self._compiled[loss, method] = jax.jit(gradient)
        return self._compiled[loss, method]

    def gradient(self, problem: Problem, method: str, device: str) -> Callable[[], Gradient]:
        jax = self.module
        differentiated = self._differentiated(problem.loss, method)
        with self._settings(device):
            x, tau, weights = (
                jax.device_put(a, jax.devices(device)[0])
                for a in (problem.x, problem.tau, problem.weights)
            )

        def run() -> Gradient:
            with self._settings(device):
                grads = jax.block_until_ready(differentiated(x, tau, weights))
            return Gradient(grads[0], grads[1] if problem.loss == "soft" else None)

        return run

    def native_svd(self, x: Any) -> tuple[Any, Any, Any]:
        u, s, vh = self.module.numpy.linalg.svd(x, full_matrices=False)
        return u, s, vh

    def sum(self, s: Any) -> Any:
        return s.sum()

    def pairing(self, weights: Any, value: Any) -> Any:
        return (weights.conj() * value).sum().real

    def positive_part(self, s: Any) -> Any:
        return self.module.numpy.maximum(s, 0)

    def where_above(self, s: Any, tau: Any) -> Any:
        return self.module.numpy.where(s > tau, s, 0)


class TensorFlow(AutodiffFramework):
    """TensorFlow, eager."""

    name = "tensorflow"
    package = "tensorflow"

    def load(self) -> tuple[Any, Any]:
        if self._modules is None:
            # Read when the library is loaded, hence before the import: errors only. It does not
            # reach the messages about absent GPUs, which are written past Python.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            with _silenced():
                super().load()[0].config.list_logical_devices()
        return super().load()

    def check_device(self, device: str) -> None:
        if device not in ("cpu", "cuda"):
            raise UnavailableError(f"tensorflow has no device {device!r} here; cpu or cuda")
        if device == "cuda" and not self.module.config.list_physical_devices("GPU"):
            raise UnavailableError("tensorflow sees no CUDA device")

    def _device(self, device: str) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.module.device(
            "/GPU:0" if device == "cuda" else "/CPU:0"
        )
        return context

    @contextlib.contextmanager
    def _full_precision(self) -> Iterator[None]:
        """Switch off the shortened products of newer GPUs for the time of a call."""
        config = self.module.config.experimental
        before = config.tensor_float_32_execution_enabled()
        config.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            config.enable_tensor_float_32_execution(before)

    def gradient(self, problem: Problem, method: str, device: str) -> Callable[[], Gradient]:
        tf = self.module
        soft = problem.loss == "soft"
        with self._device(device):
            x, tau, weights = (tf.constant(a) for a in (problem.x, problem.tau, problem.weights))

        def run() -> Gradient:
            with self._device(device), self._full_precision():
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    tape.watch(tau)
                    loss = self.loss(problem.loss, method, x, tau, weights)
                grads = tape.gradient(loss, (x, tau) if soft else (x,))
                if device == "cuda":
                    grads[0].numpy()  # the only way to wait that every version has
            return Gradient(grads[0], grads[1] if soft else None)

        return run

    def to_numpy(self, array: Any) -> NDArray[Any]:
        return np.asarray(array.numpy())

    def native_svd(self, x: Any) -> tuple[Any, Any, Any]:
        s, u, v = self.module.linalg.svd(x)
        return u, s, self.module.linalg.adjoint(v)

    def sum(self, s: Any) -> Any:
        return self.module.reduce_sum(s)

    def pairing(self, weights: Any, value: Any) -> Any:
        tf = self.module
        return tf.math.real(tf.reduce_sum(tf.math.conj(weights) * value))

    def positive_part(self, s: Any) -> Any:
        return self.module.nn.relu(s)

    def where_above(self, s: Any, tau: Any) -> Any:
        return self.module.where(s > tau, s, self.module.zeros_like(s))

    def scale_columns(self, u: Any, s: Any) -> Any:
        if u.dtype.is_complex:  # not tf.cast, whose gradient warns about the imaginary part
            s = self.module.complex(s, self.module.zeros_like(s))
        return u * s[..., None, :]


class Autograd(AutodiffFramework):
    """HIPS autograd: NumPy's arrays."""

    name = "autograd"
    package = "autograd"

    def version(self) -> str:
        return importlib.metadata.version(self.package)

    def check_device(self, device: str) -> None:
        if device != "cpu":
            raise UnavailableError("autograd computes on the CPU only")

    @property
    def xp(self) -> Any:
        """NumPy as autograd wraps it."""
        return importlib.import_module("autograd.numpy")

    def gradient(self, problem: Problem, method: str, device: str) -> Callable[[], Gradient]:
        soft = problem.loss == "soft"

        def value(x: Any, tau: Any) -> Any:
            return self.loss(problem.loss, method, x, tau, problem.weights)

        differentiated = self.module.grad(value, (0, 1) if soft else (0,))

        def run() -> Gradient:
            with np.errstate(divide="ignore", invalid="ignore"):  # of its own SVD at a tie
                grads = differentiated(problem.x, problem.tau)
            return Gradient(np.conj(grads[0]), grads[1] if soft else None)  # as in PyTorch

        return run

    def native_svd(self, x: Any) -> tuple[Any, Any, Any]:
        u, s, vh = self.xp.linalg.svd(x, full_matrices=False)
        return u, s, vh

    def sum(self, s: Any) -> Any:
        return self.xp.sum(s)

    def pairing(self, weights: Any, value: Any) -> Any:
        return self.xp.real(self.xp.sum(np.conj(weights) * value))

    def positive_part(self, s: Any) -> Any:
        return self.xp.maximum(s, 0)

    def where_above(self, s: Any, tau: Any) -> Any:
        return self.xp.where(s > tau, s, 0)


# --- frameworks without automatic differentiation ------------------------------------------------


class NumPy(Framework):
    """NumPy, with the library's explicit ``vjp``; the chain rule of the loss is written here."""

    name = "numpy"
    package = "numpy"

    def check_device(self, device: str) -> None:
        if device != "cpu":
            raise UnavailableError("numpy computes on the CPU only")

    def _asarray(self, a: NDArray[Any]) -> Any:
        return a

    def _wait(self) -> None:
        pass

    def gradient(self, problem: Problem, method: str, device: str) -> Callable[[], Gradient]:
        if method == NATIVE:
            raise UnavailableError(f"{self.name} has no autodiff")
        soft = problem.loss == "soft"
        x, weights, tau = (self._asarray(a) for a in (problem.x, problem.weights, problem.tau))

        def run() -> Gradient:
            if method == "svt":
                _, pullback = self.library.vjp(self.library.svt, x, tau)
                ct_x, ct_tau = pullback(weights)
                grads = Gradient(ct_x, ct_tau)
            elif method == "svdvals":
                s, pullback = self.library.vjp(self.library.svdvals, x)
                (ct_x,) = pullback(self.module.ones_like(s))
                grads = Gradient(ct_x, None)
            else:
                (u, s, vh), pullback = self.library.vjp(self.library.svd, x, rule=method)
                *cts, ct_tau = self._cotangents(problem.loss, u, s, vh, weights, tau)
                (ct_x,) = pullback(tuple(cts))
                grads = Gradient(ct_x, ct_tau if soft else None)
            self._wait()
            return grads

        return run

    def _cotangents(self, loss: str, u: Any, s: Any, vh: Any, w: Any, tau: Any) -> Any:
        """Cotangents of U, S, Vh and tau for ``L = Re <W, U diag(f(S)) Vh>``."""
        xp = importlib.import_module(f"array_api_compat.{self.package}")
        if loss == "nuclear":
            return None, xp.ones_like(s), None, None
        f, slope = s, xp.ones_like(s)
        if loss in ("soft", "hard"):
            kept = s > tau[..., None]
            slope = xp.where(kept, slope, 0)
            f = xp.where(kept, s - tau[..., None] if loss == "soft" else s, 0)
        ct_u, ct_f, ct_vh = pull_back(xp, u, f, vh, w)
        ct_s = slope * ct_f
        return ct_u, ct_s, ct_vh, -xp.sum(ct_s, axis=-1)


class CuPy(NumPy):
    """CuPy: NumPy's interface on a GPU."""

    name = "cupy"
    package = "cupy"

    def check_device(self, device: str) -> None:
        if device != "cuda":
            raise UnavailableError("cupy computes on CUDA only")
        try:
            count = self.module.cuda.runtime.getDeviceCount()
        except Exception as error:
            raise UnavailableError(f"cupy sees no CUDA device ({first_line(error)})") from error
        if count == 0:
            raise UnavailableError("cupy sees no CUDA device")

    def _asarray(self, a: NDArray[Any]) -> Any:
        return self.module.asarray(a)

    def _wait(self) -> None:
        self.module.cuda.get_current_stream().synchronize()

    def to_numpy(self, array: Any) -> NDArray[Any]:
        return np.asarray(self.module.asnumpy(array))


FRAMEWORKS: dict[str, type[Framework]] = {
    cls.name: cls for cls in (NumPy, Torch, Jax, TensorFlow, Autograd, CuPy)
}
"""The class of each framework, in the order of the table."""

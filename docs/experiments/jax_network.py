"""The colour network of `experiments.networks` in JAX, with Equinox and Optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from svdinv import jax as sj

from .operators import PixelSampling

__all__ = ["LOW_RANK", "ColourNetwork", "step", "train"]

Array = Any


def _native(x: Array, share: Array) -> Array:
    U, S, Vh = jnp.linalg.svd(x, full_matrices=False)
    return (U * jax.nn.relu(S - share * S[..., :1])[..., None, :]) @ Vh


LOW_RANK: dict[str, Callable[[Array, Array], Array]] = {
    "svt": lambda x, share: sj.svt(x, share, relative=True),
    "native": _native,
    "none": lambda x, share: x * (1 - share),
}
"""Low-rank steps by name; "none" has no decomposition, for timing."""


class Iteration(eqx.Module):
    """One ADMM iteration: two transforms of three convolutions, a threshold, a step."""

    transform: list[Array]
    back: list[Array]
    threshold: Array
    eta: Array
    method: str = eqx.field(static=True)

    def __init__(self, weights: dict[str, Any], method: str) -> None:
        self.method = method
        self.transform = [jnp.asarray(k) for k in weights["transform"]]
        self.back = [jnp.asarray(k) for k in weights["back"]]
        self.threshold = jnp.asarray(weights["threshold"])
        self.eta = jnp.asarray(weights["eta"])

    def z_step(self, shifted: Array) -> Array:
        transformed = _convolutions(self.transform, shifted)
        low_rank = LOW_RANK[self.method](transformed, jax.nn.sigmoid(self.threshold))
        return _convolutions(self.back, low_rank) + shifted


class ColourNetwork(eqx.Module):
    """Colour images ``(B, 3, H, W)`` from a part of their pixels; see the PyTorch one."""

    layers: list[Iteration]

    def __init__(self, weights: list[dict[str, Any]], method: str = "svt") -> None:
        self.layers = [Iteration(w, method) for w in weights]

    def __call__(self, y: Array, mask: Array) -> Array:
        sampling = PixelSampling(mask)
        x, multiplier = y, jnp.zeros_like(y)
        for layer in self.layers:
            z = layer.z_step(x + multiplier)
            x = sampling.data_step(y, z - multiplier, 0.0)
            multiplier = multiplier + jax.nn.relu(layer.eta) * (x - z)
        return x


def _convolutions(kernels: list[Array], x: Array) -> Array:
    for number, kernel in enumerate(kernels):
        x = jax.lax.conv(jax.nn.relu(x) if number else x, kernel, (1, 1), "SAME")
    return x


def _loss(network: ColourNetwork, y: Array, mask: Array, target: Array) -> Array:
    return jnp.mean((network(y, mask) - target) ** 2)


_loss_and_gradient = eqx.filter_value_and_grad(_loss)


def step(weights: list[dict[str, Any]], method: str) -> Callable[..., Any]:
    """Loss and gradient of a batch, compiled, for a low-rank step of :data:`LOW_RANK`."""
    network, compiled = ColourNetwork(weights, method), eqx.filter_jit(_loss_and_gradient)
    return lambda *batch: jax.tree.map(np.asarray, compiled(network, *batch))


def train(weights: list[dict[str, Any]], batch: Callable[..., Any], settings: Any) -> list[float]:
    """Loss of every step; the arguments are those of `experiments.training`."""
    network = ColourNetwork(weights)
    optimiser = optax.adam(optax.cosine_decay_schedule(settings.rate, settings.steps))
    state = optimiser.init(eqx.filter(network, eqx.is_array))

    @eqx.filter_jit
    def update(network: Any, state: Any, y: Array, mask: Array, target: Array) -> Any:
        loss, gradient = _loss_and_gradient(network, y, mask, target)
        updates, state = optimiser.update(gradient, state)
        return eqx.apply_updates(network, updates), state, loss

    found = []
    for number in range(settings.steps):
        (y, mask), target = batch(np.random.default_rng([settings.seed, number]))
        network, state, loss = update(network, state, y.numpy(), mask.numpy(), target.numpy())
        found.append(float(loss))
    return found

"""The colour network of `experiments.networks` in Keras, on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from svdinv import tensorflow as stf

__all__ = ["LOW_RANK", "ColourNetwork", "step", "train"]

Array = Any


def _native(x: Array, share: Array) -> Array:
    S, U, V = tf.linalg.svd(x)
    return tf.matmul(U * tf.nn.relu(S - share * S[..., :1])[..., None, :], V, adjoint_b=True)


LOW_RANK: dict[str, Callable[[Array, Array], Array]] = {
    "svt": lambda x, share: stf.svt(x, share, relative=True),
    "native": _native,
    "none": lambda x, share: x * (1 - share),
}
"""Low-rank steps by name; "none" has no decomposition, for timing."""


class Iteration(keras.layers.Layer):  # type: ignore[misc]
    """One ADMM iteration: two transforms of three convolutions, a threshold, a step."""

    def __init__(self, weights: dict[str, Any], last: bool, method: str) -> None:
        super().__init__()
        self.low_rank = LOW_RANK[method]
        self.transform = [self._kernel(k) for k in weights["transform"]]
        self.back = [self._kernel(k) for k in weights["back"]]
        self.threshold = self._number(weights["threshold"])
        self.eta = self._number(weights["eta"], trainable=not last)

    def _kernel(self, kernel: Array) -> Any:
        values = np.transpose(kernel, (2, 3, 1, 0))  # TensorFlow's order
        return self.add_weight(
            shape=values.shape, initializer=lambda shape, dtype: tf.constant(values, dtype)
        )

    def _number(self, value: float, trainable: bool = True) -> Any:
        start = keras.initializers.Constant(value)
        return self.add_weight(shape=(), initializer=start, trainable=trainable)

    def call(self, x: Array, multiplier: Array, y: Array, mask: Array) -> tuple[Array, Array]:
        shifted = x + multiplier
        transformed = _convolutions(self.transform, shifted)
        low_rank = self.low_rank(transformed, tf.sigmoid(self.threshold))
        z = _convolutions(self.back, low_rank) + shifted
        x = (1 - mask) * (z - multiplier) + mask * y
        return x, multiplier + tf.nn.relu(self.eta) * (x - z)


class ColourNetwork(keras.Model):  # type: ignore[misc]
    """Colour images ``(B, 3, H, W)`` from a part of their pixels; see the PyTorch one."""

    def __init__(self, weights: list[dict[str, Any]], method: str = "svt") -> None:
        super().__init__()
        self.unrolled = [Iteration(w, w is weights[-1], method) for w in weights]

    def call(self, inputs: tuple[Array, Array]) -> Array:
        y, mask = inputs
        x, multiplier = y, tf.zeros_like(y)
        for layer in self.unrolled:
            x, multiplier = layer(x, multiplier, y, mask)
        return x


def _convolutions(kernels: list[Any], x: Array) -> Array:
    """Channels first in and out; TensorFlow's CPU convolutions want them last."""
    x = tf.transpose(x, (0, 2, 3, 1))
    for number, kernel in enumerate(kernels):
        x = tf.nn.conv2d(tf.nn.relu(x) if number else x, kernel, 1, "SAME")
    return tf.transpose(x, (0, 3, 1, 2))


def _loss_and_gradient(network: ColourNetwork, y: Array, mask: Array, target: Array) -> Any:
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((network((y, mask)) - target) ** 2)
    return loss, tape.gradient(loss, network.trainable_variables)


def step(weights: list[dict[str, Any]], method: str) -> Callable[..., Any]:
    """Loss and gradient of a batch, compiled, for a low-rank step of :data:`LOW_RANK`."""
    network = ColourNetwork(weights, method)
    compiled = tf.function(lambda *batch: _loss_and_gradient(network, *batch))
    return lambda *batch: tf.nest.map_structure(np.asarray, compiled(*batch))


def train(weights: list[dict[str, Any]], batch: Callable[..., Any], settings: Any) -> list[float]:
    """Loss of every step; the arguments are those of `experiments.training`."""
    network = ColourNetwork(weights)
    schedule = keras.optimizers.schedules.CosineDecay(settings.rate, settings.steps)
    # Keras adds epsilon before the bias of the second moment is corrected, the others after it.
    optimiser = keras.optimizers.Adam(schedule, epsilon=1e-8 * (1 - 0.999) ** 0.5)

    @tf.function  # type: ignore[untyped-decorator]
    def update(y: Array, mask: Array, target: Array) -> Array:
        loss, gradient = _loss_and_gradient(network, y, mask, target)
        optimiser.apply_gradients(zip(gradient, network.trainable_variables, strict=True))
        return loss

    found = []
    for number in range(settings.steps):
        (y, mask), target = batch(np.random.default_rng([settings.seed, number]))
        found.append(float(update(y.numpy(), mask.numpy(), target.numpy())))
    return found

"""The colour network in three frameworks, from the same weights, on the same batches.

`experiments.networks` is PyTorch's; `experiments.jax_network` is written with Equinox and Optax,
`experiments.keras_network` with Keras on TensorFlow. Each calls the `svt` of its own framework.
Modules are imported when they are asked for: a user of one framework needs no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import compressive, training
from .networks import ColourNetwork, Iteration

__all__ = ["FRAMEWORKS", "Weights", "difference", "initial_weights", "losses"]

Array = NDArray[Any]

EVERY = 20
"""Steps whose mean loss is compared."""

Weights = list[dict[str, Any]]
"""Of every iteration: ``transform`` and ``back``, three kernels ``(out, in, 3, 3)`` each, and the
numbers ``threshold`` and ``eta``."""


def initial_weights(network: ColourNetwork) -> Weights:
    """The weights of PyTorch's network as NumPy arrays."""
    found: Weights = []
    for layer in network.layers:
        assert isinstance(layer, Iteration)
        kernels = {
            name: [p.detach().numpy().copy() for p in getattr(layer, name).parameters()]
            for name in ("transform", "back")
        }
        numbers = {"threshold": layer.threshold.item(), "eta": layer.eta.item()}
        found.append({**kernels, **numbers})
    return found


def _torch(problem: compressive.Problem, network: ColourNetwork, s: training.Settings) -> Any:
    return training.train(network, problem, s).loss


def _jax(problem: compressive.Problem, network: ColourNetwork, s: training.Settings) -> Any:
    import jax

    from . import jax_network

    with jax.enable_x64(False):  # single precision, whatever the program around it uses
        return jax_network.train(initial_weights(network), problem, s)


def _keras(problem: compressive.Problem, network: ColourNetwork, s: training.Settings) -> Any:
    from . import keras_network

    return keras_network.train(initial_weights(network), problem, s)


FRAMEWORKS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "torch": _torch,
    "jax": _jax,
    "keras": _keras,
}


def losses(
    framework: str, problem: compressive.Problem, settings: training.Settings, iterations: int = 10
) -> list[float]:
    """Loss of every training step in a framework.

    Parameters
    ----------
    framework
        A name of :data:`FRAMEWORKS`.
    settings
        The seed decides the first weights, the masks and the batches, alike in all of them.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if framework not in FRAMEWORKS:
        raise ValueError(f"unknown framework {framework!r}; use one of {', '.join(FRAMEWORKS)}")
    torch.manual_seed(settings.seed)
    network = ColourNetwork("svt", iterations)
    return [float(x) for x in FRAMEWORKS[framework](problem, network, settings)]


def difference(curves: Mapping[str, Sequence[float]], every: int = EVERY) -> float:
    """Largest relative difference of any two frameworks in means over `every` steps."""
    steps = min(map(len, curves.values())) // every * every
    stacked = np.stack([np.mean(np.reshape(c[:steps], (-1, every)), 1) for c in curves.values()])
    return float(np.max((stacked.max(0) - stacked.min(0)) / stacked.mean(0)))

"""The colour network in three frameworks, from the same weights, on the same batches.

`experiments.networks` is PyTorch's; `experiments.jax_network` is written with Equinox and Optax,
`experiments.keras_network` with Keras on TensorFlow. Each calls the `svt` of its own framework.
Modules are imported when they are asked for: a user of one framework needs no other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from svdinv_conformance.arguments import positive

from . import colour, data, figures, results, training
from .arguments import add_common, add_images, positive_number
from .networks import ColourNetwork, Iteration
from .results import Found

NAME = "ports"
HELP = "the colour network in PyTorch, JAX and Keras"
QUICK = ["--framework torch --steps 20 --batch 1 --side 8 --iterations 1"]

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


def _torch(problem: colour.Problem, network: ColourNetwork, s: training.Settings) -> Any:
    return training.train(network, problem, s).loss


def _jax(problem: colour.Problem, network: ColourNetwork, s: training.Settings) -> Any:
    import jax

    from . import jax_network

    with jax.enable_x64(False):  # single precision, whatever the program around it uses
        return jax_network.train(initial_weights(network), problem, s)


def _keras(problem: colour.Problem, network: ColourNetwork, s: training.Settings) -> Any:
    from . import keras_network

    return keras_network.train(initial_weights(network), problem, s)


FRAMEWORKS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "torch": _torch,
    "jax": _jax,
    "keras": _keras,
}


def losses(
    framework: str, problem: colour.Problem, settings: training.Settings, iterations: int = 10
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    names = list(FRAMEWORKS)
    parser.add_argument("--framework", nargs="+", choices=names, default=names, help="(all)")
    parser.add_argument("--steps", type=positive, default=300, help="(%(default)s)")
    parser.add_argument("--batch", type=positive, default=16, help="(%(default)s)")
    parser.add_argument("--rate", type=positive_number, default=3e-3, help="(%(default)s)")
    parser.add_argument("--iterations", type=positive, default=10, help="(%(default)s)")
    parser.add_argument("--side", type=int, choices=range(8, 33), default=32, metavar="8..32")
    add_common(parser, NAME)


def run(options: argparse.Namespace) -> str:
    images = data.training_images(options.data)
    problem = colour.Problem(images, options.ratio, options.batch, options.side)
    settings = training.Settings(options.steps, options.rate, options.seed)
    curves, seconds = {}, {}
    for framework in options.framework:
        started = time.perf_counter()
        curves[framework] = losses(framework, problem, settings, options.iterations)
        seconds[framework] = round(time.perf_counter() - started, 1)
    path = options.out / f"{options.name}.json"
    told = {key: getattr(options, key) for key in ("batch", "side", "iterations")}
    results.write(
        path,
        {
            "experiment": NAME,
            "ratio": options.ratio,
            "settings": {**asdict(settings), **told},
            "data": {"training": f"{images.source}, {len(images.pixels)} images"},
            "loss": curves,
            "difference": difference(curves) if options.steps >= EVERY else None,
            "seconds": seconds,
        },
    )
    last = ", ".join(f"{name} {curve[-1]:.5f}" for name, curve in curves.items())
    return f"{path.name}: last loss {last}"


def table(found: Found) -> dict[str, str]:
    if NAME not in found[NAME]:
        return {}
    r = found[NAME][NAME]
    s = r["settings"]
    last = (f"{name} {np.mean(curve[-EVERY:]):.5f}" for name, curve in r["loss"].items())
    return {
        "ports_steps": f"{s['steps']} steps of batch {s['batch']} on {r['data']['training']}",
        "ports_problem": f"{r['ratio']:.0%} known, {s['iterations']} iterations, images of "
        f"{s['side']} by {s['side']} pixels, Adam {s['rate']:g}",
        "ports_loss": ", ".join(last),
        "ports_difference": f"{r['difference'] or 0:.1%}",
    }


def figure(found: Found) -> dict[str, Figure]:
    if NAME not in found[NAME]:
        return {}
    return {"ports": figures.loss_figure(found[NAME][NAME]["loss"], 1, "", 10)}

"""What the low-rank step costs of a training step, native and with `svt`, in three frameworks.

The colour network's loss and gradient, at its first weights, on one batch. Its low-rank step is the
composition of the framework's own SVD, or `svt`, or none (a multiplication): the share of a step is
what it takes more than with none.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from svdinv_conformance.arguments import positive

from . import colour, data, figures, ports, results, tables, training
from .arguments import add_common, add_images, add_network
from .networks import ColourNetwork
from .results import Found

NAME = "speed"
HELP = "time of a training step, native and with svt, in PyTorch, JAX and Keras"
QUICK = ["--framework torch --batch 1 --side 8 --iterations 1 --repeats 1"]

METHODS = ("native", "svt", "none")


def _torch(network: ColourNetwork, method: str) -> Callable[..., Any]:
    other = ColourNetwork(method, len(network.layers), network.width)
    other.load_state_dict(network.state_dict())

    def step(y: Any, mask: Any, target: Any) -> Any:
        other.zero_grad()
        loss = training.squared_error(
            other(torch.from_numpy(y), torch.from_numpy(mask)), torch.from_numpy(target)
        )
        loss.backward()
        return loss.detach(), [p.grad for p in other.parameters()]

    return step


def _jax(network: ColourNetwork, method: str) -> Callable[..., Any]:
    import jax

    from . import jax_network

    with jax.enable_x64(False):  # single precision, whatever the program around it uses
        step = jax_network.step(ports.initial_weights(network), method)

    def single(*batch: Any) -> Any:
        with jax.enable_x64(False):
            return step(*batch)

    return single


def _keras(network: ColourNetwork, method: str) -> Callable[..., Any]:
    from . import keras_network

    return keras_network.step(ports.initial_weights(network), method)


FRAMEWORKS: dict[str, Callable[[ColourNetwork, str], Callable[..., Any]]] = {
    "torch": _torch,
    "jax": _jax,
    "keras": _keras,
}


def seconds(
    framework: str, problem: colour.Problem, network: ColourNetwork, repeats: int
) -> dict[str, float]:
    """Median time of a step by low-rank step; the three take turns, the first turn is left out."""
    (y, mask), target = problem(np.random.default_rng(training.SEED))
    batch = y.numpy(), mask.numpy(), target.numpy()
    steps = {method: FRAMEWORKS[framework](network, method) for method in METHODS}
    times: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in range(repeats + 1):
        for method, step in steps.items():
            started = time.perf_counter()
            step(*batch)
            times[method].append(time.perf_counter() - started)
    return {method: float(np.median(found[1:])) for method, found in times.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_network(parser)
    names = list(FRAMEWORKS)
    parser.add_argument("--framework", nargs="+", choices=names, default=names, help="(all)")
    parser.add_argument("--batch", type=positive, nargs="+", default=[8, 128], help="(%(default)s)")
    parser.add_argument("--side", type=int, choices=range(8, 33), default=32, metavar="8..32")
    parser.add_argument("--repeats", type=positive, default=9, help="(%(default)s)")
    add_common(parser, NAME)


def run(options: argparse.Namespace) -> str:
    images = data.training_images(options.data)
    torch.manual_seed(options.seed)
    network = ColourNetwork("svt", options.iterations, options.width)
    rows = []
    for batch in options.batch:
        problem = colour.Problem(images, options.ratio, batch, options.side)
        for framework in options.framework:
            found = seconds(framework, problem, network, options.repeats)
            rows.append({"framework": framework, "batch": batch, "seconds": found})
    path = options.out / f"{options.name}.json"
    told = {key: getattr(options, key) for key in ("iterations", "side", "repeats", "threads")}
    results.write(path, {"experiment": NAME, "settings": told, "rows": rows})
    gains = (f"{r['framework']} {r['batch']}: {_gain(r):.2f}" for r in rows)
    return f"{path.name}: native over svt, {', '.join(gains)}"


def _gain(row: Mapping[str, Any]) -> float:
    return float(row["seconds"]["native"] / row["seconds"]["svt"])


def table(found: Found) -> dict[str, str]:
    if NAME not in found[NAME]:
        return {}
    r = found[NAME][NAME]
    rows = []
    for row in r["rows"]:
        s = row["seconds"]
        times = [f"{1e3 * s[method]:.0f}" for method in METHODS]
        shares = [f"{max(0, 1 - s['none'] / s[m]):.0%}" for m in METHODS[:2]]
        rows.append([row["framework"], str(row["batch"]), *times, *shares, f"{_gain(row):.2f}"])
    head = ["framework", "batch", "native, ms", "`svt`, ms", "no low-rank step, ms"]
    head += ["share of native", "share of `svt`", "native over `svt`"]
    s = r["settings"]
    return {
        "speed": tables.table(head, rows),
        "speed_settings": f"{s['iterations']} iterations, {s['side']} by {s['side']} pixels, "
        f"{s['threads']} thread{'s' * (s['threads'] != 1)}, medians of {s['repeats']} steps",
    }


def figure(found: Found) -> dict[str, Figure]:
    if NAME not in found[NAME]:
        return {}
    rows = found[NAME][NAME]["rows"]
    names = [f"{row['framework']}, {row['batch']}" for row in rows]
    curves = {m: [1e3 * row["seconds"][m] for row in rows] for m in METHODS}
    return {"speed": figures.dots(names, curves, "ms a step", "framework, batch", log=True)}

"""What each command does: takes the options, writes files, returns a line about them."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import (
    compressive,
    data,
    dynamic,
    figures,
    masks,
    metrics,
    ports,
    report,
    results,
    stress,
    table1,
    training,
)
from .networks import ColourNetwork, DynamicNetwork, Unrolled

__all__ = [
    "IMAGES",
    "RefusedError",
    "run_colour",
    "run_colour_classical",
    "run_colour_picture",
    "run_dynamic",
    "run_dynamic_classical",
    "run_dynamic_picture",
    "run_gradients",
    "run_mask_picture",
    "run_ports",
    "run_report",
    "run_stress",
    "run_table1",
]

IMAGES = Path(__file__).resolve().parents[1] / "images"


class RefusedError(Exception):
    """Bad input, in one line."""


def _name(source: str) -> str:
    """A set's name, or that of its folder: where it lies on somebody's disk is of no interest."""
    return Path(source).resolve().name


def _load(network: torch.nn.Module, checkpoint: Path, option: str) -> None:
    """Give a network the weights of a checkpoint."""
    if not checkpoint.exists():
        raise RefusedError(f"{option}: no file {checkpoint}")
    try:
        network.load_state_dict(training.read_checkpoint(checkpoint)["network"])
    except (RuntimeError, TypeError, ValueError) as error:
        raise RefusedError(
            f"{option}: {checkpoint} holds no weights of this network; see --iterations and --width"
        ) from error


def _trained(
    options: argparse.Namespace, network: Unrolled, batch: training.Batch, label: str
) -> tuple[training.Settings, training.History]:
    if options.smooth:
        network.begin_smooth()
    if options.start is not None:
        _load(network, options.start, "--start")
    if options.resume and options.checkpoint is None:
        raise RefusedError("--resume needs --checkpoint")
    if options.as_it_is and not (options.resume and options.checkpoint.exists()):
        raise RefusedError("--as-it-is needs --resume and a checkpoint")
    settings = training.Settings(
        options.steps,
        options.rate,
        options.seed,
        options.stop_at_nonfinite,
        options.epoch,
        options.largest,
    )
    history = training.train(
        network,
        batch,
        settings,
        checkpoint=options.checkpoint,
        resume=options.resume,
        as_it_is=options.as_it_is,
        progress=not options.quiet,
        label=f"{label} {options.method}, {options.iterations} by {options.width}",
    )
    return settings, history


def _network_settings(options: argparse.Namespace, settings: training.Settings) -> dict[str, Any]:
    return {
        **asdict(settings),
        "method": options.method,
        "batch": options.batch,
        "iterations": options.iterations,
        "width": options.width,
        "smooth": options.smooth,
        "started_from": options.start.stem if options.start else None,
    }


def run_colour(options: argparse.Namespace) -> str:
    images = data.training_images(options.data, options.images)
    pictures = {} if options.no_test else data.whole_images(options.test)
    photographs = data.photographs() if options.photographs else []
    problem = compressive.Problem(
        images,
        options.ratio,
        options.batch,
        options.side,
        photographs,
        options.photographs,
        options.crop,
    )
    torch.manual_seed(options.seed)
    network = ColourNetwork(options.method, options.iterations, options.width)
    settings, history = _trained(options, network, problem, f"colour {options.ratio:g}")
    tested = {}
    if pictures and (options.as_it_is or len(history.loss) == options.steps):
        tested = compressive.evaluate(network, pictures, options.ratio)
    path = options.out / f"{options.name or f'colour-{options.method}-{options.ratio:g}'}.json"
    results.write(
        path,
        {
            "experiment": "colour",
            "ratio": options.ratio,
            "settings": {
                **_network_settings(options, settings),
                "side": options.side,
                "photographs": options.photographs,
                "crop": options.crop,
            },
            "data": {
                "training": f"{images.source}, {len(images.pixels)} images",
                "test": f"{_name(options.test)}, {len(pictures)} images",
            },
            "training": history.summary(),
            "test": tested,
            "mean": results.mean_of(tested) if tested else None,
        },
    )
    found = f", PSNR {results.mean_of(tested)['psnr']:.2f} dB" if tested else ""
    bad = f"{len(history.nonfinite)} gradients not finite" + (
        f" (the first at step {history.nonfinite[0]})" if history.nonfinite else ""
    )
    return f"{path.name}: {len(history.loss)} steps, {bad}{found}"


def run_gradients(options: argparse.Namespace) -> str:
    network = ColourNetwork(iterations=options.iterations, width=options.width)
    if options.checkpoint is not None:
        _load(network, options.checkpoint, "--checkpoint")
    images = data.training_images(options.data)
    problem = compressive.Problem(images, options.ratio, options.batch)
    errors = compressive.gradient_errors(
        network, options.method, problem, options.batches, options.seed
    )
    path = options.out / f"{options.name}.json"
    results.write(
        path,
        {
            "experiment": "gradients",
            "ratio": options.ratio,
            "settings": {
                "batches": options.batches,
                "batch": options.batch,
                "iterations": options.iterations,
                "weights_of": options.checkpoint.stem if options.checkpoint else None,
            },
            "data": {"training": f"{images.source}, {len(images.pixels)} images"},
            "errors": errors,
        },
    )
    found = ", ".join(f"{name} {np.max(error):.1e}" for name, error in errors.items())
    return f"{path.name}: largest errors {found}"


def run_colour_classical(options: argparse.Namespace) -> str:
    pictures = data.whole_images(options.test)
    choice = data.photograph_middles()
    lines = []
    for ratio in options.ratio:
        weight = compressive.choose_weight(choice, ratio, options.weights, options.steps)
        tested = {"sampled": compressive.evaluate(None, pictures, ratio)}
        for solver in options.solver:
            tested[solver] = compressive.evaluate_solver(
                solver, pictures, ratio, weight, options.steps
            )
        path = options.out / f"{options.name}-{ratio:g}.json"
        means = {solver: results.mean_of(rows) for solver, rows in tested.items()}
        results.write(
            path,
            {
                "experiment": "colour-classical",
                "ratio": ratio,
                "settings": {"steps": options.steps, "weight": weight, "weights": options.weights},
                "data": {
                    "chosen on": f"{len(choice)} photographs of scikit-image",
                    "test": f"{_name(options.test)}, {len(pictures)} images",
                },
                "test": tested,
                "mean": means,
            },
        )
        found = ", ".join(f"{solver} {mean['psnr']:.2f} dB" for solver, mean in means.items())
        lines.append(f"{path.name}: lambda {weight:g}, {found}")
    return "\n".join(lines)


def _series(options: argparse.Namespace) -> data.Series:
    shape = (options.frames, options.size, options.size)
    return data.dynamic_series(options.data, shape, slices=options.slices)


def _described(series: data.Series, train: list[str], test: list[str]) -> dict[str, Any]:
    count = {name: len(x) for name, x in series.subjects.items()}
    return {
        "source": series.source,
        "training": f"{sum(count[n] for n in train)} series of {', '.join(train)}",
        "test": f"{sum(count[n] for n in test)} series of {', '.join(test)}",
        "shape": list(next(iter(series.subjects.values())).shape[1:]),
    }


def _by_name(series: data.Series, names: list[str]) -> dict[str, Any]:
    return {f"{n} slice {i + 1}": x for n in names for i, x in enumerate(series.subjects[n])}


def run_dynamic(options: argparse.Namespace) -> str:
    series = _series(options)
    if options.side > options.size or options.cut_frames > options.frames:
        raise RefusedError("--side and --cut-frames: want no more than --size and --frames")
    train, test = dynamic.split(series)
    problem = dynamic.Problem(
        [series.subjects[n] for n in train],
        options.mask,
        options.cut_frames,
        options.side,
        options.batch,
    )
    problem.check()
    torch.manual_seed(options.seed)
    network = DynamicNetwork(
        options.method, options.iterations, options.width, options.smooth
    )
    settings, history = _trained(options, network, problem, f"dynamic {options.mask}")
    tested = {}
    if not options.no_test and (options.as_it_is or len(history.loss) == options.steps):
        tested = dynamic.evaluate(network, _by_name(series, test), options.mask)
    path = options.out / f"{options.name or f'dynamic-{options.method}-{options.mask}'}.json"
    results.write(
        path,
        {
            "experiment": "dynamic",
            "mask": options.mask,
            "settings": {
                **_network_settings(options, settings),
                "side": options.side,
                "cut_frames": options.cut_frames,
            },
            "data": _described(series, train, test),
            "training": history.summary(),
            "test": tested,
            "mean": results.mean_of(tested) if tested else None,
        },
    )
    found = f", PSNR {results.mean_of(tested)['psnr']:.2f} dB" if tested else ""
    bad = f"{len(history.nonfinite)} gradients not finite"
    return f"{path.name}: {len(history.loss)} steps, {bad}{found}"


def run_dynamic_classical(options: argparse.Namespace) -> str:
    series = _series(options)
    train, test = dynamic.split(series)
    choice = {n: series.subjects[n][0] for n in train[:1]}
    lines = []
    for mask in options.mask:
        tested, weight = dynamic.classical(
            choice, _by_name(series, test), mask, options.weights, options.steps
        )
        means = {solver: results.mean_of(rows) for solver, rows in tested.items()}
        path = options.out / f"{options.name}-{mask}.json"
        results.write(
            path,
            {
                "experiment": "dynamic-classical",
                "mask": mask,
                "settings": {"steps": options.steps, "weight": weight, "weights": options.weights},
                "data": {**_described(series, train, test), "chosen on": train[0]},
                "test": tested,
                "mean": means,
                "phase_error": dynamic.phase_error(series.subjects[test[0]][0], 0.12),
            },
        )
        found = ", ".join(f"{solver} {mean['psnr']:.2f} dB" for solver, mean in means.items())
        lines.append(f"{path.name}: lambda {weight:g}, {found}")
    return "\n".join(lines)


def run_stress(options: argparse.Namespace) -> str:
    lines = []
    for method in options.method:
        torch.manual_seed(options.seed)
        network = stress.StressNetwork(method)
        settings = training.Settings(options.steps, seed=options.seed)
        history = training.train(
            network, stress.batch, settings, progress=not options.quiet, label=method
        )
        path = options.out / f"{options.name}-{method}.json"
        results.write(
            path,
            {
                "experiment": "stress",
                "settings": {**asdict(settings), "method": method},
                "data": {"training": ", ".join(stress.KINDS)},
                "training": history.summary(max(10, options.steps // 100)),
            },
        )
        lines.append(
            f"{path.name}: {len(history.loss)} steps, {len(history.nonfinite)} gradients not finite"
        )
    return "\n".join(lines)


def run_ports(options: argparse.Namespace) -> str:
    images = data.training_images(options.data)
    problem = compressive.Problem(images, options.ratio, options.batch, options.side)
    settings = training.Settings(options.steps, options.rate, options.seed)
    curves, seconds = {}, {}
    for framework in options.framework:
        started = time.perf_counter()
        curves[framework] = ports.losses(framework, problem, settings, options.iterations)
        seconds[framework] = round(time.perf_counter() - started, 1)
    path = options.out / f"{options.name}.json"
    found = ports.difference(curves) if options.steps >= ports.EVERY else None
    results.write(
        path,
        {
            "experiment": "ports",
            "ratio": options.ratio,
            "settings": {
                **asdict(settings),
                "batch": options.batch,
                "side": options.side,
                "iterations": options.iterations,
            },
            "data": {"training": f"{images.source}, {len(images.pixels)} images"},
            "loss": curves,
            "difference": found,
            "seconds": seconds,
        },
    )
    last = ", ".join(f"{name} {curve[-1]:.5f}" for name, curve in curves.items())
    return f"{path.name}: last loss {last}"


def run_colour_picture(options: argparse.Namespace) -> str:
    network = ColourNetwork(options.method, options.iterations, options.width)
    _load(network, options.checkpoint, "--checkpoint")
    pictures = data.whole_images(options.test)
    unknown = set(options.images or ()) - set(pictures)
    if unknown:
        raise RefusedError(f"no picture {unknown.pop()!r}; there are {', '.join(pictures)}")
    rows = []
    for name in options.images or list(pictures)[:3]:
        image = pictures[name]
        y, mask = compressive.sample(name, image, options.ratio)
        out = compressive.reconstruct(network, y, mask)
        sampled, found = (f"{metrics.psnr(x, image):.1f} dB" for x in (y, out))
        rows.append([(name, image), (f"sampled, {sampled}", y), (f"reconstructed, {found}", out)])
    figures.save(figures.colour_picture(rows), options.picture, colours=256)
    return str(options.picture)


def run_dynamic_picture(options: argparse.Namespace) -> str:
    network = DynamicNetwork(
        options.method, options.iterations, options.width, options.smooth
    )
    _load(network, options.checkpoint, "--checkpoint")
    series = _series(options)
    _, test = dynamic.split(series)
    x = series.subjects[test[0]][len(series.subjects[test[0]]) // 2]
    y, mask = dynamic.sample(x, options.mask, 0)
    found = {
        "zero-filled": dynamic.reconstruct(None, y, mask),
        "ADMM": dynamic.solve("admm", y, mask, options.weight, 50),
        "network": dynamic.reconstruct(network, y, mask),
    }
    titled = {f"{n}, {metrics.measure(z, x)['psnr']:.1f} dB": z for n, z in found.items()}
    figure = figures.dynamic_picture(x, titled, len(x) // 3, x.shape[2] // 2)
    figures.save(figure, options.picture, colours=256)
    return str(options.picture)


def run_mask_picture(options: argparse.Namespace) -> str:
    shape = (options.frames, options.size, options.size)
    rng = np.random.default_rng(options.seed)
    drawn = {name: masks.mri_mask(name, rng, shape) for name in options.mask}
    figures.save(figures.mask_figure(drawn), options.picture)
    return str(options.picture)


def run_report(options: argparse.Namespace) -> str:
    if not any(options.out.glob("*.json")):
        raise RefusedError(f"no result files in {options.out}")
    written = report.draw(options.out, options.images)
    options.page.write_text(report.page(options.out), encoding="utf-8")
    return "\n".join(map(str, [*written, options.page]))


def run_table1(options: argparse.Namespace) -> str:
    content = {
        "experiment": "table1",
        **table1.run(options.matrices, options.seed),
        "curves": table1.gap_curves(max(2, options.matrices // 5), options.seed),
    }
    path = options.out / f"{options.name}.json"
    results.write(path, content)
    return f"{path.name}: {options.matrices} matrices a case"

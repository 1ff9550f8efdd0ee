"""The command line: one command an experiment, each of which writes a result file."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
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
    solvers,
    stress,
    table1,
    training,
)
from .lowrank import InvWithoutPhase, low_rank_names
from .networks import ColourNetwork, DynamicNetwork

__all__ = ["main"]

SEED = 3407
"""The paper's."""
IMAGES = Path(__file__).resolve().parents[1] / "images"
CHOICE = 16
"""Training images on which a parameter of the solvers is chosen."""


class RefusedError(Exception):
    """Bad input, in one line."""


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"want more than 0, got {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"want a number between 0 and 1, got {text}")
    return value


def _common(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--seed", type=int, default=SEED, help="of all that is drawn (%(default)s)")
    parser.add_argument("--name", default=name, help="of the result file (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=results.FOLDER, help="folder of the result files"
    )


def _picture(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--picture", type=Path, default=IMAGES / name, help="PNG file to write")


def _network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method",
        choices=[*low_rank_names(), "fit", InvWithoutPhase.name],
        default="svt",
        metavar="STEP",
        help=f"low-rank step: {', '.join(low_rank_names())} (%(default)s)",
    )
    parser.add_argument(
        "--iterations", type=_positive(int), default=10, help="of ADMM, unrolled (%(default)s)"
    )
    parser.add_argument("--width", type=_positive(int), default=16, help="channels (%(default)s)")


def _training(parser: argparse.ArgumentParser, steps: int, batch: int) -> None:
    _network(parser)
    parser.add_argument("--steps", type=_positive(int), default=steps, help="(%(default)s)")
    parser.add_argument("--batch", type=_positive(int), default=batch, help="(%(default)s)")
    parser.add_argument("--rate", type=_positive(float), default=1e-3, help="of Adam (%(default)s)")
    parser.add_argument("--start", type=Path, help="checkpoint whose weights to begin with")
    parser.add_argument("--checkpoint", type=Path, help="file to write every minute")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument(
        "--stop-at-nonfinite", action="store_true", help="rather than leave that step out"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _weights(parser: argparse.ArgumentParser, weights: list[float]) -> None:
    parser.add_argument(
        "--weights",
        type=_positive(float),
        nargs="+",
        default=weights,
        help="lambda: the best of these on training data is taken (%(default)s)",
    )


def _dynamic_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="phantom",
        help=f"{', '.join(data.DYNAMIC_SETS)}, or a folder of .npz or .h5 files (%(default)s)",
    )
    parser.add_argument("--frames", type=_positive(int), default=16, help="(%(default)s)")
    parser.add_argument("--size", type=_positive(int), default=128, help="pixels (%(default)s)")
    parser.add_argument(
        "--slices", type=_positive(int), default=4, help="of a subject, at most (%(default)s)"
    )


def _trained(
    options: argparse.Namespace, network: torch.nn.Module, batch: training.Batch, label: str
) -> tuple[training.Settings, training.History]:
    if options.start is not None:
        if not options.start.exists():
            raise RefusedError(f"--start: no file {options.start}")
        network.load_state_dict(torch.load(options.start, weights_only=True)["network"])
    if options.resume and options.checkpoint is None:
        raise RefusedError("--resume needs --checkpoint")
    settings = training.Settings(
        options.steps, options.rate, options.seed, options.stop_at_nonfinite
    )
    history = training.train(
        network,
        batch,
        settings,
        checkpoint=options.checkpoint,
        resume=options.resume,
        progress=not options.quiet,
        label=label,
    )
    return settings, history


def _network_settings(options: argparse.Namespace, settings: training.Settings) -> dict[str, Any]:
    return {
        **asdict(settings),
        "method": options.method,
        "batch": options.batch,
        "iterations": options.iterations,
        "width": options.width,
        "started_from": options.start.stem if options.start else None,
    }


def _colour(options: argparse.Namespace) -> str:
    images = data.training_images(options.data, options.images)
    pictures = {} if options.no_test else data.whole_images(options.test)
    problem = compressive.Problem(images, options.ratio, options.batch, options.side)
    torch.manual_seed(options.seed)
    network = ColourNetwork(options.method, options.iterations, options.width)
    settings, history = _trained(options, network, problem, f"{options.method} {options.ratio:.0%}")
    tested = {}
    if pictures and len(history.loss) == options.steps:
        tested = compressive.evaluate(network, pictures, options.ratio)
    path = options.out / f"{options.name or f'colour-{options.method}-{options.ratio:g}'}.json"
    results.write(
        path,
        {
            "experiment": "colour",
            "ratio": options.ratio,
            "settings": {**_network_settings(options, settings), "side": options.side},
            "data": {
                "training": f"{images.source}, {len(images.pixels)} images",
                "test": f"{options.test}, {len(pictures)} images",
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


def _colour_classical(options: argparse.Namespace) -> str:
    pictures = data.whole_images(options.test)
    images = data.training_images(options.data, CHOICE).pixels[:CHOICE].astype("float32") / 255
    lines = []
    for ratio in options.ratio:
        weight = compressive.choose_weight(images, ratio, options.weights, options.steps)
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
                    "chosen on": options.data,
                    "test": f"{options.test}, {len(pictures)} images",
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


def _dynamic(options: argparse.Namespace) -> str:
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
    network = DynamicNetwork(options.method, options.iterations, options.width)
    settings, history = _trained(options, network, problem, f"{options.method} {options.mask}")
    tested = {}
    if not options.no_test and len(history.loss) == options.steps:
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


def _dynamic_classical(options: argparse.Namespace) -> str:
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


def _stress(options: argparse.Namespace) -> str:
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


def _ports(options: argparse.Namespace) -> str:
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


def _loaded(network: torch.nn.Module, checkpoint: Path) -> None:
    if not checkpoint.exists():
        raise RefusedError(f"no file {checkpoint}")
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["network"])


def _colour_picture(options: argparse.Namespace) -> str:
    network = ColourNetwork(options.method, options.iterations, options.width)
    _loaded(network, options.checkpoint)
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


def _dynamic_picture(options: argparse.Namespace) -> str:
    network = DynamicNetwork(options.method, options.iterations, options.width)
    _loaded(network, options.checkpoint)
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


def _mask_picture(options: argparse.Namespace) -> str:
    shape = (options.frames, options.size, options.size)
    rng = np.random.default_rng(options.seed)
    drawn = {name: masks.mri_mask(name, rng, shape) for name in options.mask}
    figures.save(figures.mask_figure(drawn), options.picture)
    return str(options.picture)


def _report(options: argparse.Namespace) -> str:
    if not any(options.out.glob("*.json")):
        raise RefusedError(f"no result files in {options.out}")
    written = report.draw(options.out, options.images)
    options.page.write_text(report.page(options.out))
    return "\n".join(map(str, [*written, options.page]))


def _table1(options: argparse.Namespace) -> str:
    content = {
        "experiment": "table1",
        **table1.run(options.matrices, options.seed),
        "curves": table1.gap_curves(max(2, options.matrices // 5), options.seed),
    }
    path = options.out / f"{options.name}.json"
    results.write(path, content)
    return f"{path.name}: {options.matrices} matrices a case"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="experiments",
        description="The paper's experiments with svdinv. Without --data and --test every "
        "command runs on what pip brings; named sets are found under $SVDINV_DATA.",
    )
    parser.add_argument(
        "--threads", type=_positive(int), default=1, help="of PyTorch (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("table1", help="gradients of all rules at a gap of 1e-15")
    command.add_argument("--matrices", type=_positive(int), default=1000, help="(%(default)s)")
    _common(command, "table1")
    command.set_defaults(run=_table1, seed=0)

    command = commands.add_parser("colour", help="train the colour network, and test it")
    command.add_argument(
        "--data",
        default="photographs",
        help=f"to train on: {', '.join(data.TRAINING_SETS)}, or a folder (%(default)s)",
    )
    command.add_argument("--images", type=_positive(int), help="at most so many to train on")
    command.add_argument(
        "--test",
        default="photographs",
        help=f"pictures to test on: {', '.join(data.TEST_SETS)}, or a folder (%(default)s)",
    )
    command.add_argument("--no-test", action="store_true", help="train only")
    command.add_argument("--ratio", type=_share, default=0.4, help="of pixels known (%(default)s)")
    command.add_argument(
        "--side", type=int, choices=range(8, 33), default=32, metavar="8..32", help="of the crops"
    )
    _training(command, 2000, 128)
    _common(command, "")
    command.set_defaults(run=_colour)

    command = commands.add_parser(
        "colour-classical", help="the untrained solvers on the same pictures"
    )
    command.add_argument("--data", default="photographs", help="to choose lambda on (%(default)s)")
    command.add_argument("--test", default="photographs", help="as for colour (%(default)s)")
    command.add_argument(
        "--ratio", type=_share, nargs="+", default=list(compressive.RATIOS), help="(the paper's)"
    )
    command.add_argument(
        "--solver", nargs="+", choices=solvers.NAMES, default=list(solvers.NAMES), help="(both)"
    )
    command.add_argument("--steps", type=_positive(int), default=100, help="(%(default)s)")
    _weights(command, [0.01, 0.03, 0.1, 0.3])
    _common(command, "colour-classical")
    command.set_defaults(run=_colour_classical)

    command = commands.add_parser("dynamic", help="train the network for dynamic MRI, and test it")
    _dynamic_data(command)
    command.add_argument(
        "--mask",
        default="radial-16",
        metavar="MASK",
        help=f"{', '.join(masks.MRI_MASKS)} (%(default)s)",
    )
    command.add_argument("--no-test", action="store_true", help="train only")
    command.add_argument(
        "--side", type=_positive(int), default=128, help="of the cuts to train on (%(default)s)"
    )
    command.add_argument(
        "--cut-frames", type=_positive(int), default=16, help="frames of the cuts (%(default)s)"
    )
    _training(command, 1000, 1)
    _common(command, "")
    command.set_defaults(run=_dynamic)

    command = commands.add_parser(
        "dynamic-classical", help="the untrained solvers on the same series"
    )
    _dynamic_data(command)
    command.add_argument(
        "--mask", nargs="+", default=list(masks.MRI_MASKS), metavar="MASK", help="(the paper's)"
    )
    command.add_argument("--steps", type=_positive(int), default=50, help="(%(default)s)")
    _weights(command, [0.1, 0.3, 1.0, 3.0])
    _common(command, "dynamic-classical")
    command.set_defaults(run=_dynamic_classical)

    command = commands.add_parser("stress", help="a small network that meets ties in every batch")
    command.add_argument(
        "--method",
        nargs="+",
        choices=low_rank_names(),
        default=list(low_rank_names()),
        metavar="STEP",
        help="low-rank steps (all)",
    )
    command.add_argument("--steps", type=_positive(int), default=20000, help="(%(default)s)")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    _common(command, "stress")
    command.set_defaults(run=_stress)

    command = commands.add_parser("ports", help="the colour network in PyTorch, JAX and Keras")
    command.add_argument("--data", default="photographs", help="as for colour (%(default)s)")
    command.add_argument("--ratio", type=_share, default=0.4, help="of pixels known (%(default)s)")
    command.add_argument(
        "--framework",
        nargs="+",
        choices=list(ports.FRAMEWORKS),
        default=list(ports.FRAMEWORKS),
        help="(all)",
    )
    command.add_argument("--steps", type=_positive(int), default=300, help="(%(default)s)")
    command.add_argument("--batch", type=_positive(int), default=16, help="(%(default)s)")
    command.add_argument("--rate", type=_positive(float), default=3e-3, help="(%(default)s)")
    command.add_argument("--iterations", type=_positive(int), default=10, help="(%(default)s)")
    command.add_argument("--side", type=int, choices=range(8, 33), default=32, metavar="8..32")
    _common(command, "ports")
    command.set_defaults(run=_ports)

    command = commands.add_parser("colour-picture", help="original, sampled, reconstructed")
    _network(command)
    command.add_argument("--checkpoint", type=Path, required=True, help="of a trained network")
    command.add_argument("--test", default="photographs", help="as for colour (%(default)s)")
    command.add_argument("--images", nargs="+", help="names (the first three)")
    command.add_argument("--ratio", type=_share, default=0.4, help="of pixels known (%(default)s)")
    _picture(command, "experiments_colour.png")
    command.set_defaults(run=_colour_picture)

    command = commands.add_parser("dynamic-picture", help="a frame, its error, its x-t profile")
    _network(command)
    _dynamic_data(command)
    command.add_argument("--checkpoint", type=Path, required=True, help="of a trained network")
    command.add_argument("--mask", default="radial-16", help="(%(default)s)")
    command.add_argument(
        "--weight", type=_positive(float), default=0.3, help="lambda (%(default)s)"
    )
    _picture(command, "experiments_dynamic.png")
    command.set_defaults(run=_dynamic_picture)

    command = commands.add_parser("mask-picture", help="the masks of dynamic MRI")
    command.add_argument("--mask", nargs="+", default=list(masks.MRI_MASKS), help="(the paper's)")
    command.add_argument("--frames", type=_positive(int), default=16, help="(%(default)s)")
    command.add_argument("--size", type=_positive(int), default=128, help="pixels (%(default)s)")
    command.add_argument("--seed", type=int, default=SEED, help="(%(default)s)")
    _picture(command, "experiments_masks.png")
    command.set_defaults(run=_mask_picture)

    command = commands.add_parser("report", help="the result page from the result files")
    command.add_argument(
        "--out", type=Path, default=results.FOLDER, help="folder of the result files"
    )
    command.add_argument("--page", type=Path, default=IMAGES.parent / "experiments.md")
    command.add_argument("--images", type=Path, default=IMAGES, help="folder of the figures")
    command.set_defaults(run=_report)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 2 for bad input."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    try:
        print(options.run(options))
    except (RefusedError, data.DataError, ValueError) as error:
        print(f"experiments {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0

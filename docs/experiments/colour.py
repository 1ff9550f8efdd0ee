"""Experiment 2: colour images from a part of their pixels (paper, eq. 39-40, Fig. 3, Table 2)."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from svdinv_conformance.arguments import positive
from torch import Tensor

from . import data, figures, masks, metrics, runs, tables
from .arguments import add_common, add_images, add_picture, add_training
from .data import SIDE, Images, photograph_crops
from .networks import ColourNetwork
from .results import Found, Result
from .tables import NOT_RUN, by_method, db, mean, over, recipe, short

NAME = "colour"
HELP = "train the colour network, and test it"
QUICK = [
    "--steps 12 --batch 1 --side 8 --iterations 1 --quiet --no-test --name colour-small-40-svt",
    "--steps 2 --batch 1 --side 8 --iterations 1 --quiet --test {pictures}",
    "--steps 1 --batch 1 --side 8 --iterations 1 --quiet --test {pictures} "
    "--name colour-methods-40-svt-1",
]

Array = NDArray[Any]

RATIOS = (0.04, 0.1, 0.3, 0.4, 0.5)
"""Of the pixels that are known; the paper's."""


@dataclass(frozen=True)
class Problem:
    """What is trained on.

    Attributes
    ----------
    images
        The training images.
    ratio
        Of the pixels that are known.
    batch
        Images a step.
    side
        Their size in pixels, at most 32: smaller ones are cut out at random.
    photographs
        Pictures ``(3, H, W)`` of which some steps take larger cuts.
    share, crop
        Of the steps that do, and the size of their cuts, as many as make up the batch's pixels.
    """

    images: Images
    ratio: float = 0.4
    batch: int = 128
    side: int = SIDE
    photographs: Sequence[NDArray[np.uint8]] = ()
    share: float = 0.5
    crop: int = 64

    def __call__(self, rng: np.random.Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """One mask a step, shared by the batch: ``((y, mask), x)``."""
        if self.photographs and rng.random() < self.share:
            count = max(1, round(self.batch * (self.side / self.crop) ** 2))
            images = photograph_crops(self.photographs, rng, count, self.crop)
        else:
            images = self.images.batch(rng, self.batch, self.side)
        target = torch.from_numpy(images)
        mask = torch.from_numpy(masks.pixels(rng, images.shape[1:], self.ratio).astype(np.float32))
        return (mask * target, mask), target


def sample(name: str, image: Array, ratio: float) -> tuple[Array, Array]:
    """The sampled image and its mask, ``(3, H, W)`` each; the same ones for the same name."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), round(1000 * ratio)])
    mask = masks.pixels(rng, image.shape, ratio).astype(np.float32)
    return mask * image, mask


@torch.no_grad()
def reconstruct(network: ColourNetwork, y: Array, mask: Array) -> Array:
    """The network's image ``(3, H, W)``, limited to [0, 1]."""
    out = network(torch.from_numpy(y)[None], torch.from_numpy(mask))[0]
    return np.asarray(out.clamp(0, 1).numpy())


def evaluate(
    network: ColourNetwork | None, images: Mapping[str, Array], ratio: float
) -> dict[str, dict[str, float]]:
    """PSNR, SSIM, MSE of each image; without a network, of the sampled ones themselves."""
    result = {}
    for name, image in images.items():
        y, mask = sample(name, image, ratio)
        out = y if network is None else reconstruct(network, y, mask)
        result[name] = metrics.measure(out, image)
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    parser.add_argument("--images", type=positive, help="at most so many to train on")
    parser.add_argument(
        "--photographs", type=float, default=0.0, help="share of steps with cuts of photographs"
    )
    parser.add_argument("--crop", type=positive, default=64, help="their size (%(default)s)")
    parser.add_argument(
        "--test",
        default="photographs",
        help=f"pictures to test on: {', '.join(data.TEST_SETS)}, or a folder (%(default)s)",
    )
    parser.add_argument(
        "--side", type=int, choices=range(8, 33), default=32, metavar="8..32", help="of the images"
    )
    add_picture(parser)
    add_training(parser, 2000, 128)
    add_common(parser, "")


def run(options: argparse.Namespace) -> str:
    images = data.training_images(options.data, options.images)
    pictures = {} if options.no_test else data.whole_images(options.test)
    problem = Problem(
        images,
        options.ratio,
        options.batch,
        options.side,
        data.photographs() if options.photographs else [],
        options.photographs,
        options.crop,
    )
    torch.manual_seed(options.seed)
    network = ColourNetwork(options.method, options.iterations, options.width)
    history = runs.train(options, network, problem, f"colour {options.ratio:g}")
    tested = {}
    if runs.is_over(options, history):
        tested = evaluate(network, pictures, options.ratio)
        if options.picture:
            picture(network, list(pictures.items())[:3], options.ratio, options.picture)
    return runs.write(
        options,
        f"colour-{percent(options.ratio)}-{options.method.removeprefix('svd-')}",
        history,
        tested,
        told=("side", "photographs", "crop"),
        ratio=options.ratio,
        data={
            "training": f"{images.source}, {len(images.pixels)} images",
            "test": f"{data.name_of(options.test)}, {len(pictures)} images",
        },
    )


def percent(ratio: float) -> str:
    """A ratio as file names have it: two digits."""
    return f"{100 * ratio:02.0f}"


def picture(
    network: ColourNetwork, images: Iterable[tuple[str, Array]], ratio: float, path: Path
) -> None:
    """Original, sampled and reconstructed, one image a row."""
    rows = []
    for name, image in images:
        y, mask = sample(name, image, ratio)
        out = reconstruct(network, y, mask)
        sampled, found = (f"{metrics.psnr(x, image):.1f} dB" for x in (y, out))
        rows.append([(name, image), (f"sampled, {sampled}", y), (f"reconstructed, {found}", out)])
    figures.save(figures.colour_picture(rows), path, colours=256)


# the page

PAPER = {0.04: 22.072, 0.1: 25.426, 0.3: 30.952, 0.4: 32.795, 0.5: 34.768}
"""PSNR of SVD-inv in the paper's Table 2, dB."""
PAPER_METHODS = {
    "40%": {"tf": 32.794, "clip": 32.794, "taylor": 32.707, "inv": 32.795},
    "4%": {"tf": 22.080, "clip": 22.080, "taylor": 21.877, "inv": 22.072},
}
"""PSNR in the paper's Table 2, dB, by ratio and method."""
COMPARED = "colour-methods-"
"""What the names of runs begin with that differ in the low-rank step and the seed only."""
SMALL = "colour-small-"
"""The same of runs with a small network, from the same random weights."""
UNGUARDED = ("native", "plain")


def best(found: Mapping[str, Result], ratio: float) -> Result | None:
    """The run with `svt` that the page is about: that of the shortest name."""
    return found.get(f"colour-{percent(ratio)}-svt")


def _recipe(result: Result, found: Mapping[str, Result]) -> str:
    return recipe(result, found, lambda r: f"`{short(r)}` at {r['ratio']:.0%}")


def table(found: Found) -> dict[str, str]:
    runs, solvers = found["colour"], found["colour-solver"]
    fields = {
        "colour_ratios": _by_ratio(runs, solvers),
        "colour_methods": tables.side_by_side(_compared(runs), PAPER_METHODS),
        "colour_starts": _starts(runs),
        "colour_images": _by_image(runs),
        "colour_gradients": _gradients(runs),
        "colour_summary": _summary(runs),
        **_finite(runs),
    }
    recipes = []
    for label, by_step in _compared(runs).items():
        same = next(iter(by_step.values()), None)
        if same:
            seeds = ", ".join(str(r["settings"]["seed"]) for r in same)
            several = "seeds" if same[1:] else "seed"
            recipes.append(f"at {label} {_recipe(same[0], runs)}, {several} {seeds}")
    if recipes:
        fields["colour_methods_recipe"] = "; ".join(recipes)
    tested = {f"{r['data']['training']}, tested on {r['data']['test']}": 0 for r in _tested(runs)}
    if tested:
        fields["colour_data"] = "; ".join(tested)
    return fields


def _compared(runs: Mapping[str, Result]) -> tables.Compared:
    return {
        f"{ratio:.0%}": tables.compared(
            {n: r for n, r in runs.items() if n.startswith(COMPARED) and r["ratio"] == ratio}
        )
        for ratio in (0.4, 0.04)
    }


def _tested(runs: Mapping[str, Result]) -> list[Result]:
    return [r for r in runs.values() if r.get("mean")]


def _by_ratio(runs: Mapping[str, Result], solvers: Mapping[str, Result]) -> str:
    """The longest runs by the share of known pixels, beside the untrained solver."""
    solved = {r["ratio"]: r for r in solvers.values()}
    rows = []
    for ratio in RATIOS:
        ours = best(runs, ratio)
        psnr, ssim, mse = (mean(ours, key) for key in ("psnr", "ssim", "mse"))
        rows.append(
            [
                f"{ratio:.0%}",
                *(db(mean(solved.get(ratio), s, "psnr")) for s in ("sampled", "admm")),
                db(psnr),
                f"{PAPER[ratio]:.2f}",
                over(psnr, PAPER[ratio]),
                "" if ours is None else f"{ssim:.3f}",
                "" if ours is None else f"{1e3 * mse:.2f}",
                "" if ours is None else _recipe(ours, runs),
            ]
        )
    head = ["known", "sampled", "ADMM", "`svt` network", "the paper's SVD-inv", "against the paper"]
    return tables.table([*head, "SSIM", "MSE, 1e-3", "steps"], rows)


def _starts(runs: Mapping[str, Result]) -> str:
    """Every run with `svt` at 40 %: what its start and its steps were worth."""
    chosen = [r for n, r in runs.items() if n.startswith("colour-40-svt") and r.get("mean")]
    rows = [
        [_recipe(r, runs), db(psnr := mean(r, "psnr")), over(psnr, PAPER[r["ratio"]])]
        for r in sorted(chosen, key=lambda r: mean(r, "psnr"))
    ]
    return tables.table(["steps", "PSNR", "against the paper"], rows)


def _by_image(runs: Mapping[str, Result]) -> str:
    """PSNR of every image at every ratio."""
    columns = [r for r in (best(runs, ratio) for ratio in RATIOS) if r is not None]
    if not columns:
        return NOT_RUN
    rows = [
        [image, *(f"{r['test'][image]['psnr']:.2f}" for r in columns)]
        for image in columns[0]["test"]
    ]
    return tables.table(["image", *(f"{r['ratio']:.0%}" for r in columns)], rows)


def _gradients(runs: Mapping[str, Result]) -> str:
    """What every training from random weights did to its gradient."""
    head = ["low-rank step", "network", "batch", "steps", "gradients not finite"]
    head += ["the first at step", "largest gradient", "smallest relative gap", "last loss"]
    rows = []
    for r in by_method(r for r in runs.values() if not r["settings"].get("started_from")):
        s, t = r["settings"], r["training"]
        loss = [x for x in t["loss"] if x is not None]
        gap = t["smallest_relative_gap"]
        rows.append(
            [
                f"`{short(r)}`",
                f"{s['iterations']} iterations, {s.get('side', 32)} pixels, {r['ratio']:.0%}",
                str(s["batch"]),
                str(t["steps_done"]),
                str(t["nonfinite_gradients"]),
                str(t["first_nonfinite_step"] or ""),
                f"{t['largest_gradient']:.2g}",
                "" if gap is None else f"{gap:.1e}",
                f"{np.mean(loss[-10:]):.5f}" if t["steps_done"] == s["steps"] else "stopped",
            ]
        )
    return tables.table(head, rows)


def _summary(runs: Mapping[str, Result]) -> str:
    """PSNR against the paper's at every ratio."""
    found = {ratio: mean(best(runs, ratio), "psnr") for ratio in RATIOS}
    told = [f"{over(p, PAPER[ratio])} at {ratio:.0%}" for ratio, p in found.items() if p]
    return f"{', '.join(told)} (dB)" if told else NOT_RUN


def _finite(runs: Mapping[str, Result]) -> dict[str, str]:
    """What the page begins with about gradients that are not finite."""
    fields = {}
    guarded = [r for n, r in runs.items() if n.startswith(SMALL) and short(r) not in UNGUARDED]
    if guarded:
        names = ", ".join(f"`{short(r)}`" for r in by_method(guarded))
        bad = sum(r["training"]["nonfinite_gradients"] for r in guarded)
        fields["colour_guarded"] = f"{bad} ({names})"
    native = [
        f"{r['training']['first_nonfinite_step']} (batch {r['settings']['batch']}, "
        f"{r['settings']['iterations']} iterations)"
        for r in runs.values()
        if short(r) == "native"
    ]
    if native:
        fields["colour_native"] = ", ".join(native)
    return fields


def figure(found: Found) -> dict[str, Figure]:
    runs, drawn = found["colour"], {}
    solved = {r["ratio"]: r for r in found["colour-solver"].values()}
    ours = {ratio: mean(best(runs, ratio), "psnr") for ratio in RATIOS}
    if any(ours.values()):
        curves = {
            "sampled": [mean(solved.get(r), "sampled", "psnr") for r in RATIOS],
            "ADMM": [mean(solved.get(r), "admm", "psnr") for r in RATIOS],
            "svt": list(ours.values()),
            "the paper's SVD-inv": list(PAPER.values()),
        }
        labels = [f"{ratio:.0%}" for ratio in RATIOS]
        drawn["ratios"] = figures.dots(
            labels, curves, "PSNR, dB", "share of known pixels", lines=True
        )
    if any((compared := _compared(runs)).values()):
        drawn["methods"] = figures.dots(*tables.differences(compared), "PSNR over svt, dB")
    small = [r for n, r in runs.items() if n.startswith(SMALL)]
    if small:
        s = small[0]["settings"]
        title = f"{s['iterations']} iterations, batch {s['batch']}, {s['side']} pixels each way"
        curves = {short(r): r["training"]["loss"] for r in by_method(small)}
        drawn["rules"] = figures.loss_figure(curves, 10, title)
    return drawn

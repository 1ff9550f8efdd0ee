"""The training loop: Adam, checkpoints, and a log of what the gradient did."""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from .lowrank import GapWatch

__all__ = ["SEED", "History", "Settings", "Watched", "squared_error", "train"]

SEED = 3407
"""The paper's."""
PER_EPOCH = 0.95
"""The paper's factor of the learning rate."""

Batch = Callable[[np.random.Generator], tuple[tuple[Tensor, ...], Tensor]]
"""Draws the inputs of the network and the target."""


class Watched(Protocol):
    """A network that can show its singular values."""

    def watch_gaps(self, watch: GapWatch | None) -> None: ...


@dataclass(frozen=True)
class Settings:
    """What a training is told.

    Attributes
    ----------
    steps
        Of Adam; its rate falls from `rate` to 0 as a half cosine over all of them.
    rate
        First learning rate.
    epoch
        Steps after which the rate is multiplied by 0.95 instead, as in the paper.
    largest
        Norm that a larger gradient is shortened to.
    seed
        Of the first weights; step n draws its batch from a generator seeded by both.
    stop_at_nonfinite
        Stop where the gradient is not finite, rather than leave that step out.
    """

    steps: int
    rate: float = 1e-3
    seed: int = SEED
    stop_at_nonfinite: bool = False
    epoch: int | None = None
    largest: float | None = None

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if self.epoch is not None:
            return self.rate * PER_EPOCH ** (step // self.epoch)
        return self.rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass
class History:
    """What happened, step by step.

    Attributes
    ----------
    loss
        Of every step (NaN is null in JSON).
    nonfinite
        Steps, counted from 1, whose gradient was not finite; the weights were left alone.
    gradient, gradient_step
        Largest norm of a finite gradient, and at which step it was.
    smallest_gap
        Between two singular values of one matrix in any low-rank step, relative to the largest.
    ties, matrices
        Matrices with two bit-equal singular values, zero ones among them, and all looked at.
    seconds
        Of wall time, all parts of a resumed run together.
    """

    loss: list[float] = field(default_factory=list)
    nonfinite: list[int] = field(default_factory=list)
    gradient: float = 0.0
    gradient_step: int = 0
    smallest_gap: float = math.inf
    ties: int = 0
    matrices: int = 0
    seconds: float = 0.0

    def summary(self, every: int = 10) -> dict[str, Any]:
        """For a result file: the loss as means over `every` steps."""
        finite = [x if math.isfinite(x) else None for x in self.loss]
        means = []
        for start in range(0, len(finite), every):
            part = [x for x in finite[start : start + every] if x is not None]
            means.append(float(f"{np.mean(part):.5g}") if part else None)
        return {
            "steps_done": len(self.loss),
            "loss_every": every,
            "loss": means,
            "nonfinite_gradients": len(self.nonfinite),
            "first_nonfinite_step": self.nonfinite[0] if self.nonfinite else None,
            "largest_gradient": self.gradient,
            "largest_gradient_step": self.gradient_step,
            "smallest_relative_gap": self.smallest_gap if self.matrices else None,
            "matrices_with_bit_equal_values": self.ties,
            "matrices_looked_at": self.matrices,
            "seconds": round(self.seconds, 1),
        }


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error; complex entries by their size."""
    difference = output - target
    if difference.is_complex():
        difference = torch.view_as_real(difference)
        return difference.square().sum(-1).mean()
    return difference.square().mean()


def _save(path: Path, network: nn.Module, optimiser: Any, description: str, log: History) -> None:
    """Write a checkpoint whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    content = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "settings": description,
        "history": json.dumps(asdict(log)),
    }
    torch.save(content, partial)
    os.replace(partial, path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds.

    Raises
    ------
    ValueError
        If the file is none.
    """
    try:
        content = torch.load(path, weights_only=True)
    except (RuntimeError, LookupError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is no checkpoint") from error
    if not isinstance(content, dict) or "network" not in content:
        raise ValueError(f"{path} is no checkpoint")
    return content


def train(
    network: nn.Module,
    batch: Batch,
    settings: Settings,
    checkpoint: Path | None = None,
    resume: bool = False,
    as_it_is: bool = False,
    save_every: float = 60.0,
    progress: bool = False,
    label: str = "",
) -> History:
    """Train a network in place.

    Parameters
    ----------
    network
        Takes what `batch` gives; one with ``watch_gaps`` has its singular values watched.
    batch
        Called with a generator that depends on the seed and the step only, so that a resumed
        training is the training that was interrupted.
    checkpoint
        File to write every `save_every` seconds and at the end.
    resume
        Go on from `checkpoint` if it exists.
    as_it_is
        Take no more steps: a resumed training ends where the checkpoint does.
    label
        What is trained: stands beside the progress bar and in the checkpoint.

    Raises
    ------
    ValueError
        If the checkpoint was written with other settings.
    """
    optimiser = torch.optim.Adam(
        [p for p in network.parameters() if p.requires_grad], lr=settings.rate
    )
    log = History()
    description = json.dumps({"label": label, **asdict(settings)})
    if resume and checkpoint is not None and checkpoint.exists():
        content = read_checkpoint(checkpoint)
        if content["settings"] != description:
            raise ValueError(
                f"{checkpoint} was written with {content['settings']}, not with {description}: "
                "use the same, or another file"
            )
        network.load_state_dict(content["network"])
        optimiser.load_state_dict(content["optimiser"])
        log = History(**json.loads(content["history"]))
    watch = GapWatch()
    watched = getattr(network, "watch_gaps", None)
    if watched is not None:
        watched(watch)
    before, started = log.seconds, time.perf_counter()
    saved = started
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.5f}  not finite {task.fields[bad]}"),
    )
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task(label, total=settings.steps, completed=len(log.loss), loss=0.0, bad=0)
        stopped = as_it_is or (settings.stop_at_nonfinite and bool(log.nonfinite))
        while len(log.loss) < settings.steps and not stopped:
            step = len(log.loss)
            watch.step = step
            for group in optimiser.param_groups:
                group["lr"] = settings.rate_at(step)
            inputs, target = batch(np.random.default_rng([settings.seed, step]))
            loss, norm = _gradient(network, inputs, target, optimiser)
            log.loss.append(loss)
            if math.isfinite(norm):
                if norm > log.gradient:
                    log.gradient, log.gradient_step = norm, step + 1
                if settings.largest is not None:
                    nn.utils.clip_grad_norm_(network.parameters(), settings.largest)
                optimiser.step()
            else:
                log.nonfinite.append(step + 1)
                stopped = settings.stop_at_nonfinite
            seen = watch.take()
            log.smallest_gap = min(log.smallest_gap, seen["smallest_gap"])
            log.ties += int(seen["ties"])
            log.matrices += int(seen["matrices"])
            now = time.perf_counter()
            log.seconds = before + now - started
            if checkpoint is not None and now - saved > save_every:
                _save(checkpoint, network, optimiser, description, log)
                saved = now
            bar.update(task, advance=1, loss=loss, bad=len(log.nonfinite))
    if watched is not None:
        watched(None)
    if checkpoint is not None and not as_it_is:
        _save(checkpoint, network, optimiser, description, log)
    return log


def _gradient(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    target: Tensor,
    optimiser: torch.optim.Optimizer,
) -> tuple[float, float]:
    """Loss, and norm of its gradient, which is left in the parameters; NaN for either."""
    optimiser.zero_grad()
    try:
        loss = squared_error(network(*inputs), target)
        loss.backward()
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        # what LAPACK makes of a matrix that is not finite
        return math.nan, math.nan
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(g) for g in gradients])
    return float(loss.detach()), float(torch.linalg.vector_norm(norms))

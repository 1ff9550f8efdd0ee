"""The experiments, in the order of the page."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Protocol

from matplotlib.figure import Figure

from . import (
    colour,
    colour_solver,
    dynamic,
    dynamic_solver,
    gradients,
    ports,
    speed,
    stress,
    table1,
)
from .results import Found

__all__ = ["EXPERIMENTS", "Experiment"]


class Experiment(Protocol):
    """What the module of an experiment has. Its result files contain ``"experiment": NAME``.

    Attributes
    ----------
    NAME
        The name of its command.
    HELP
        One line about it.
    QUICK
        Options of runs that take seconds, for the tests; `{pictures}` is a folder of pictures.
    """

    NAME: str
    HELP: str
    QUICK: list[str]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the command."""

    def run(self, options: argparse.Namespace) -> str:
        """Do the work, write result files, return a line about each."""

    def table(self, found: Found) -> Mapping[str, str]:
        """Texts for the fields of ``page.txt``. A field that is left out says "not run"."""

    def figure(self, found: Found) -> Mapping[str, Figure]:
        """Figures, by the last part of the names of their files."""


EXPERIMENTS: Sequence[Experiment] = [
    table1,
    colour,
    colour_solver,
    gradients,
    speed,
    dynamic,
    dynamic_solver,
    stress,
    ports,
]

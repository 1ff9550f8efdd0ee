"""The experiments, in the order of the page. A new one is a module, its line here, its section."""

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
    """What a module has; its result files say ``"experiment": NAME``.

    Attributes
    ----------
    NAME
        Of the command.
    HELP
        One line about it.
    """

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the command."""

    def run(self, options: argparse.Namespace) -> str:
        """Do the work, write result files, return a line about each."""

    def table(self, found: Found) -> Mapping[str, str]:
        """What stands in the fields of ``page.txt``; a field that is left out was not run."""

    def figure(self, found: Found) -> Mapping[str, Figure]:
        """Figures by the last part of their file's name."""


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

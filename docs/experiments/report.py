"""The result page ``docs/experiments.md`` and its figures, from the result files."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from . import figures, results
from .registry import EXPERIMENTS
from .tables import NOT_RUN

__all__ = ["IMAGES", "PAGE", "draw", "page"]

PAGE = Path(__file__).resolve().parents[1] / "experiments.md"
IMAGES = PAGE.parent / "images"


def page(folder: Path) -> str:
    """The page as Markdown, from the result files of a folder."""
    found = results.read_all(folder)
    fields: defaultdict[str, str] = defaultdict(lambda: NOT_RUN)
    for experiment in EXPERIMENTS:
        fields.update(experiment.table(found))
    text = (Path(__file__).parent / "page.txt").read_text("utf-8").format_map(fields)
    return re.sub(
        r"!\[.*\]\(images/(.*)\)", lambda m: m[0] if (IMAGES / m[1]).exists() else NOT_RUN, text
    )


def draw(folder: Path, images: Path) -> list[Path]:
    """Write the figures that the result files are enough for; return their paths."""
    found = results.read_all(folder)
    written = []
    for experiment in EXPERIMENTS:
        for name, figure in experiment.figure(found).items():
            written.append(images / f"experiments_{name}.png")
            figures.save(figure, written[-1])
    return written

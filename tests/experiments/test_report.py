"""The result page is the one that the command makes from the committed result files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from experiments import cli, report, results
from experiments.registry import EXPERIMENTS
from skimage.io import imsave

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_that_of_the_result_files():
    assert (DOCS / "experiments.md").read_text("utf-8") == report.page(results.FOLDER)


def test_pictures_of_the_page_are_there_and_small():
    pictures = re.findall(r"\]\((images/\w+\.png)\)", (DOCS / "experiments.md").read_text("utf-8"))
    assert pictures
    for picture in pictures:
        assert (DOCS / picture).stat().st_size < 300_000, picture


def test_committed_results_say_what_they_are():
    for path in results.FOLDER.glob("*.json"):
        content = results.read(path)
        assert content["experiment"], path
        assert "/" not in str(content.get("data", {})), path  # no path of a machine


@pytest.fixture
def pictures(tmp_path):
    """A folder of one small picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    imsave(folder / "one.png", rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    return folder


def test_report_from_small_results(tmp_path, capsys, pictures):
    for experiment in EXPERIMENTS:
        for options in experiment.QUICK:
            line = f"{experiment.NAME} {options} --out {tmp_path}".format(pictures=pictures)
            assert cli.main(line.split()) == 0
    page = tmp_path / "page.md"
    options = ["report", "--results", str(tmp_path), "--page", str(page), "--images", str(tmp_path)]
    assert cli.main(options) == 0
    for picture in ("gap", "rules", "ratios", "methods", "masks", "speed", "ports"):
        assert (tmp_path / f"experiments_{picture}.png").read_bytes().startswith(b"\x89PNG")
    text = page.read_text("utf-8")
    assert text.count("not run") > 5  # the other ratios
    assert not re.search(r"\{\w*\}", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    capsys.readouterr()


@pytest.mark.parametrize(
    "line",
    [
        "colour --batch 1 --side 8 --test {pictures}",
        "dynamic --size 16 --frames 4 --side 8 --cut-frames 4 --smooth",
    ],
)
def test_pictures(line, tmp_path, pictures):
    picture = tmp_path / "picture.png"
    network = f"--steps 1 --iterations 1 --quiet --out {tmp_path} --picture {picture}"
    assert cli.main(f"{line} {network}".format(pictures=pictures).split()) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "line",
    ["report --results nowhere", "gradients --checkpoint no.pt", "dynamic-solver --mask x-1"],
)
def test_refusals(line, capsys):
    assert cli.main(line.split()) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_as_a_folder():
    command = [sys.executable, str(DOCS / "experiments"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "table1" in done.stdout


def test_the_registry_and_the_result_files_know_each_other():
    names = [experiment.NAME for experiment in EXPERIMENTS]
    assert len(set(names)) == len(names)
    assert set(results.read_all(results.FOLDER)) <= set(names)
    readme = (results.FOLDER / "README.md").read_text("utf-8")
    kinds = [re.sub(r"<\w+>", r"[\\w-]+", k) for k in re.findall(r"\| `([^`]+)` \|", readme)]
    for path in results.FOLDER.glob("*.json"):
        assert path.stem in names or any(re.fullmatch(kind, path.stem) for kind in kinds), path

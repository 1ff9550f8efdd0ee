"""The result page is what the command makes of the committed result files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from experiments import cli, colour_tables, report, results

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_that_of_the_result_files():
    assert (DOCS / "experiments.md").read_text() == report.page(results.FOLDER)


def test_pictures_of_the_page_are_there_and_small():
    pictures = re.findall(r"\]\((images/\w+\.png)\)", (DOCS / "experiments.md").read_text())
    assert pictures
    for picture in pictures:
        assert (DOCS / picture).stat().st_size < 300_000, picture


def test_committed_results_say_what_they_are():
    for path in results.FOLDER.glob("*.json"):
        content = results.read(path)
        assert content["experiment"], path
        assert "/" not in str(content.get("data", {})), path  # no path of anybody's machine


def test_report_from_small_results(tmp_path, capsys):
    for line in (
        "table1 --matrices 4",
        "colour --steps 12 --batch 1 --side 8 --iterations 1 --quiet --no-test --name rules-svt",
        "colour --steps 2 --batch 1 --side 8 --iterations 1 --quiet",
        "gradients --batches 1 --batch 1 --iterations 1 --method svt native",
        "colour-classical --ratio 0.4 --steps 1 --weights 0.1",
        "dynamic --size 16 --frames 4 --side 8 --cut-frames 4 --steps 1 --iterations 1 --quiet",
        "dynamic-classical --mask vds-8 --size 16 --frames 4 --steps 1 --weights 1",
        "stress --steps 2 --method svt native --quiet",
        "ports --framework torch --steps 20 --batch 1 --side 8 --iterations 1",
    ):
        assert cli.main([*line.split(), "--out", str(tmp_path)]) == 0
    page = tmp_path / "page.md"
    options = ["report", "--out", str(tmp_path), "--page", str(page), "--images", str(tmp_path)]
    assert cli.main(options) == 0
    for picture in ("gap", "rules", "long", "ports"):
        assert (tmp_path / f"experiments_{picture}.png").read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert text.count("not run") > 5  # the other ratios
    assert not re.search(r"\{\w*\}", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    capsys.readouterr()


def test_pictures(tmp_path):
    checkpoint = tmp_path / "network.pt"
    network = f"--steps 1 --iterations 1 --checkpoint {checkpoint} --out {tmp_path} --quiet"
    colour = f"colour --batch 1 --side 8 --no-test {network}"
    dynamic = f"dynamic --size 16 --frames 4 --side 8 --cut-frames 4 --no-test {network}"
    small = "--size 16 --frames 4"
    for line in (
        colour,
        f"colour-picture --iterations 1 --checkpoint {checkpoint} --images chelsea",
        dynamic,
        f"dynamic-picture --iterations 1 --checkpoint {checkpoint} {small}",
        f"mask-picture --mask vds-8 vista-4 {small}",
    ):
        picture = tmp_path / f"{line.split()[0]}.png"
        extra = ["--picture", str(picture)] if "-picture " in line else []
        assert cli.main([*line.split(), *extra]) == 0
        assert not extra or picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "line", ["report --out nowhere", "colour-picture --checkpoint no.pt", "mask-picture --mask x-1"]
)
def test_refusals(line, capsys):
    assert cli.main(line.split()) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_as_a_folder():
    command = [sys.executable, str(DOCS / "experiments"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "table1" in done.stdout


def test_a_jump_of_the_loss():
    curve = [1.0, 0.5, 0.1, None, 0.7, 2.0, 0.1]
    assert colour_tables.jump({"loss": curve, "loss_every": 10}) == "about 40: from 0.1 to 2"
    assert colour_tables.jump({"loss": curve[:3], "loss_every": 10}) == "no"

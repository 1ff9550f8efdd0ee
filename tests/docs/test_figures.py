"""The scripts that draw the pictures run, and the pages have the tables that they print."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

from support import transform_tables

DOCS = Path(__file__).parents[2] / "docs"


def rows(page, block):
    """The table between two markers, as rows of cells."""
    (text,) = re.findall(rf"<!-- {block} -->\n(.*?)<!-- end of", page.read_text(), re.DOTALL)
    lines = [line.strip("|").split("|") for line in text.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines]


def test_errors_of_the_rules(tmp_path):
    page, picture = tmp_path / "page.md", tmp_path / "picture.png"
    shutil.copy(DOCS / "choosing_a_rule.md", page)
    script = runpy.run_path(str(DOCS / "figures" / "rule_errors.py"))
    script["main"](["--draws", "3", "--page", str(page), "--picture", str(picture)])
    assert picture.read_bytes().startswith(b"\x89PNG")
    for block in ("errors of the rules", "tolerances of inv"):
        committed, written = rows(DOCS / "choosing_a_rule.md", block), rows(page, block)
        assert [row[0] for row in written] == [row[0] for row in committed]
        # with fewer draws the numbers differ, but have the same size
        for old, new in zip(committed[2:], written[2:], strict=True):
            for a, b in zip(old[1:], new[1:], strict=True):
                if "finite" in a or not a:
                    assert a == b
                else:
                    ratio = float(a.split()[0]) / float(b.split()[0])
                    assert 1 / 30 < ratio < 30, (old[0], a, b)


def test_the_tables_of_transforms_are_those_of_the_tests():
    block = f"{transform_tables.BEGIN}\n\n{transform_tables.tables()}\n{transform_tables.END}"
    assert block in transform_tables.PAGE.read_text()

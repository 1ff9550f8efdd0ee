"""The published cases are those that the generator writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "conformance" / "generator"
SOME = (
    "soft/tall/pair",
    "polar/square/pair-1e-08",
    "values/square/pair-1e-08",
    "gauge/",
    "factors/wide/tied",
    "align/square/tied",
)

SCRIPT = f"""
import sys
sys.path.insert(0, {str(GENERATOR)!r})
import generate
for part in {SOME!r}:
    for kind, cases in generate.collect(part).items():
        if cases:
            print(generate.render(kind, cases), end="\\0")
print([m for m in sys.modules if m.split(".")[0] in ("svdinv", "svdinv_core")])
"""


def test_some_cases_are_reproduced_byte_for_byte():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=900
    )
    *files, imported = done.stdout.split("\0")
    assert imported.strip() == "[]"  # it imports nothing of the library
    seen = 0
    for text in files:
        kind = json.loads(text)["observable"]
        shipped = (GENERATOR.parent / "svdinv_conformance/data/v1" / f"{kind}.json").read_text()
        lines = {line.rstrip(",") for line in shipped.splitlines()}
        for line in text.splitlines():
            if line.startswith('{"case_id"'):
                assert line.rstrip(",") in lines
                seen += 1
    assert seen >= 17


@pytest.mark.whole_family  # two minutes
def test_all_files_are_reproduced_byte_for_byte():
    done = subprocess.run(
        [sys.executable, str(GENERATOR), "--check"], capture_output=True, text=True, timeout=1800
    )
    assert done.stdout.strip() == "the same, byte for byte", done.stdout + done.stderr
    assert done.returncode == 0

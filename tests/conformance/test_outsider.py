"""The suite on a package with three functions that does not know svdinv, run from its folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "outsider"
SUITE = "svdinv_conformance"


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=600
    )


def test_it_imports_nothing_of_ours():
    assert "svdinv" not in re.sub(r'"""(.|\n)*?"""', "", (FOLDER / "smallsvd.py").read_text())


def test_the_command_runs_it():
    arguments = ["-m", SUITE, "run", "smallsvd", "--framework", "torch"]
    some = ["--dtype", "float32,complex64", "-k", "soft or nuclear or values or reconstruction"]
    done = call(*arguments, *some, "--xfails-file", "known-failures.txt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "smallsvd on cpu (torch" in done.stdout
    soft = re.search(r"^[ |]*soft[ |]+(\d+)[ |]+(\S+)", done.stdout, re.MULTILINE)
    assert int(soft[1]) > 300  # passes
    assert soft[2] == "."  # fails
    without = call(*arguments, "-k", "reconstruction and tied and float64")
    assert without.returncode == 1
    assert "reconstruction/square/tied/real::float64::vjp" in without.stdout


def test_pytest_runs_it():
    arguments = ["-m", "pytest", "-q", "-p", f"{SUITE}.plugin", "--pyargs", SUITE]
    arguments += ["--svdinv-impl", "smallsvd", "--svdinv-framework", "torch"]
    arguments += ["--svdinv-dtype", "float64"]
    some = ["-k", "soft or nuclear or (reconstruction and tied)"]
    done = call(*arguments, *some, "--svdinv-xfails-file", "known-failures.txt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "xfailed" in done.stdout
    assert re.search(r"\d{3,} passed", done.stdout)
    without = call(*arguments, "-k", "reconstruction and tied")
    assert without.returncode == 1
    assert "FAILED" in without.stdout

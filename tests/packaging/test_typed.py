"""Programs of users under mypy and pyright, with the types of the wheel.

``assert_type`` in the programs states the types; a line with a wrong type has to fail. All checks
are strict, except pyright for JAX and TensorFlow, whose own types are not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.packages import call

PROGRAMS = Path(__file__).parent / "typed"
FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")
TYPED = FRAMEWORKS[:3]  # TensorFlow's arrays are Any, so that no type is wrong there
WRONG = "    wrong: int = factors.S\n    print(wrong)\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The programs, and copies with a wrong type in each, outside of our settings."""
    folder = tmp_path_factory.mktemp("programs")
    for name in FRAMEWORKS:
        program = (PROGRAMS / f"{name}_program.py").read_text()
        line = next(line for line in program.splitlines(True) if line.endswith("Vh = factors\n"))
        (folder / f"{name}_program.py").write_text(program)
        (folder / f"{name}_wrong.py").write_text(program.replace(line, line + WRONG))
    return folder


def programs(kind, names=FRAMEWORKS):
    return [f"{name}_{kind}.py" for name in names]


def pyright_runs():
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = said[-1] if said else f"exit status {done.returncode}"
        pytest.skip(f"pyright does not run here: {reason}")


CHECKERS = {
    "mypy": ("mypy", "--strict", "--config-file="),
    "pyright": ("pyright", "--pythonpath", sys.executable),
}
FOUND = {"mypy": "[assignment]", "pyright": "reportAssignmentType"}


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_types_are_found_and_a_wrong_one_is(checker, folder, unpacked):
    """All programs at once: the frameworks' own types are what takes time."""
    if checker == "pyright":
        pyright_runs()
    files = programs("program") + programs("wrong", TYPED)
    done = call(sys.executable, "-m", *CHECKERS[checker], *files, cwd=folder, path=unpacked)
    assert done.returncode == 1, done.stdout + done.stderr
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    wrong = {Path(line.split(":")[0].strip()).name for line in errors}
    assert len(errors) == len(TYPED), done.stdout
    assert wrong == set(programs("wrong", TYPED))
    assert done.stdout.count(FOUND[checker]) == len(TYPED), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_programs_run(name, folder, unpacked):
    done = call(sys.executable, folder / f"{name}_program.py", cwd=folder, path=unpacked)
    assert done.returncode == 0, done.stderr

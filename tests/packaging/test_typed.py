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


def mypy(folder, unpacked, file):
    command = (sys.executable, "-m", "mypy", "--strict", "--config-file=")
    return call(*command, file, cwd=folder, path=unpacked)


def pyright(folder, unpacked, file):
    command = (sys.executable, "-m", "pyright", "--pythonpath", sys.executable)
    return call(*command, file, cwd=folder, path=unpacked)


@pytest.fixture(scope="module")
def pyright_runs():
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = said[-1] if said else f"exit status {done.returncode}"
        pytest.skip(f"pyright does not run here: {reason}")


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_mypy_finds_the_types(name, folder, unpacked):
    done = mypy(folder, unpacked, f"{name}_program.py")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPED)
def test_mypy_finds_a_wrong_type(name, folder, unpacked):
    done = mypy(folder, unpacked, f"{name}_wrong.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "[assignment]" in done.stdout
    assert "Found 1 error" in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("pyright_runs")
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_pyright_finds_the_types(name, folder, unpacked):
    done = pyright(folder, unpacked, f"{name}_program.py")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("pyright_runs")
@pytest.mark.parametrize("name", TYPED)
def test_pyright_finds_a_wrong_type(name, folder, unpacked):
    done = pyright(folder, unpacked, f"{name}_wrong.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "reportAssignmentType" in done.stdout
    assert "1 error" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_programs_run(name, folder, unpacked):
    done = call(sys.executable, folder / f"{name}_program.py", cwd=folder, path=unpacked)
    assert done.returncode == 0, done.stderr

"""Errors for a framework that is missing, and for one that is installed but broken."""

from __future__ import annotations

import subprocess
import sys

import pytest
from svdinv._frameworks import FRAMEWORKS

MODULES = [
    *((f"svdinv.{name}", name, name) for name in FRAMEWORKS),
    ("svdinv_conformance", "rich", "conformance"),
]
BREAKABLE = [row for row in MODULES[:-1] if row[1] != "numpy"]  # svdinv itself imports NumPy


def error_of(program, *, cwd=None):
    """The output of a program on stderr, and its last line."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 1
    return done.stderr, done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(("module", "missing", "extra"), MODULES)
def test_an_absent_framework_is_named_with_its_extra(module, missing, extra):
    _, last = error_of(f"import sys; sys.modules[{missing!r}] = None; import {module}")
    assert last.startswith(f"ImportError: {module} needs ")
    assert f"pip install svdinv[{extra}]" in last


@pytest.mark.parametrize(("module", "package", "extra"), BREAKABLE)
def test_a_broken_framework_is_not_called_absent(module, package, extra, tmp_path):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("import a_library_of_its_own")
    everything, last = error_of(f"import {module}", cwd=tmp_path)
    assert "pip install" not in last
    assert last.startswith(f"ImportError: {module}: ")
    assert "No module named 'a_library_of_its_own'" in last
    assert "The above exception was the direct cause" in everything

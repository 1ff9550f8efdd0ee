"""The published package: its files, and how it works where little else is installed."""

from __future__ import annotations

import json
import os
import re
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser

import pytest
from support.drivers import FRAMEWORKS
from support.packages import ROOT, build, call

PACKAGES = {
    "svdinv_core": ROOT / "svdinv_core",
    "svdinv": ROOT / "adapters/svdinv",
    "svdinv_conformance": ROOT / "conformance/svdinv_conformance",
}


def files(folder):
    """Files below a folder, relative to it, without Python's caches."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel):
    (text,) = (v for k, v in contents(wheel).items() if k.endswith(".dist-info/METADATA"))
    return HeaderParser().parsestr(text.decode())


def test_the_wheel_holds_the_three_packages_and_nothing_else(built):
    names = set(contents(built.wheel))
    info = {name for name in names if ".dist-info/" in name}
    expected = {f"{name}/{file}" for name, source in PACKAGES.items() for file in files(source)}
    assert names - info == expected
    for name in PACKAGES:
        assert f"{name}/py.typed" in names
    assert sum(name.startswith("svdinv_conformance/data/v1/") for name in names) >= 11
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in info)


def test_the_wheel_says_what_it_needs(built):
    said = metadata(built.wheel)
    assert said["Requires-Python"] == ">=3.11"
    assert said["License-Expression"] == "MIT"
    requirements = said.get_all("Requires-Dist")
    (always,) = (r for r in requirements if "extra ==" not in r)
    assert always.startswith("array-api-compat>=")
    extras = {"all", "conformance", "docs", "cupy", *FRAMEWORKS}
    assert set(said.get_all("Provides-Extra")) == extras
    for extra in extras - {"all"}:
        assert any(r.endswith(f"extra == '{extra}'") and ">=" in r for r in requirements), extra


def test_lower_bounds_are_the_versions_of_make_oldest():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    del extras["docs"]  # these tools are tested in the versions of tests/requirements.txt only
    groups = [project["dependencies"], *extras.values()]
    stated = dict(r.split(">=") for group in groups for r in group if ">=" in r)
    files = (ROOT / "tests" / name for name in ("oldest.txt", "oldest-torch.txt"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    tried = dict(line.split("==") for line in lines if "==" in line)
    tried["tensorflow"] = tried.pop("tensorflow-cpu")
    del stated["cupy-cuda12x"]  # tested in the version of tests/requirements.txt
    assert {name: tried.get(name) for name in stated} == stated


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build(source, tmp_path / "dist", "--wheel")
    (again,) = (tmp_path / "dist").glob("*.whl")
    assert contents(again) == contents(built.wheel)
    for name in ("LICENSE", "CITATION.cff", "CHANGELOG.md", "Makefile", "tests/requirements.txt"):
        assert (source / name).exists(), name


LACKING = """
import json, sys, svdinv
frameworks = tuple(name for name in svdinv._frameworks.FRAMEWORKS if name != "numpy")
loaded = [name for name in ("numpy", *frameworks) if name in sys.modules]
import numpy as np, svdinv.numpy
value = svdinv.numpy.svt(np.diag([3.0, 3.0, 1.0]), 2.0)
errors = {}
for name in frameworks:
    try:
        __import__(f"svdinv.{name}")
    except ImportError as error:
        errors[name] = str(error)
try:
    import svdinv_conformance
except ImportError as error:
    errors["conformance"] = str(error)
print(json.dumps([loaded, value.tolist(), errors, svdinv.__file__]))
"""


@pytest.fixture(scope="module")
def install(built, tmp_path_factory):
    """``install("numpy")``: the Python of a fresh environment with the wheel and that extra."""

    def install(extra):
        folder = tmp_path_factory.mktemp(extra)
        done = call(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
        assert done.returncode == 0, done.stderr
        python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        pip = (python, "-m", "pip", "--retries", "1", "--timeout", "10")
        probe = call(*pip, "download", "-q", "--no-deps", "array-api-compat", cwd=folder)
        if probe.returncode != 0:
            pytest.skip(f"pip reaches no index: {probe.stderr.strip().splitlines()[-1]}")
        done = call(*pip, "install", "-q", f"{built.wheel}[{extra}]", cwd=folder)
        assert done.returncode == 0, done.stderr
        return python

    return install


@pytest.mark.slow
def test_numpy_alone(install, tmp_path):
    done = call(install("numpy"), "-c", LACKING, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded, value, errors, file = json.loads(done.stdout)
    assert "site-packages" in file
    assert loaded == []
    assert [value[i][i] for i in range(3)] == pytest.approx([1, 1, 0])
    for extra in (*FRAMEWORKS[1:], "cupy", "conformance"):
        assert f"pip install svdinv[{extra}]" in errors[extra]


@pytest.mark.slow
def test_the_conformance_extra_is_complete(install, tmp_path):
    command = (install("conformance"), "-m", "svdinv_conformance")
    done = call(*command, "run", "svdinv.numpy", "-k", "soft", "--html", "run.html", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    few = ("--case", "photo-tiled", "--repeat", "1")
    done = call(*command, "compare", *few, "--html", "compare.html", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"svt: error at most \d\S*e-1\d", done.stdout)
    assert (tmp_path / "compare.html").stat().st_size > 1e5

"""The published files, built once for the tests here."""

from __future__ import annotations

import zipfile

import pytest
from support.packages import ROOT, Built, build


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The wheel and the source distribution, each from this checkout itself."""
    for needed in ("build", "hatchling"):
        pytest.importorskip(needed)
    target = tmp_path_factory.mktemp("dist")
    build(ROOT, target, "--sdist", "--wheel")
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="session")
def unpacked(built, tmp_path_factory):
    """The packages as in the wheel, to put on a path."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(built.wheel) as wheel:
        wheel.extractall(target)
    return target

"""Fixtures shared by all tests, and the table of worst errors at the end of a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.drivers import FRAMEWORKS, driver

_WORST = "worst: "

# Before the modules that read them are imported.
if _shared := os.environ.get("SVDINV_SHARED"):
    os.environ.setdefault("SVDINV_DATA", str(Path(_shared, "data").resolve()))
    os.environ.setdefault("SVDINV_ORACLES", str(Path(_shared, "oracles").resolve()))


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    """The driver of each framework in turn."""
    return driver(request.param)


@pytest.fixture
def hold(record_property):
    """``hold(what, error, bound)``: assert a bound, and report the worst error of a run."""

    def hold(what: str, error: float, bound: float, where: object = "") -> None:
        record_property(_WORST + what, (float(error), float(bound)))
        assert error <= bound, f"{what}: {float(error):.2e} > {bound:.0e} {where}"

    return hold


def pytest_terminal_summary(terminalreporter):
    worst: dict[str, tuple[float, float]] = {}
    counts: dict[str, int] = {}
    for reports in terminalreporter.stats.values():
        for report in (r for r in reports if getattr(r, "when", "") == "call"):
            for name, value in report.user_properties:
                if name.startswith(_WORST):
                    what = name.removeprefix(_WORST)
                    worst[what] = max(worst.get(what, value), tuple(value))
                    counts[what] = counts.get(what, 0) + 1
    if worst:
        terminalreporter.section("worst errors")
        for what, (error, bound) in sorted(worst.items()):
            terminalreporter.line(
                f"{what:<58} {error:8.1e}  bound {bound:.0e}  ({counts[what]} checks)"
            )

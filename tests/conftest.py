"""Fixtures shared by all tests, and the table of worst errors at the end of a run."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

import pytest
from support.drivers import FRAMEWORKS, driver
from support.family import SIZES

_WORST = "worst: "

# JAX and XLA spend most of the time compiling. So compile without optimization, in one piece and
# without MLIR, which is a fifth of the time; and share each program of JAX between the workers.
# A version of XLA that does not know a flag ends the process: `make oldest` has flags of its own.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
_cache = Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Tracing makes many objects that live, and by default each quarter more of them is a reason to look
# at all objects of all frameworks again: a tenth of the time of the tests that trace.
gc.set_threshold(20_000, 20, 20)

# Set these before importing the modules that read them.
if _shared := os.environ.get("SVDINV_SHARED"):
    os.environ.setdefault("SVDINV_DATA", str(Path(_shared, "data").resolve()))
    os.environ.setdefault("SVDINV_ORACLES", str(Path(_shared, "oracles").resolve()))


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    """The driver of each framework in turn."""
    return driver(request.param)


MOST_MEMORY, GROWTH = 1.7e9, 1.5e8  # bytes
_forget_at = MOST_MEMORY


def pytest_runtest_teardown(item, nextitem):
    """Drop compiled programs after each test file, or when they use too much memory."""
    global _forget_at
    if nextitem is None or nextitem.path != item.path or resident() > _forget_at:
        if "jax" in sys.modules:
            sys.modules["jax"].clear_caches()
        if "torch._dynamo" in sys.modules:
            sys.modules["torch"]._dynamo.reset()
        if (ops := sys.modules.get("tensorflow.python.framework.ops")) is not None:
            forget_graphs(ops)
        gc.collect()
        if sys.platform == "linux":  # return free memory to the system, which malloc keeps
            ctypes.CDLL(None).malloc_trim(0)
        _forget_at = max(MOST_MEMORY, resident() + GROWTH)  # some memory stays; do not repeat soon


def forget_graphs(ops) -> None:
    """Drop the gradients that TensorFlow registers of each custom gradient, with their graphs."""
    registry = ops.gradient_registry._registry
    for name in [name for name in registry if name.startswith("CustomGradient-")]:
        del registry[name]


def resident() -> int:
    """Resident memory of this process in bytes; 0 if the system does not report it."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def pytest_addoption(parser):
    parser.addoption(
        "--whole-family", action="store_true", help="200 matrices a cell instead of 10"
    )
    parser.addoption(
        "--apart", action="store_true", help="the tests for a process of their own, and no others"
    )


def pytest_collection_modifyitems(config, items):
    apart = config.getoption("--apart")
    items[:] = [i for i in items if (i.get_closest_marker("apart") is not None) == apart]
    if not config.getoption("--whole-family"):
        items[:] = [item for item in items if item.get_closest_marker("whole_family") is None]
    # A long test that is among the last leaves the other worker without work.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def whole_family(request):
    """Whether this is `make family`."""
    return request.config.getoption("--whole-family")


@pytest.fixture
def sizes(request):
    """Sizes of matrices; without --whole-family small square ones stand for larger ones."""
    return SIZES if request.config.getoption("--whole-family") else SIZES[1:]


@pytest.fixture
def count(request):
    """The number of matrices in each cell of the family."""
    return 200 if request.config.getoption("--whole-family") else 10


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

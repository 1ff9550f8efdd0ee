"""The conformance suite under pytest.

::

    pytest -p svdinv_conformance.plugin --pyargs svdinv_conformance --svdinv-impl IMPLEMENTATION

runs it on what ``python -m svdinv_conformance run`` takes, one test for each id; a function that an
implementation lacks is a skip with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .suite import Implementation

__all__: list[str] = []

_KEY: pytest.StashKey[dict[str, Any]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options with the names of the command line's."""
    group = parser.getgroup("svdinv", "conformance of differentiable SVD functions")
    group.addoption("--svdinv-impl", metavar="IMPLEMENTATION", help="whom to ask")
    group.addoption("--svdinv-framework", metavar="NAME", help="whose arrays a module takes")
    group.addoption("--svdinv-device", metavar="NAME", default="cpu", help="cpu, cuda, ... (cpu)")
    group.addoption("--svdinv-dtype", metavar="NAMES", help="separated by commas (all)")
    group.addoption("--svdinv-xfails-file", metavar="FILE", help="tests expected to fail")


def _session(config: pytest.Config) -> dict[str, Any]:
    """The implementation and the tests, made once."""
    if _KEY in config.stash:
        return config.stash[_KEY]
    from .inputs import InputError
    from .suite import UnavailableError, load_cases, plan, read_xfails, resolve
    from .suite.case import DTYPES

    name = config.getoption("--svdinv-impl")
    if name is None:
        raise pytest.UsageError("say whom to ask with --svdinv-impl IMPLEMENTATION")
    dtypes = (config.getoption("--svdinv-dtype") or ",".join(DTYPES)).split(",")
    unknown = [dtype for dtype in dtypes if dtype not in DTYPES]
    if unknown:
        raise pytest.UsageError(f"--svdinv-dtype: unknown {unknown[0]!r}: {', '.join(DTYPES)}")
    found: dict[str, Any] = {"device": config.getoption("--svdinv-device"), "missing": ""}
    try:
        found["implementation"] = resolve(name, config.getoption("--svdinv-framework"))
        found["implementation"].check_device(found["device"])
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    except UnavailableError as reason:
        found["missing"] = str(reason)
    try:
        found["tests"] = plan(load_cases(dtypes))
        found["xfails"] = read_xfails(
            config.getoption("--svdinv-xfails-file"), [test.id for test in plan(load_cases())]
        )
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[_KEY] = found
    return found


def pytest_configure(config: pytest.Config) -> None:
    """Find out before anything is collected whether what was asked for makes sense."""
    if config.getoption("--svdinv-impl") is not None:
        _session(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Who is asked, with versions; the machine."""
    if config.getoption("--svdinv-impl") is None:
        return []
    from .suite.runner import environment

    found = _session(config)
    machine = ", ".join(f"{name} {value}" for name, value in environment().items())
    if found["missing"]:
        return [f"svdinv conformance: not run, {found['missing']}", machine]
    implementation = found["implementation"]
    versions = ", ".join(f"{name} {v}" for name, v in implementation.versions().items())
    where = f"{implementation.name} on {found['device']}"
    return [f"svdinv conformance: {where} ({versions})", machine]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each id."""
    if "svdinv_test" not in metafunc.fixturenames:
        return
    found = _session(metafunc.config)
    xfails = found["xfails"]
    parameters = []
    for test in found["tests"]:
        marks: list[pytest.MarkDecorator] = []
        if xfails.expects(test.id):
            marks.append(pytest.mark.xfail(reason="xfails file", strict=xfails.names(test.id)))
        parameters.append(pytest.param(test, id=test.id, marks=marks))
    metafunc.parametrize("svdinv_test", parameters)


@pytest.fixture
def svdinv_implementation(request: pytest.FixtureRequest) -> Implementation:
    """The implementation; its tests are skipped where it or its device is missing."""
    found = _session(request.config)
    if found["missing"]:
        pytest.skip(f"not run: {found['missing']}")
    implementation: Implementation = found["implementation"]
    return implementation


@pytest.fixture
def svdinv_device(request: pytest.FixtureRequest) -> str:
    """The device."""
    device: str = _session(request.config)["device"]
    return device

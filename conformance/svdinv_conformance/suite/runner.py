"""Run the checks of many cases on one implementation, and keep what came of it."""

from __future__ import annotations

import ast
import math
import os
import platform
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ..frameworks import first_line
from ..inputs import InputError
from .case import DATA, Case
from .checks import CHECKS, CheckFailed, checks_for
from .implementation import Implementation, NotApplicable, UnavailableError
from .xfails import Xfails

__all__ = ["STATUSES", "Outcome", "Report", "Test", "environment", "not_run", "plan", "run"]

STATUSES = ("pass", "fail", "xfail", "not applicable", "not run")
"""What can come of a test."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Test:
    """One check of one case."""

    __test__ = False  # not one of pytest's

    case: Case
    check: str

    @property
    def id(self) -> str:
        """Case, dtype and check: ``soft/tall/pair-1e-08/complex::complex128::vjp``."""
        return f"{self.case.name}::{self.check}"

    def run(self, implementation: Implementation, device: str) -> float:
        """Run it: part of the tolerance used, or an exception (see :mod:`.checks`)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a NaN that is computed is judged, not announced
            return CHECKS[self.check](implementation, self.case, device)


@dataclass(frozen=True)
class Outcome:
    """What came of a test."""

    test: Test
    """Which."""
    status: str
    """One of :data:`STATUSES`."""
    note: str = ""
    """Why, or how far off."""
    used: float | None = None
    """Part of the tolerance that was used; NaN where only a finite answer was asked for, None
    where nothing was measured."""
    seconds: float = 0.0
    """Time it took."""


@dataclass
class Report:
    """All outcomes of one implementation on one device."""

    name: str
    device: str
    """Who was asked, and where."""
    versions: dict[str, str] = field(default_factory=dict)
    """Version of each package that takes part."""
    outcomes: list[Outcome] = field(default_factory=list)
    """One for each test."""
    reason: str = ""
    """Why nothing was run; empty if something was."""

    def count(self, status: str) -> int:
        """Number of outcomes with a status."""
        return sum(o.status == status for o in self.outcomes)

    @property
    def failed(self) -> list[Outcome]:
        """The failures."""
        return [o for o in self.outcomes if o.status == "fail"]

    @property
    def ran(self) -> bool:
        """Whether anything was computed."""
        return any(o.status in ("pass", "fail", "xfail") for o in self.outcomes)

    def by(self, key: Callable[[Outcome], Any]) -> dict[Any, Counter[str]]:
        """Number of outcomes of each status, in groups."""
        groups: dict[Any, Counter[str]] = {}
        for outcome in self.outcomes:
            groups.setdefault(key(outcome), Counter())[outcome.status] += 1
        return groups

    def worst(self, key: Callable[[Outcome], str]) -> dict[str, float]:
        """Largest part of the tolerance that a passing test used, in groups."""
        groups: dict[str, float] = {}
        for o in self.outcomes:
            if o.status == "pass" and o.used is not None and not math.isnan(o.used):
                groups[key(o)] = max(groups.get(key(o), 0.0), o.used)
        return groups


def _expression(text: str) -> Callable[[str], bool]:
    """``a and not (b or c)``: each word is a part of an id, as with pytest's ``-k``."""
    tokens = re.findall(r"[()]|[^\s()]+", text)
    source = " ".join(
        token if token in ("and", "or", "not", "(", ")") else f"({token!r} in id)"
        for token in tokens
    )
    wrong = InputError(f"-k {text!r}: not an expression of words, and, or, not")
    try:
        tree = ast.parse(source, "-k", "eval")
    except SyntaxError:
        raise wrong from None
    if any(isinstance(node, ast.Call | ast.Tuple) for node in ast.walk(tree)):  # ``a b``, ``()``
        raise wrong
    code = compile(tree, "-k", "eval")
    return lambda test: bool(eval(code, {"__builtins__": {}}, {"id": test}))


def plan(
    cases: Iterable[Case], *, only: Sequence[str] = (), expression: str | None = None
) -> list[Test]:
    """List the tests of some cases.

    Parameters
    ----------
    cases
        From :func:`~.case.load_cases`.
    only
        Case ids or patterns; by default all.
    expression
        Words that ids contain, joined by ``and``, ``or``, ``not``.

    Raises
    ------
    InputError
        If a case id matches nothing, or nothing is left.
    """
    chosen = list(cases)
    if only:
        ids = list(dict.fromkeys(case.id for case in chosen))
        for pattern in only:
            if not any(fnmatchcase(i, pattern) for i in ids):
                near = get_close_matches(pattern, ids, 1)
                hint = f"; did you mean {near[0]}?" if near else "; --list-cases lists them"
                raise InputError(f"no such case: {pattern}{hint}")
        chosen = [c for c in chosen if any(fnmatchcase(c.id, pattern) for pattern in only)]
    tests = [Test(case, check) for case in chosen for check in checks_for(case)]
    if expression is not None:
        wanted = _expression(expression)
        tests = [test for test in tests if wanted(test.id)]
    if not tests:
        raise InputError("no test is left to run")
    return tests


def run(
    implementation: Implementation,
    tests: Sequence[Test],
    *,
    device: str = "cpu",
    xfails: Xfails | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run tests on an implementation.

    Parameters
    ----------
    implementation
        Who is asked.
    tests
        From :func:`plan`.
    device
        Where its arrays are put.
    xfails
        Tests that are expected to fail.
    progress
        Called before each test with the number done, the number in all and the id.

    Returns
    -------
    Report
        Where the device is not there, every test is "not run" and the reason says why.
    """
    report = Report(implementation.name, device, dict(implementation.versions()))
    try:
        implementation.check_device(device)
    except UnavailableError as error:
        return not_run(report, tests, str(error))
    for done, test in enumerate(tests):
        if progress is not None:
            progress(done, len(tests), test.id)
        report.outcomes.append(_outcome(implementation, test, device, xfails or Xfails()))
    return report


def not_run(report: Report, tests: Sequence[Test], reason: str) -> Report:
    """Every test is not run, for one reason."""
    report.reason = reason
    report.outcomes = [Outcome(test, "not run", reason) for test in tests]
    return report


def _outcome(implementation: Implementation, test: Test, device: str, xfails: Xfails) -> Outcome:
    start = time.perf_counter()
    used: float | None = None
    try:
        used = test.run(implementation, device)
    except NotApplicable as reason:
        return Outcome(test, "not applicable", str(reason))
    except CheckFailed as failure:
        status, note, used = "fail", str(failure), failure.used
    except Exception as error:  # whatever an implementation raises is its answer
        status, note = "fail", f"{type(error).__name__}: {first_line(error)}"
    else:
        status, note = "pass", "finite, which is all that is asked" if math.isnan(used) else ""
    seconds = time.perf_counter() - start
    if status == "fail" and xfails.expects(test.id):
        status = "xfail"
    elif status == "pass" and xfails.names(test.id):
        status, note = "fail", "expected to fail, but passes: take it out of the xfails file"
    return Outcome(test, status, note, used, seconds)


def environment() -> dict[str, str]:
    """What a reader of a report wants to know of the machine."""
    blas: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
    found = blas.get("Build Dependencies", {}).get("blas", {})
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "BLAS of NumPy": f"{found.get('name', 'unknown')} {found.get('version', '')}".strip(),
        "cases": DATA.name,
    }

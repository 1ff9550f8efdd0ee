"""The command ``python -m svdinv_conformance run``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from ..arguments import (
    check_output,
    choice,
    command,
    names,
    option,
    output,
    progress,
    tell_written,
    write_json,
)
from ..inputs import InputError
from ..markdown import around_marks, write_between
from .case import DTYPES, load_cases
from .checks import CHECKS
from .evidence import Evidence, gather
from .implementation import UnavailableError
from .named import ADAPTERS, KINDS, NATIVE, resolve
from .page import write_page
from .report import (
    as_json,
    evidence_table,
    print_comparison,
    print_environment,
    print_report,
    write_junit,
)
from .runner import Report, not_run, plan, run
from .table import BEGIN, END, markdown
from .xfails import read_xfails

__all__ = ["add_parser", "execute"]

_DESCRIPTION = """\
Compare an implementation of differentiable SVD functions with references that were computed at 50
digits from the definition of each function: ties, near-ties, zeros, extreme scales, real, complex.
"""

_EPILOG = f"""\
implementations:
  {", ".join(ADAPTERS)}
                  the library's modules; adapters stands for all of them
  {", ".join(NATIVE)}
                  a framework's own SVD; native stands for all of them
  package.module  a module that exports svd (x -> U, S, Vh), and if it has them svt, svdvals,
                  eigh, ...; --framework says whose arrays these take
  package.module:object
                  an object with the methods of svdinv_conformance.suite.Implementation

examples:
  python -m svdinv_conformance run svdinv.torch
  python -m svdinv_conformance run native.jax -k "soft and tied" --all
  python -m svdinv_conformance run mypackage.linalg --framework torch --xfails-file known.txt
  python -m svdinv_conformance run my_copy_of_svdinv_core --framework core
  python -m svdinv_conformance run adapters --device cpu,cuda --html report.html

a test is one check of one case in one dtype, such as
  soft/tall/pair-1e-08/complex::complex128::vjp
  checks: {", ".join(CHECKS)}

exit status:
  0  nothing failed    1  something failed    2  wrong usage or input, or nothing could be run
"""


def add_parser(commands: Any) -> None:
    """Add the command to a program's commands."""
    purpose = "run the conformance suite on an implementation"
    sub = command(commands, "run", purpose, _DESCRIPTION, _EPILOG)
    sub.add_argument("implementation", nargs="*", metavar="IMPLEMENTATION", help="see below")
    what = sub.add_argument_group("what to run")
    option(what, "--framework", "NAME", f"of a module: {', '.join(KINDS)}")
    text = "cpu, cuda, or what the framework calls it, separated by commas (cpu)"
    option(what, "--device", "NAMES", text, type=names, default=["cpu"])
    choice(what, "--dtype", DTYPES, "all")
    option(what, "--case", "ID", "case id or pattern; repeatable", action="append", default=[])
    option(what, "-k", "EXPR", "parts of test ids with and, or, not", dest="expression")
    text = "ids or patterns of tests expected to fail; one that matches none is an error"
    option(what, "--xfails-file", "FILE", text)
    what.add_argument("--list-cases", action="store_true", help="list the case ids and stop")
    what.add_argument("--all", dest="everything", action="store_true", help="list every failure")
    output(
        sub,
        json="the outcomes, for a program",
        html="one page",
        junit="JUnit XML, for continuous integration",
        markdown="put the table of who passes what between its marks",
    )


def _implementations(given: Sequence[str]) -> list[str]:
    if not given:
        raise InputError("say which IMPLEMENTATION to run (see --help)")
    groups = {"adapters": ADAPTERS, "native": NATIVE}
    return list(dict.fromkeys(n for name in given for n in groups.get(name, (name,))))


def execute(options: argparse.Namespace, console: Console) -> int:
    """Run what was asked for, print and write it, and return the exit status."""
    cases = load_cases(options.dtype or DTYPES)
    if options.list_cases:
        for name in dict.fromkeys(case.id for case in cases):
            console.print(name, markup=False, highlight=False, soft_wrap=True)
        return 0
    implementations = _implementations(options.implementation)
    tests = plan(cases, only=options.case, expression=options.expression)
    everything = [test.id for test in plan(load_cases())]
    xfails = read_xfails(options.xfails_file, everything)
    files = (options.json, options.html, options.junit)
    check_output(*files)
    if options.markdown is not None:
        around_marks(options.markdown, BEGIN, END)

    reports: list[Report] = []
    evidence: list[Evidence] = []
    with progress() as tell:
        for name in implementations:
            tell(0, None, f"loading {name}")
            try:
                implementation = resolve(name, None if name in NATIVE else options.framework)
            except UnavailableError as reason:
                reports += [not_run(Report(name, d), tests, str(reason)) for d in options.device]
                continue
            for device in options.device:

                def show(done: int, total: int, test: str, where: str = f"{name} {device}") -> None:
                    tell(done, total, where)

                reports.append(
                    run(implementation, tests, device=device, xfails=xfails, progress=show)
                )
        if any(r.device == "cuda" and r.reason for r in reports):
            tell(0, None, "evidence without a GPU")
            evidence = gather()

    print_environment(console)
    for report in reports:
        print_report(report, console, options.everything)
    ran = [report for report in reports if not report.reason]
    if len(ran) > 1:
        print_comparison(ran, console)
    if evidence:
        evidence_table(evidence).print(console)
    write_json(options.json, as_json(reports, evidence))
    if options.html is not None:
        write_page(reports, options.html, evidence)
    if options.junit is not None:
        write_junit(reports, options.junit)
    if options.markdown is not None:
        write_between(options.markdown, markdown(ran), BEGIN, END)
    tell_written(console, *files, options.markdown)
    if any(report.failed for report in reports) or any(e.status == "fails" for e in evidence):
        return 1
    return 0 if any(report.ran for report in reports) else 2

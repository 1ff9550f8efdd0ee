"""``make processors``: the numerical tests on the code paths that other processors take.

Every library chooses its code by the processor. An environment variable makes it choose other code,
if this processor can run it. A setting is one such variable for each library. Each setting runs, in
separate processes, the conformance suite, ``compare --case all`` in every framework and dtype, and
the tests that once failed on one kind of processor only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from svdinv_conformance.compare.methods import EXACT
from svdinv_conformance.markdown import around_marks, markdown_table, write_between

BEGIN = "<!-- processors: begin, written by tests/support/processors.py -->"
END = "<!-- processors: end -->"
TESTS = Path(__file__).parents[1]
PYTHON = [sys.executable]

TIMEOUT = 1800
"""Seconds for one process."""
EAGER, COMPILED = ("numpy", "torch", "autograd"), ("jax", "tensorflow")
SOME = "not hvp and not batch and (soft or nuclear or polar or hermitian)"
"""The part of the suite for frameworks that compile every case; others run all of it."""
RULES = "svt,inv,fit,native"
"""Methods of `compare`: the exact operator, a linear rule, a rule with a regression, native."""
WORKERS = 2
"""Settings at a time."""
DTYPES = "float32,float64,complex64,complex128"

TESTS_ONCE_RED = (
    "conformance/test_frameworks_conform.py::test_native_pytorch_fails_where_values_are_close",
    "conformance/test_outsider.py::test_the_command_runs_it",
    "conformance/test_run_command.py::test_files",
    "adapters/test_operators.py::test_derivatives_are_the_50_digit_ones[(3, 5, 4, 4)-float32-real]",
)


@dataclass(frozen=True)
class Setting:
    """Environment variables, each for another library, and the processor flag that they need."""

    name: str
    variables: dict[str, str]
    needs: str = ""


def _isa(openblas, mkl="", xla="", **others):
    variables = {"OPENBLAS_CORETYPE": openblas, **others}
    if mkl:
        variables["MKL_CBWR"] = mkl
    if xla:
        variables["XLA_FLAGS"] = f"--xla_cpu_max_isa={xla}"
    return variables


_PLAIN = {"ATEN_CPU_CAPABILITY": "default", "TF_ENABLE_ONEDNN_OPTS": "0"}
SETTINGS = [
    Setting("one thread", {"OMP_NUM_THREADS": "1"}),
    Setting("two threads", {"OMP_NUM_THREADS": "2"}),
    Setting("threads not limited", {}),
    Setting("SSE4.2", _isa("Nehalem", "COMPATIBLE", "SSE4_2", **_PLAIN)),
    Setting("AVX", _isa("Sandybridge", "AVX", "AVX"), "avx"),
    Setting("AVX2", _isa("Haswell", "AVX2", "AVX2"), "avx2"),
    Setting("AVX2, Zen", _isa("Zen", **_PLAIN), "avx2"),
    Setting("AVX-512", _isa("SkylakeX", "AVX512", "AVX512"), "avx512f"),
]


def flags(cpuinfo: str) -> set[str]:
    """The flags of the processor, from Linux's list; none on other systems."""
    found = re.search(r"^flags\s*: (.*)$", cpuinfo, re.MULTILINE)
    return set(found[1].split()) if found else set()


def possible(settings, available):
    return [s for s in settings if not s.needs or s.needs in available]


@dataclass
class Result:
    """The results of a setting in a framework; errors are fractions of the tolerance."""

    suite: float = 0.0
    single: float = 0.0
    double: float = 0.0
    compare: float = 0.0
    tests: int = 0
    passed: int = 0
    failures: list[str] = field(default_factory=list)


def environment(setting):
    """Our environment without the variables of settings; one thread, unless it is about threads."""
    others = {k for s in SETTINGS for k in s.variables}
    env = {k: v for k, v in os.environ.items() if k not in others}
    if "threads" not in setting.name:
        env["OMP_NUM_THREADS"] = "1"
    return {**env, "TF_CPP_MIN_LOG_LEVEL": "3", **setting.variables}


def _call(setting, *arguments):
    return subprocess.run(
        [*PYTHON, *arguments],
        env=environment(setting), cwd=TESTS.parent, capture_output=True, text=True, timeout=TIMEOUT,
    )  # fmt: skip


def of_suite(result, report):
    """Add the results of the suite, from a module's part of its JSON."""
    for outcome in report["outcomes"]:
        if outcome["status"] == "fail":
            result.failures.append(f"{outcome['id']}: {outcome['note']}")
        if outcome["status"] in ("pass", "fail"):
            result.tests += 1
            result.passed += outcome["status"] == "pass"
            result.suite = max(result.suite, outcome["tolerance_used"] or 0.0)


def of_compare(result, report, framework):
    """Add the results of `compare`, from its JSON: errors of svt, and fractions of tolerances."""
    for group in report["groups"]:
        for row in group["rows"]:
            if row["framework"] != framework:
                continue
            where = f"{group['case']}, {row['method']}, {row['framework']} {row['dtype']}"
            result.failures += [f"{where}: {fault}" for fault in row["faults"]]
            if not row["tolerance"]:
                continue
            exact = row["method"] == EXACT.get(group["loss"])
            error = row["error"] or 0.0 if exact else 0.0
            result.compare = max(
                result.compare, error / row["tolerance"], (row["agreement"] or 0) / row["tolerance"]
            )
            if exact:
                single = row["dtype"] in ("float32", "complex64")
                kind = "single" if single else "double"
                errors = error, row["tau_error"] or 0.0
                setattr(result, kind, max(getattr(result, kind), *errors))


def measure(setting):
    """All results by framework, and failures that belong to no framework."""
    results = {name: Result() for name in (*EAGER, *COMPILED)}
    failures = []
    command = ("-m", "svdinv_conformance")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "report.json")

        def read(what, *arguments):
            file.unlink(missing_ok=True)
            done = _call(setting, *command, *arguments, "--json", file)
            if done.returncode in (0, 1) and file.exists():
                return json.loads(file.read_text(encoding="utf-8")), done.returncode
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            failures.append(f"{what}: status {done.returncode} {last}")
            return None, done.returncode

        for names, chosen in ((EAGER, ()), (COMPILED, ("-k", SOME))):
            report, _ = read("run", "run", *(f"svdinv.{name}" for name in names), *chosen)
            for name, part in zip(names, report["reports"] if report else (), strict=bool(report)):
                of_suite(results[name], part)
        what = ("--case", "all", "--dtype", DTYPES, "--framework", ",".join(results))
        report, status = read("compare", "compare", *what, "--rule", RULES, "--repeat", "1")
        if report:
            for name, result in results.items():
                of_compare(result, report, name)
            if status and not any(r.failures for r in results.values()):
                failures.append("compare: status 1")
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    done = _call(setting, "-m", "pytest", *options, *(str(TESTS / name) for name in TESTS_ONCE_RED))
    failed = re.findall(r"^(?:FAILED|ERROR) (.*)$", done.stdout, re.MULTILINE)
    failures += failed or ([f"pytest: status {done.returncode}"] if done.returncode else [])
    return results, failures


HEAD = ("setting", "framework", "tests", "suite", "`svt`, single", "`svt`, double", "`compare`")


def row(setting, framework, result):
    """A line of the table."""
    tests = f"all {result.tests}"
    if result.failures:
        tests = f"**{result.passed} of {result.tests}**"
    shares = (f"{100 * share:.0f} %" for share in (result.suite, result.compare))
    suite, compare = shares
    errors = f"{result.single:.1e}", f"{result.double:.1e}"
    return [setting.name, framework, tests, suite, *errors, compare]


def variables(settings):
    """What each setting sets, as text."""
    lines = ["In the environment, each variable for a library of its own:", ""]
    for setting in settings:
        listed = " ".join(f"{k}={v}" for k, v in setting.variables.items()) or "none of these"
        lines.append(f"- {setting.name}: `{listed}`")
    return "\n".join(lines)


def processor(cpuinfo: str) -> str:
    found = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    best = [name for name in ("avx512f", "avx2", "avx") if name in flags(cpuinfo)][:1]
    return ", ".join([found[1] if found else platform.machine(), *best])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", metavar="FILE", help="put the table between its marks")
    parser.add_argument("--only", default="", metavar="WORD", help="settings whose name has it")
    options = parser.parse_args(arguments)
    if options.markdown:
        around_marks(options.markdown, BEGIN, END)
    listed = Path("/proc/cpuinfo")
    cpuinfo = listed.read_text(encoding="utf-8") if listed.exists() else ""
    chosen = [s for s in possible(SETTINGS, flags(cpuinfo)) if options.only in s.name]
    rows, failures = [], []
    with ThreadPoolExecutor(WORKERS) as pool:
        for setting, (results, found) in zip(chosen, pool.map(measure, chosen), strict=True):
            for framework, result in results.items():
                rows.append(row(setting, framework, result))
                print(" | ".join(rows[-1]), flush=True)
                found += result.failures
            for failure in found:
                print("   ", failure, flush=True)
            failures += found
    text = f"On {processor(cpuinfo)}. {variables(chosen)}\n\n{markdown_table(HEAD, rows)}\n"
    if options.markdown:
        write_between(options.markdown, text, BEGIN, END)
    print(f"{len(failures)} failures" if failures else "all inside the bounds")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

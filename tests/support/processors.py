"""``make processors``: the numerical tests on the code paths that other processors take.

Every library below chooses its code by the processor it finds. An environment variable makes it
choose otherwise, as far as this processor can. For each such setting, in processes of their own:
the conformance suite, ``compare --case all`` in every dtype, and the tests that once failed on one
kind of processor only.
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

from svdinv_conformance.frameworks import FRAMEWORKS
from svdinv_conformance.losses import EXACT
from svdinv_conformance.markdown import around_marks, markdown_table, write_between

BEGIN = "<!-- processors: begin, written by tests/support/processors.py -->"
END = "<!-- processors: end -->"
TESTS = Path(__file__).parents[1]
PYTHON = [sys.executable]

ALL = tuple(name for name in FRAMEWORKS if name != "cupy")
TIMEOUT = 1800
"""Seconds for one process."""
COMPILED = "not hvp and not batch and (soft or nuclear or polar or hermitian)"
"""What is run of the suite where every case is compiled; elsewhere all of it."""
RULES = "svt,inv,fit,native"
"""Of `compare`: the exact operator, the default rule, the rule with a regression of its own."""
WORKERS = 2
"""Processes at a time, of one thread each but where a setting says otherwise."""
DTYPES = "float32,float64,complex64,complex128"

NATIVE_TESTS = (
    "conformance/test_frameworks_conform.py::test_native_pytorch_fails_where_values_are_close",
    "conformance/test_outsider.py::test_the_command_runs_it",
    "conformance/test_run_command.py::test_files",
)
SCALAR_TEST = (
    "adapters/test_operators.py::test_derivatives_are_the_50_digit_ones[(3, 5, 4, 4)-False-float32]"
)


@dataclass(frozen=True)
class Setting:
    """Environment variables, whom they concern, and the processor flag that they need."""

    variables: dict[str, str]
    frameworks: tuple[str, ...]
    needs: str = ""

    @property
    def name(self) -> str:
        return " ".join(f"`{k}={v}`" for k, v in self.variables.items()) or "threads not limited"


BLAS = {
    "Nehalem": "",
    "Sandybridge": "avx",
    "Haswell": "avx2",
    "Zen": "avx2",
    "SkylakeX": "avx512f",
}
MKL = {"COMPATIBLE": "", "AVX": "avx", "AVX2": "avx2", "AVX512": "avx512f"}
XLA = {"SSE4_2": "", "AVX": "avx", "AVX2": "avx2", "AVX512": "avx512f"}
ISA = "--xla_cpu_max_isa="

SETTINGS = [
    Setting({"OMP_NUM_THREADS": "1"}, ALL),
    Setting({"OMP_NUM_THREADS": "2"}, ("numpy", "torch")),
    Setting({}, ("numpy", "torch")),
    *(Setting({"OPENBLAS_CORETYPE": k}, ("numpy", "autograd"), v) for k, v in BLAS.items()),
    *(Setting({"MKL_CBWR": k}, ("torch",), v) for k, v in MKL.items()),
    Setting({"ATEN_CPU_CAPABILITY": "default"}, ("torch",)),
    *(Setting({"XLA_FLAGS": ISA + k}, ("jax",), v) for k, v in XLA.items()),
    Setting({"TF_ENABLE_ONEDNN_OPTS": "0"}, ("tensorflow",)),
]


def flags(cpuinfo: str) -> set[str]:
    """What a processor can do, from Linux's list; nothing beyond its oldest code elsewhere."""
    found = re.search(r"^flags\s*: (.*)$", cpuinfo, re.MULTILINE)
    return set(found[1].split()) if found else set()


def possible(settings, available):
    return [s for s in settings if not s.needs or s.needs in available]


@dataclass
class Result:
    """What came of a setting in a framework; shares are of the tolerance."""

    suite: float = 0.0
    single: float = 0.0
    double: float = 0.0
    compare: float = 0.0
    tests: int = 0
    passed: int = 0
    failures: list[str] = field(default_factory=list)


def environment(setting):
    """Ours, without what any setting sets; one thread unless the setting is about threads."""
    others = {k for s in SETTINGS for k in s.variables}
    env = {k: v for k, v in os.environ.items() if k not in others}
    if setting.variables and "OMP_NUM_THREADS" not in setting.variables:
        env["OMP_NUM_THREADS"] = "1"
    return {**env, "TF_CPP_MIN_LOG_LEVEL": "3", **setting.variables}


def _call(setting, *arguments):
    return subprocess.run(
        [*PYTHON, *arguments],
        env=environment(setting), cwd=TESTS.parent, capture_output=True, text=True, timeout=TIMEOUT,
    )  # fmt: skip


def of_suite(result, report):
    """Add what the suite found, from its JSON."""
    for outcome in report["reports"][0]["outcomes"]:
        if outcome["status"] == "fail":
            result.failures.append(f"{outcome['id']}: {outcome['note']}")
        if outcome["status"] in ("pass", "fail"):
            result.tests += 1
            result.passed += outcome["status"] == "pass"
            result.suite = max(result.suite, outcome["tolerance_used"] or 0.0)


def of_compare(result, report, framework):
    """Add what `compare` found, from its JSON: errors of svt, and the share of the tolerance."""
    for group in report["groups"]:
        for row in group["rows"]:
            where = f"{group['case']}, {row['method']}, {row['framework']} {row['dtype']}"
            result.failures += [f"{where}: {fault}" for fault in row["faults"]]
            if row["framework"] != framework or not row["tolerance"]:
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


def measure(setting, framework, expression=None, tests=True):
    """Everything, in one framework; `expression` chooses from the suite."""
    result = Result()
    command = ("-m", "svdinv_conformance")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "report.json")

        def read(done):
            if done.returncode in (0, 1) and file.exists():
                return json.loads(file.read_text(encoding="utf-8"))
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            result.failures.append(f"{done.args[-1]}: status {done.returncode} {last}")
            return None

        if expression is None and framework in ("jax", "tensorflow"):
            expression = COMPILED
        some = ("-k", expression) if expression else ()
        done = _call(setting, *command, "run", f"svdinv.{framework}", *some, "--json", file)
        if (report := read(done)) is not None:
            of_suite(result, report)
        file.unlink(missing_ok=True)
        both = ",".join(dict.fromkeys(["numpy", framework]))
        what = ("--case", "all", "--dtype", DTYPES, "--framework", both, "--rule", RULES)
        done = _call(setting, *command, "compare", *what, "--repeat", "1", "--json", file)
        if (report := read(done)) is not None:
            of_compare(result, report, framework)
            if done.returncode and not result.failures:
                result.failures.append("compare: status 1")
    chosen = {"torch": NATIVE_TESTS, "jax": (SCALAR_TEST,)}.get(framework, ()) if tests else ()
    if chosen:
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")
        done = _call(setting, "-m", "pytest", *options, *(str(TESTS / name) for name in chosen))
        failed = re.findall(r"^(?:FAILED|ERROR) (.*)$", done.stdout, re.MULTILINE)
        if done.returncode and not failed:
            failed = [f"pytest: status {done.returncode}"]
        result.failures += failed
        result.tests += len(chosen)
        result.passed += len(chosen) - len(failed)
    return result


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
    pairs = [(setting, framework) for setting in chosen for framework in setting.frameworks]
    rows, failures = [], []
    with ThreadPoolExecutor(WORKERS) as pool:
        for pair, result in zip(pairs, pool.map(lambda p: measure(*p), pairs), strict=True):
            rows.append(row(*pair, result))
            print(" | ".join(rows[-1]), flush=True)
            for failure in result.failures:
                print("   ", failure, flush=True)
            failures += result.failures
    text = f"On {processor(cpuinfo)}.\n\n{markdown_table(HEAD, rows)}\n"
    if options.markdown:
        write_between(options.markdown, text, BEGIN, END)
    print(f"{len(failures)} failures" if failures else "all inside the bounds")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

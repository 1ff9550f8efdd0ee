"""``python -m svdinv_conformance run``, as a user runs it, and the plugin's errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from svdinv_conformance.__main__ import main
from svdinv_conformance.suite import evidence
from svdinv_conformance.suite.table import BEGIN, END

SMALL = ["-k", "nuclear and tied and square and not hvp"]
"""A framework's own gradient passes too, because that of a sum of values divides by no gap."""


def run(capsys, *arguments):
    try:
        status = main(["run", *arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_help_explains(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for word in ("svdinv.torch", "native.jax", "--xfails-file", "exit status", "spoilt_batch"):
        assert word in out


def test_list_cases(capsys):
    status, out, _ = run(capsys, "--list-cases", "--dtype", "float32")
    assert status == 0
    assert "soft/tall/tied/real" in out.splitlines()
    assert "complex" not in out


def test_a_run(capsys):
    status, out, err = run(capsys, "svdinv.numpy", *SMALL)
    assert status == 0
    assert err == ""
    assert re.search(r"BLAS of NumPy \S+", out)
    assert re.search(r"svdinv.numpy on cpu \(numpy \d", out)
    assert re.search(r"nuclear +\d+ +\. +\.", out)


def test_failures_are_listed_and_are_status_1(capsys):
    # At a tie PyTorch divides a rounding error by another, or zero by zero: 12 failures each.
    some = ["-k", "soft/square/tied/ or soft/square/triple/"]
    status, out, _ = run(capsys, "native.torch", "svdinv.numpy", *some)
    assert status == 1
    assert "soft/square/tied/real::float64::vjp" in out
    assert "more (--all lists them)" in out
    assert re.search(r"tied +\d+ of \d+ +all \d+", out)
    _, everything, _ = run(capsys, "native.torch", *some, "--all")
    assert "--all lists them" not in everything
    assert everything.count("::") > out.count("::")


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_files(capsys, tmp_path):
    document = tmp_path / "page.md"
    document.write_text(f"{BEGIN}\n{END}\n")
    files = [tmp_path / "new" / f"r.{end}" for end in ("json", "html", "xml")]
    options = zip(("--json", "--html", "--junit"), map(str, files), strict=True)
    arguments = [x for pair in options for x in pair]
    status, out, _ = run(
        capsys, "svdinv.numpy", "native.torch", *SMALL, *arguments, "--markdown", str(document)
    )
    assert status == 0
    assert out.count("written:") == 4
    data = json.loads(files[0].read_text(), parse_constant=pytest.fail)
    assert [r["implementation"] for r in data["reports"]] == ["svdinv.numpy", "native.torch"]
    assert data["reports"][0]["versions"]["numpy"]
    page = Page()
    page.feed(files[1].read_text())
    assert page.open == page.links == []
    assert "| tied | all" in document.read_text()


def test_a_missing_device_is_not_run_and_the_evidence_stands_in(capsys, monkeypatch):
    claims = {"a claim": ("json", lambda: ("holds", "3 of 3"))}
    monkeypatch.setattr(evidence, "_CLAIMS", claims)
    status, out, _ = run(capsys, "svdinv.numpy", "--device", "cpu,cuda", *SMALL)
    assert status == 0
    assert re.search(r"not run: numpy computes on the CPU only \(\d+ tests\)", out)
    assert re.search(r"holds +a claim +3 of 3", out)
    status, out, _ = run(capsys, "svdinv.numpy", "--device", "cuda", *SMALL)
    assert status == 2  # nothing was run
    claims["a claim"] = ("json", lambda: ("fails", "2 of 3"))
    status, _, _ = run(capsys, "svdinv.numpy", "--device", "cpu,cuda", *SMALL)
    assert status == 1
    claims["a claim"] = ("no_such_package", lambda: ("holds", ""))
    _, out, _ = run(capsys, "svdinv.numpy", "--device", "cpu,cuda", *SMALL)
    assert "no_such_package is not installed" in out


@pytest.mark.slow
def test_the_evidence_holds():
    found = evidence.gather()
    assert [e.status for e in found] == ["holds"] * 3, found


def test_xfails(capsys, tmp_path):
    path = tmp_path / "known.txt"
    path.write_text("soft/square/tied/*\n")
    arguments = ["native.torch", "-k", "soft/square/tied/", "--xfails-file", str(path)]
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert int(re.search(r"soft +\d+ +\. +(\d+)", out)[1]) > 5
    path.write_text("soft/square/tied/real::float64::value\n")
    status, out, _ = run(capsys, *arguments)
    assert status == 1
    assert "take it out of the xfails file" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say which IMPLEMENTATION"),
        (["nonesuch"], "nonesuch: no such module"),
        (["json"], "--framework"),
        (["json", "--framework", "cobol"], "unknown framework 'cobol'"),
        (["svdinv.numpy", "--case", "soft/square/teid/real"], "did you mean soft/square/tied/real"),
        (["svdinv.numpy", "--dtype", "int8"], "unknown 'int8'"),
        (["svdinv.numpy", "-k", "and"], "not an expression"),
        (["svdinv.numpy", "-k", "xyzzy"], "no test is left"),
        (["svdinv.numpy", "--xfails-file", "/nonexistent/x"], "cannot be read"),
        (["svdinv.numpy", "--json", "/dev/null/x.json", *SMALL], "cannot be written"),
        (["svdinv.numpy", *SMALL, "--markdown", "/nonexistent/x.md"], "cannot be read"),
        (["svdinv.numpy", *SMALL, "--markdown", sys.executable], "not a text file"),
        (["svdinv.numpy", *SMALL, "--markdown", __file__], "has no line"),
        (["svdinv.numpy", "--xfails-file", sys.executable], "not a text file"),
        (["svdinv.numpy", "--device", ","], "names nothing"),
        (["json", "--framework", "core"], "json: no copy of svdinv_core, it has no SVD, "),
        ([""], "not the name of a module"),
        (["..json"], "..json: not the name of a module"),
        (["json:"], "say which object of the module"),
        (["--unknown"], "--unknown"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(capsys, arguments, words):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("unfinished", "def f(:", "unfinished cannot be imported: SyntaxError: invalid syntax"),
        (
            "unlucky",
            "raise ValueError('no luck')",
            "unlucky cannot be imported: ValueError: no luck",
        ),
        (
            "broken:Me",
            "class Me:\n  def __init__(self): self.x",
            "broken:Me cannot be called: Attri",
        ),
    ],
)
def test_a_module_that_fails_is_not_run(capsys, tmp_path, monkeypatch, name, text, words):
    (tmp_path / f"{name.partition(':')[0]}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    status, out, _ = run(capsys, name, "--framework", "torch", *SMALL)
    assert status == 2
    assert f"not run: {words}" in out


@pytest.mark.parametrize("framework", ["numpy", "torch", "jax", "tensorflow"])
def test_a_device_of_no_such_name_is_not_run(capsys, framework):
    status, out, _ = run(capsys, f"svdinv.{framework}", "--device", "abacus", *SMALL)
    assert status == 2
    assert "not run: " in out


def test_a_misspelt_xfail_is_an_error(capsys, tmp_path):
    path = tmp_path / "known.txt"
    path.write_text("soft/square/teid/*\n")
    status, _, err = run(capsys, "svdinv.numpy", "--xfails-file", str(path))
    assert status == 2
    assert "no such test: soft/square/teid/*" in err


PLUGIN = [sys.executable, "-m", "pytest", "-q", "-p", "svdinv_conformance.plugin", "--pyargs",
          "svdinv_conformance"]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["--svdinv-impl", "nonesuch"], "no such module", 4),
        (["--svdinv-impl", "svdinv.numpy", "--svdinv-dtype", "int8"], "unknown 'int8'", 4),
        (["--svdinv-impl", "svdinv.numpy", "--svdinv-device", "cuda", *SMALL], "skipped", 0),
        ([], "--svdinv-impl IMPLEMENTATION", 2),
    ],
)
def test_the_plugin_says_what_is_wrong(tmp_path: Path, arguments, words, status):
    done = subprocess.run(
        [*PLUGIN, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert words in done.stdout + done.stderr
    assert done.returncode == status

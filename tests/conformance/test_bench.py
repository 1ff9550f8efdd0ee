"""``python -m svdinv_conformance bench``: its numbers and files. Times are not tested."""

from __future__ import annotations

import json

import pytest
from svdinv_conformance.__main__ import main
from svdinv_conformance.bench import Measured, Shape, Timing, measure, steps_of
from svdinv_conformance.bench.command import marks
from svdinv_conformance.suite import resolve

SHAPES = [Shape((4, 6, 6), "float32"), Shape((2, 20, 3), "complex64"), Shape((5, 5), "float64")]


def bench(capsys, *arguments):
    try:
        status = main(["bench", *arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "tensorflow"])
def test_every_side_computes_the_same_gradient(name):
    import numpy as np
    from svdinv_conformance.bench.measure import problem
    from svdinv_conformance.frameworks import FRAMEWORKS

    x, tau, ct, kept = problem(SHAPES[1], 0.3, 0)
    assert 0 < kept <= 3
    bridge = FRAMEWORKS[name]()
    steps = steps_of(bridge, "eager", x, tau, ct, "cpu")
    assert list(steps) == (["svdinv", "svd"] if name == "numpy" else ["svdinv", "native", "svd"])
    if name != "numpy":
        ours, native = (bridge.numpy(steps[side]()[1]) for side in ("svdinv", "native"))
        assert np.abs(ours - native).max() < 1e-4 * np.abs(native).max()


def test_measured_error_is_that_of_the_precision():
    rows = measure(SHAPES, ["numpy", "torch", "tensorflow"], ["eager"], repeat=1)
    assert len(rows) == len(SHAPES) * 3
    for row in rows:
        assert not row.reason
        assert row.error < (1e-12 if row.shape.dtype == "float64" else 2e-5)
        assert row.sides["svdinv"].median > 0


def test_an_implementation_of_the_protocol_is_a_side():
    (row,) = measure(
        SHAPES[:1],
        ["torch"],
        ["eager"],
        repeat=1,
        implementations={"native.torch": resolve("native.torch")},
    )
    assert set(row.sides) == {"svdinv", "native", "svd", "native.torch"}


def test_ratios():
    row = Measured(SHAPES[0], "torch", "eager", "cpu")
    row.sides = {"svdinv": Timing(2.0, 2, 2), "native": Timing(5.0, 5, 5)}
    assert row.ratio("native", "svdinv") == 2.5
    assert row.ratio("svdinv", "svd") is None


def test_the_command_and_its_files(capsys, tmp_path, monkeypatch):
    from svdinv_conformance.bench import report

    monkeypatch.setattr(report, "SIZES", (2, 4))
    monkeypatch.setattr(report, "BATCHES", (1, 2))
    page = tmp_path / "page.md"
    page.write_text("\n".join(["before", *marks(0.12), "after"]))
    plot, data = tmp_path / "new" / "cost.png", tmp_path / "times.json"
    status, out, err = bench(
        capsys, "--framework", "torch", "--shape", "4x6x6:float32", "--repeat", "2",
        "--json", str(data), "--plot", str(plot), "--markdown", str(page),
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "4x6x6 float32" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "| 4x6x6 float32 | torch eager |" in page.read_text()
    rows = json.loads(data.read_text(), parse_constant=pytest.fail)["rows"]
    assert len(rows) == 1 + 2 + 2
    assert rows[0]["sides"]["native"]["median"] > 0


def test_a_gpu_that_is_not_there_is_said(capsys):
    status, out, _ = bench(
        capsys, "--framework", "numpy", "--shape", "3x3:float32", "--device", "cuda"
    )
    assert status == 2
    assert "numpy computes on the CPU only" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shape", "3:float32"], "is not a shape"),
        (["--shape", "3x3:int8"], "is not a shape"),
        (["--shape", "0x3:float32"], "has no entries"),
        (["--framework", "cobol"], "unknown 'cobol'"),
        (["--threshold", "2"], "is not a fraction"),
        (["--repeat", "0"], "is not a positive number"),
        (["--implementation", "nonesuch"], "nonesuch: no such module"),
        (["--json", "/dev/null/x.json"], "cannot be written"),
        (["--plot", "cost.txt"], "name ends in .png"),
        (["--markdown", "/nonexistent/x.md"], "cannot be read"),
        (["--markdown", __file__], "has no line"),
        (["--seed", "-1"], "-1 is negative"),
        (["--implementation", "json", "--kind", "core"], "no copy of svdinv_core"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(capsys, arguments, words):
    status, _, err = bench(capsys, *arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert words in err

"""The command line, as a user runs it."""

from __future__ import annotations

import json
import pickle
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from svdinv_conformance import __main__ as command
from svdinv_conformance import gpu
from svdinv_conformance.__main__ import main
from svdinv_conformance.compare import command as compare_command
from svdinv_conformance.frameworks import FRAMEWORKS
from svdinv_conformance.frameworks.numpy import NumPy
from svdinv_conformance.inputs import BUILT_IN, built_in

SMALL = ["compare", "--case", "tied-pair", "--framework", "numpy", "--repeat", "1"]


class WrongTorch(NumPy):
    """Stands in for PyTorch, and is wrong."""

    name = "torch"
    package = "numpy"

    def load(self) -> Any:
        module, library = NumPy().load()

        def vjp(*given: Any, **options: Any) -> Any:
            out, pullback = library.vjp(*given, **options)
            return out, lambda ct: (pullback(ct)[0].mT.copy(), *pullback(ct)[1:])

        names = {name: getattr(library, name) for name in ("svt", "svdvals", "svd")}
        return module, SimpleNamespace(**names, vjp=vjp)


@pytest.fixture
def wrong_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FRAMEWORKS, "torch", WrongTorch)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(list(arguments))
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_list_cases(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "compare", "--list-cases")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == list(BUILT_IN)


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "compare", "--help")
    assert status == 0
    for word in ("examples:", "what counts as disagreement", "exit status", "lorentzian"):
        assert word in out


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *SMALL)
    assert status == 0
    assert err == ""  # no progress bar where there is no terminal
    assert re.search(r"svt +numpy +\d\.\de-1\d", out)
    assert "native  " in out
    assert "numpy has no autodiff" in out
    assert "Only numpy was computed" in out


def test_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "new" / "r.json"
    status, _, _ = run(
        capsys, *SMALL, "--loss", "soft,nuclear", "--dtype", "float32", "--json", str(target)
    )
    assert status == 0
    data = json.loads(target.read_text(), parse_constant=lambda c: pytest.fail(f"{c} in JSON"))
    assert data["agrees"] is True
    assert [g["loss"] for g in data["groups"]] == ["soft", "nuclear"]
    row = data["groups"][0]["rows"][0]
    assert (row["method"], row["framework"], row["dtype"]) == ("svt", "numpy", "float32")
    assert 0 < row["error"] < row["tolerance"] < 1e-3
    assert row["nonfinite"] == 0
    assert row["entries"] == 36
    assert row["milliseconds"] > 0
    native = data["groups"][0]["rows"][-1]
    assert native["status"] == "unavailable"


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images = 0
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        self.images += tag == "img"
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_self_contained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "r.html"
    status, _, _ = run(capsys, *SMALL, "--framework", "cupy", "--html", str(target))
    assert status == 0
    text = target.read_text(encoding="utf-8")
    page = _References()
    page.feed(text)
    assert page.open == []
    assert page.images > 10
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "cupy" in text


def test_page_marks_nonfinite_pixels() -> None:
    import io

    from matplotlib.image import imread
    from svdinv_conformance.compare.plots import difference_image, gradient_image

    matrix = np.zeros((8, 8))
    matrix[3, 4] = np.nan
    for png in (gradient_image(matrix, 1.0), difference_image(matrix, np.zeros((8, 8)), 1.0)):
        pixels = imread(io.BytesIO(png), format="png")[..., :3]
        red = np.all(np.abs(pixels - np.array([220, 38, 38]) / 255) < 1e-3, axis=-1)
        side = pixels.shape[0] // 8
        assert red[3 * side : 4 * side, 4 * side : 5 * side].mean() > 0.5
        red[3 * side : 4 * side, 4 * side : 5 * side] = False
        assert not red.any()


def test_missing_framework_is_a_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing(NumPy):
        name = "cupy"
        package = "no_such_package_anywhere"

    monkeypatch.setitem(FRAMEWORKS, "cupy", Missing)
    status, out, _ = run(capsys, *SMALL, "--framework", "cupy")
    assert status == 0
    assert re.search(r"cupy .*no_such_package_anywhere is not installed", out)


def test_missing_device_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, *SMALL, "--device", "cuda,cpu")
    assert status == 0
    assert "numpy computes on the CPU only" in out


@pytest.mark.usefixtures("wrong_torch")
def test_disagreement_is_status_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    arguments = [*SMALL, "--framework", "torch", "--rule", "svt,inv", "--json", str(target)]
    status, out, _ = run(capsys, *arguments)
    assert status == 1
    assert "DISAGREES with torch" in out
    assert "DISAGREEMENT" in out
    assert json.loads(target.read_text())["agrees"] is False


@pytest.mark.usefixtures("wrong_torch")
def test_unjudged_difference_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, _ = run(capsys, *SMALL, "--framework", "torch", "--rule", "plain")
    assert status == 0


def _save(path: Path, make: str) -> None:
    if make == "pickled":
        np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    elif make == "raw pickle":
        path.write_bytes(pickle.dumps([1, 2]))
    elif make == "text":
        np.save(path, np.array([["a", "b"]]))
    elif make == "vector":
        np.save(path, np.ones(3))
    elif make == "empty":
        np.save(path, np.ones((3, 0)))
    elif make == "nan":
        np.save(path, np.full((2, 2), np.nan))
    elif make == "garbage":
        path.write_bytes(b"\x93NUMPY\x01\x00garbage")
    elif make == "nothing":
        path.write_bytes(b"")
    elif make == "npz":
        with path.open("wb") as file:
            np.savez(file, a=np.eye(2))
    elif make == "folder":
        path.mkdir()
    elif make == "plain text":
        path.write_text("1 2\n3 4\n")
    elif make.startswith("only a header"):
        _save_header(path, 10**10 if make.endswith("beyond all bounds") else 10**6)
    elif make == "too large":
        _save_header(path, 10_001)
        with path.open("ab") as file:
            file.truncate(file.tell() + 8 * 10_001**2)  # takes no space on the disk


def _save_header(path: Path, side: int) -> None:
    header = {"descr": "<f8", "fortran_order": False, "shape": (side, side)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("absent", "no such file"),
        ("pickled", "pickled"),
        ("raw pickle", "pickled"),
        ("text", "not numbers"),
        ("vector", "two dimensions"),
        ("empty", "nothing to decompose"),
        ("nan", "infinities or NaN"),
        ("garbage", "it is damaged"),
        ("nothing", "it is empty"),
        ("plain text", "it does not begin as one"),
        ("only a header", "it is damaged or cut short"),
        ("only a header beyond all bounds", "it is damaged or cut short"),
        ("too large", "too large; at most 100,000,000 entries"),
        ("npz", "npz archive"),
        ("folder", "cannot be read"),
    ],
)
def test_bad_matrix_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, make: str, message: str
) -> None:
    path = tmp_path / "x.npy"
    _save(path, make)
    status, out, err = run(capsys, "compare", "--input", str(path), "--framework", "numpy")
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert str(path) in err


@pytest.mark.parametrize("make", ["absent", "text"])
def test_bad_image_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, make: str) -> None:
    path = tmp_path / "photo.png"
    if make == "text":
        path.write_text("no picture")
    status, _, err = run(capsys, "compare", "--image", str(path), "--framework", "numpy")
    assert status == 2
    assert err.count("\n") == 1
    assert "photo.png: " in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--case", "nope"],
        ["--loss", "cubic"],
        ["--rule", "magic"],
        ["--framework", "abacus"],
        ["--dtype", "int8"],
        ["--device", "tpu"],
        ["--tau", "-1"],
        ["--tau", "nan"],
        ["--tau", "many"],
        ["--repeat", "0"],
        ["--seed", "-1"],
        ["--crop", "x"],
        ["--relative", "--absolute"],
        ["--rule", "svt", "--loss", "hard"],
        ["--json", "/dev/null/x.json"],
        ["--html", "."],
        ["--unknown"],
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    status, out, err = run(capsys, "compare", *arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys)
    assert status == 2
    assert "COMMAND" in err


def test_interrupt(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_command, "compare", stop)
    status, _, err = run(capsys, *SMALL)
    assert status == 130
    assert err == "interrupted\n"


def test_out_of_memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate 7 TiB.")

    monkeypatch.setattr(compare_command, "compare", fail)
    status, _, err = run(capsys, *SMALL)
    assert status == 2
    assert err == "svdinv_conformance compare: error: out of memory (Unable to allocate 7 TiB)\n"


@pytest.mark.parametrize("swallows", [False, True])
def test_ctrl_c(tmp_path: Path, swallows: bool) -> None:
    """During code of other packages, which may swallow an exception."""
    caught = "KeyboardInterrupt" if swallows else "ValueError"
    (tmp_path / "slow.py").write_text(
        "import sys, time\nprint('here', flush=True)\nwhile True:\n"
        f"    try:\n        time.sleep(60)\n    except {caught}:\n        pass\n"
    )
    arguments = [sys.executable, "-m", "svdinv_conformance", "run", "slow", "--framework", "torch"]
    pipe = subprocess.PIPE
    # If the tests run in the background of a shell, they and their children ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(arguments, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=900)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err == "interrupted\n"


def test_complex_input_chooses_complex(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.eye(3) + 1j * np.ones((3, 3)))
    arguments = ["compare", "--input", str(tmp_path / "z.npy"), "--framework", "numpy"]
    status, out, _ = run(capsys, *arguments, "--rule", "svt")
    assert status == 0
    assert "complex128" in out
    status, out, _ = run(capsys, *arguments, "--rule", "svt", "--dtype", "float64")
    assert status == 0
    assert "the input is complex" in out


def test_importing_imports_no_framework() -> None:
    code = (
        "import sys, svdinv_conformance.__main__; "
        "print([m for m in ('torch', 'jax', 'tensorflow', 'matplotlib', 'skimage', 'svdinv') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=900
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("dtype", "losses", "rules", "shape"),
    [
        ("float32", "soft,nuclear", "all", (6, 6)),
        ("complex128", "reconstruction,hard", "inv", ()),
        pytest.param("float32", "soft,nuclear", "all", (), marks=pytest.mark.whole_family),
        pytest.param(
            "complex128", "reconstruction,hard", "svt,auto,inv", (), marks=pytest.mark.whole_family
        ),
    ],
)
def test_every_framework_agrees(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    dtype: str,
    losses: str,
    rules: str,
    shape: tuple[int, ...],
) -> None:
    """Every built-in case: all rules for one shape, and one rule for all shapes."""
    target = tmp_path / "r.json"
    cases = [
        name
        for name in BUILT_IN
        if not name.startswith("photo") and shape in ((), built_in(name).shape)
    ]
    arguments = ["--case", ",".join(cases), "--loss", losses, "--dtype", dtype, "--rule", rules]
    status, out, _ = run(capsys, "compare", *arguments, "--repeat", "1", "--json", str(target))
    assert status == 0, out[-2000:]
    data = json.loads(target.read_text())
    judged = [r for g in data["groups"] for r in g["rows"] if r["judged"]]
    assert len(judged) > 50


def test_no_gpu_is_an_error_that_says_who_sees_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = tmp_path / "gpu.html"
    status, _, err = run(capsys, "gpu", "--html", str(target))
    if status == 2:
        assert re.search(r"gpu: error: no framework sees a GPU here \(torch: .*; cupy: ", err)
        assert not target.exists()


class OnGPU(NumPy):
    """Stands in for CuPy, and sees a GPU."""

    name = "cupy"

    def check_device(self, device: str) -> None:
        pass


def test_one_report_of_a_gpu(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One page has the three commands for the frameworks that see a GPU; the worst exit status."""
    for name in ("torch", "cupy"):
        monkeypatch.setitem(FRAMEWORKS, name, OnGPU)
    for name in ("jax", "tensorflow"):
        monkeypatch.delitem(FRAMEWORKS, name)
    given = []

    def one(arguments: list[str], console: Any) -> int:
        given.append(arguments)
        console.print(f"ran {arguments[0]}")
        return len(given) % 3

    options = command._build_parser().parse_args(["gpu", "--html", str(tmp_path / "gpu.html")])
    assert gpu.execute(options, command._console(), one) == 2
    assert given == [
        ["run", "svdinv.torch", "svdinv.cupy", "--device", "cuda"],
        ["compare", "--framework", "torch,cupy", "--device", "cpu,cuda"],
        ["bench", "--framework", "torch,cupy", "--device", "cuda"],
    ]
    page = (tmp_path / "gpu.html").read_text()
    assert all(f"ran {name}" in page for name in ("run", "compare", "bench"))

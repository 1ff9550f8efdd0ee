"""The comparison: losses, rows, agreement, and gradients that are wrong on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from svdinv_conformance.compare import Comparison, Plan, compare, runner
from svdinv_conformance.compare.methods import (
    EXACT,
    LOSSES,
    METHODS,
    THRESHOLDED,
    Problem,
    gradient,
    implement,
    methods_for,
)
from svdinv_conformance.compare.pairs import as_table, in_words, largest_differences
from svdinv_conformance.compare.report import summary
from svdinv_conformance.frameworks import FRAMEWORKS, Bridge, NumPy, UnavailableError
from svdinv_conformance.inputs import built_in, normal
from svdinv_conformance.reference import decompose
from svdinv_conformance.suite.case import Observable


class Twin(NumPy):
    """A second framework: NumPy again, whose gradients may be altered."""

    def alter(self, x: Any, tau: Any = None) -> tuple[Any, ...]:
        return x, tau


class Scaled(Twin):
    """Wrong by one part in a billion."""

    def alter(self, x: Any, tau: Any = None) -> tuple[Any, ...]:
        return x * (1 + 1e-9), tau


class Conjugated(Twin):
    """JAX's convention, not converted."""

    def alter(self, x: Any, tau: Any = None) -> tuple[Any, ...]:
        return np.conj(x), tau


class WrongThreshold(Twin):
    def alter(self, x: Any, tau: Any = None) -> tuple[Any, ...]:
        return x, None if tau is None else 1.001 * tau


class Broken(Twin):
    """One NaN."""

    def alter(self, x: Any, tau: Any = None) -> tuple[Any, ...]:
        x = np.array(x)
        x[..., 0, 0] = np.nan
        return x, tau


class Raising(Twin):
    def alter(self, x: Any, tau: Any = None) -> tuple[Any, ...]:
        raise RuntimeError("no such kernel\nand a long story")


class Narrowed(Twin):
    def alter(self, x: Any, tau: Any = None) -> tuple[Any, ...]:
        return x.astype(np.float32), tau


@pytest.fixture(autouse=True)
def altered(monkeypatch: pytest.MonkeyPatch) -> None:
    def implement_altered(bridge: Bridge, method: str) -> Any:
        asked: Any = implement(bridge, method)
        if isinstance(bridge, Twin):
            vjp = asked.vjp
            asked.vjp = lambda *given: bridge.alter(*vjp(*given))
        return asked

    monkeypatch.setattr(runner, "implement", implement_altered)


class Absent(Twin):
    def load(self) -> tuple[Any, Any]:
        raise UnavailableError("absent is not installed")


def run(
    other: type[Bridge] | None = Twin,
    *,
    case: str = "tied-pair",
    losses: tuple[str, ...] = ("soft",),
    methods: tuple[str, ...] = METHODS,
    dtypes: tuple[str, ...] = ("float64",),
    devices: tuple[str, ...] = ("cpu",),
    **options: Any,
) -> Comparison:
    frameworks: dict[str, Bridge] = {"numpy": NumPy()}
    if other is not None:
        twin = type(other.__name__, (other,), {"name": "numpy"})()
        frameworks["twin"] = twin
    plan = Plan(
        [built_in(case)], losses, methods, list(frameworks), dtypes, devices, repeat=1, **options
    )
    result = compare(plan, frameworks)
    if other is not None:
        half = [row for row in result.rows if row.framework == "numpy"]
        for row in half[1::2]:
            row.framework = "twin"
    return result


def test_twins_agree_on_everything() -> None:
    result = run(losses=tuple(LOSSES))
    assert result.agrees
    assert {row.agreement for row in result.rows if row.agreement is not None} == {0.0}
    assert "2 frameworks agree" in summary(result)


@pytest.mark.parametrize(
    ("other", "dtype", "fault"),
    [
        (Scaled, "float64", "disagrees"),
        (Conjugated, "complex128", "disagrees"),
        (WrongThreshold, "float64", "disagrees"),
        (Broken, "float64", "non-finite"),
        (Raising, "float64", "raised"),
        (Narrowed, "float64", "raised"),
    ],
)
@pytest.mark.parametrize("method", ["svt", "inv"])
def test_a_wrong_gradient_is_found(other: type[Twin], dtype: str, fault: str, method: str) -> None:
    case = "tied-pair" if method == "svt" else "distinct"
    result = run(other, case=case, methods=(method,), dtypes=(dtype,))
    assert not result.agrees
    assert any(fault in f for row in result.rows for f in row.faults)
    assert summary(result).startswith("DISAGREEMENT")


@pytest.mark.parametrize("other", [Scaled, Conjugated, Broken, WrongThreshold])
def test_an_exact_operator_alone_is_held_to_the_exact_gradient(other: type[Twin]) -> None:
    dtype = "complex128" if other is Conjugated else "float64"
    plan = Plan([built_in("tied-pair")], ["soft"], ["svt"], ["numpy"], [dtype], ["cpu"])
    assert not compare(plan, {"numpy": other()}).agrees
    assert compare(plan, {"numpy": NumPy()}).agrees


def test_noise_on_a_tie_is_no_fault() -> None:
    result = run(Scaled, methods=("plain", "clip", "pinv"))
    assert result.agrees
    assert all(not row.judged and row.excuse for row in result.rows)


def test_a_batch_is_judged_matrix_by_matrix() -> None:
    result = run(Scaled, case="batch", methods=("inv",))
    assert not result.agrees
    assert {(row.judged_matrices, row.matrices) for row in result.rows} == {(1, 3)}


def test_the_odd_one_out_is_named() -> None:
    frameworks = {"numpy": NumPy(), "torch": Twin(), "jax": Scaled()}
    for name in ("torch", "jax"):
        frameworks[name] = type(name, (type(frameworks[name]),), {"name": name})()
        frameworks[name]._modules = frameworks["numpy"].load()
    plan = Plan([built_in("distinct")], ["soft"], ["inv"], list(frameworks), ["float64"], ["cpu"])
    rows = {row.framework: row for row in compare(plan, frameworks).rows}
    assert rows["numpy"].faults == rows["torch"].faults == ["disagrees with jax"]
    assert rows["jax"].faults == ["disagrees with numpy", "disagrees with torch"]
    assert rows["jax"].agreement == pytest.approx(1e-9, rel=1e-3)


def test_the_largest_difference_of_each_two_is_where_it_is() -> None:
    frameworks: dict[str, Bridge] = {"numpy": NumPy(), "jax": Scaled()}
    cases = [built_in("distinct"), built_in("tall")]
    plan = Plan(cases, ["soft"], ["svt"], list(frameworks), ["float64"], ["cpu"], repeat=1)
    result = compare(plan, frameworks)
    for row in result.rows[1::2]:
        row.framework = "jax"
    ((pair, found),) = largest_differences(result).items()
    assert pair == ("numpy", "jax")
    assert found.difference == pytest.approx(1e-9, rel=1e-3)
    assert found.used > 100
    assert found.where in ("distinct, soft, svt, float64", "tall, soft, svt, float64")
    assert as_table({pair: found}).rows == [["numpy", "", "1.0e-09"], ["jax", "1.0e-09", ""]]
    broken = largest_differences(run(Broken, case="distinct", methods=("svt",)))
    assert [str(d) for d in broken.values()] == ["NaN/inf"]
    assert "not finite of 1e-12 allowed" in in_words(broken)


def test_raised_errors_keep_their_first_line() -> None:
    row = next(row for row in run(Raising, methods=("svt",)).rows if row.status == "failed")
    assert row.note == "RuntimeError: no such kernel"


def test_missing_frameworks_and_devices_are_rows() -> None:
    result = run(Absent, devices=("cpu", "cuda"))
    notes = [(row.framework, row.device, row.note) for row in result.missing]
    assert ("twin", "cpu", "absent is not installed") in notes
    assert ("numpy", "cuda", "numpy computes on the CPU only") in notes
    assert result.rows


def test_nothing_at_all() -> None:
    plan = Plan([built_in("tied-pair")], ["soft"], METHODS, ["numpy"], ["float64"], ["cuda"])
    assert "Nothing was computed" in summary(compare(plan, {"numpy": NumPy()}))


def test_undefined_gradients_have_no_error() -> None:
    for loss, case, tau, reason in [
        ("hard", "tied-pair", 2 / 3, "cut splits a cluster"),
        ("nuclear", "zeros", 0.1, "a value is zero"),
    ]:
        result = run(None, case=case, losses=(loss,), methods=("inv",), tau=tau)
        (row,) = result.rows
        assert row.undefined == reason
        assert row.error is None


def test_svt_is_exact_on_every_case_in_numpy() -> None:
    for case in ("identity", "triple-tie", "near-tie", "zeros", "zero", "tall", "wide", "batch"):
        for dtype, limit in (("float64", 1e-13), ("complex64", 1e-4)):
            (row,) = run(None, case=case, methods=("svt",), dtypes=(dtype,)).rows
            assert row.error is not None
            assert row.error < limit, (case, dtype)


def test_threshold_is_relative_or_absolute() -> None:
    def tau(**options: Any) -> Any:
        return run(None, tau=0.5, methods=("svt",), **options).groups[0].problems["float64"].tau

    assert tau() == pytest.approx(1.5)
    assert tau(relative=False) == 0.5
    assert tau(case="zero") == 0.5


def test_progress_reaches_the_end() -> None:
    seen = []
    plan = Plan([built_in("identity")], ["soft"], ["svt"], ["numpy"], ["float64"], ["cpu"])
    compare(plan, {"numpy": NumPy()}, lambda done, total, text: seen.append((done, total)))
    assert seen[-1] == (1, 1)


def test_normal_numbers() -> None:
    wide = normal((3, 4), "complex128", 0)
    assert np.array_equal(normal((3, 4), "float64", 0), wide.real)
    assert np.array_equal(normal((3, 4), "complex64", 0), wide.astype(np.complex64))
    assert not np.array_equal(normal((3, 4), "float64", 1), wide.real)
    assert abs(np.mean(normal((100, 100), "float64", 0))) < 0.05


def test_methods_of_a_loss() -> None:
    assert methods_for("soft")[0] == EXACT["soft"] == "svt"
    assert "svt" not in methods_for("hard")
    assert set(METHODS) == {m for loss in LOSSES for m in methods_for(loss)}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_numpy_cotangents_are_the_gradient_of_the_loss(loss: str, dtype: str) -> None:
    x = built_in("distinct").matrices(dtype)
    assert x is not None
    w, tau = normal(x.shape, dtype, 0), np.array(0.7)
    problem = Problem(loss, x, w, tau, decompose(x))
    exact = problem.exact
    in_x, in_tau = gradient(implement(NumPy(), "plain"), problem)()
    assert np.allclose(in_x, exact.x.astype(dtype), rtol=0, atol=1e-12)
    if exact.tau is not None:
        assert in_tau == pytest.approx(float(exact.tau))


def loss_in_numpy(loss: str, x: np.ndarray, w: np.ndarray, tau: float) -> float:
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    if loss == "nuclear":
        return float(np.sum(s))
    f = {"soft": np.maximum(s - tau, 0), "hard": np.where(s > tau, s, 0)}.get(loss, s)
    return float(np.real(np.sum(np.conj(w) * ((u * f) @ vh))))


@pytest.mark.parametrize(
    "name", ["torch", "jax", pytest.param("tensorflow", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.filterwarnings("default")
def test_frameworks_compute_the_same_loss(name: str, dtype: str) -> None:
    framework: Any = FRAMEWORKS[name]()
    framework.load()
    x = built_in("wide").matrices(dtype)
    assert x is not None
    w, tau = normal(x.shape, dtype, 0), np.array(0.7)
    for loss in LOSSES:
        expected = loss_in_numpy(loss, x, w, 0.7)
        problem = Problem(loss, x, w, tau, decompose(x))
        if loss in EXACT:
            got, _ = gradient(implement(framework, EXACT[loss]), problem)()
            assert np.allclose(framework.numpy(got), problem.exact.x.astype(dtype), atol=1e-11)
        native = implement(framework, "native")
        given = (x, tau) if loss in THRESHOLDED else (x,)
        inputs = tuple(native.array(a, "cpu") for a in given)
        (value,) = map(framework.numpy, native.value(Observable(loss), inputs))
        weighted = value if loss == "nuclear" else np.sum(np.conj(w) * value).real
        assert weighted == pytest.approx(expected, rel=1e-12)

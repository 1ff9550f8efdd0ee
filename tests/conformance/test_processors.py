"""``make processors`` runs the right programs, and notices a failure."""

from __future__ import annotations

import pytest
from support import processors
from support.processors import Result, Setting, environment, flags, measure, possible, row


def test_settings_are_those_the_processor_can_do():
    old = {s.name for s in possible(processors.SETTINGS, flags("flags\t\t: fpu sse4_2 avx\n"))}
    assert {"SSE4.2", "AVX"} < old
    assert "AVX2" not in old
    new = possible(processors.SETTINGS, flags("flags : avx avx2 avx512f"))
    assert new == processors.SETTINGS
    assert flags("") == set()


def test_a_setting_is_all_there_is_of_its_kind(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AVX")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    env = environment(Setting("an older one", {"XLA_FLAGS": "--a"}))
    assert "MKL_CBWR" not in env
    assert (env["XLA_FLAGS"], env["OMP_NUM_THREADS"]) == ("--a", "1")
    assert "OMP_NUM_THREADS" not in environment(Setting("threads not limited", {}))


def test_failures_of_both_tools_are_noticed():
    result = Result()
    outcomes = [
        {"id": "a", "status": "pass", "note": None, "tolerance_used": 0.25},
        {"id": "b", "status": "fail", "note": "not finite", "tolerance_used": None},
        {"id": "c", "status": "not applicable", "note": "", "tolerance_used": None},
    ]
    processors.of_suite(result, {"outcomes": outcomes})
    assert (result.tests, result.passed, result.suite) == (2, 1, 0.25)
    assert result.failures == ["b: not finite"]
    line = {"method": "svt", "framework": "numpy", "dtype": "complex64", "faults": ["non-finite"]}
    line |= {"error": 1e-6, "tau_error": 3e-6, "tolerance": 1e-5, "agreement": 2e-6}
    groups = [{"case": "zeros", "loss": "soft", "rows": [line]}]
    processors.of_compare(result, {"groups": groups}, "numpy")
    assert (result.single, result.double, result.compare) == (3e-6, 0.0, pytest.approx(0.2))
    assert result.failures[1] == "zeros, svt, numpy complex64: non-finite"
    assert row(Setting("plain", {}), "numpy", result)[2:4] == ["**1 of 2**", "25 %"]


def test_a_process_that_fails_is_noticed(monkeypatch):
    monkeypatch.setattr(processors, "PYTHON", ["false"])
    results, failures = measure(Setting("plain", {}))
    assert len(failures) == 4  # the suite twice, compare, pytest
    assert all("status 1" in failure for failure in failures)
    assert not any(result.tests for result in results.values())

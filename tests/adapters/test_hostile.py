"""A short hostile run; `make hostile` is the long one."""

from __future__ import annotations

import numpy as np
import pytest
from support import hostile


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_hostile_matrices(framework):
    tallies = hostile.run(1800, 300, [framework], seed=1)
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    assert faults == []
    assert min(tally.asked for tally in tallies.values()) >= 600
    compared = {name for (_, name), tally in tallies.items() if tally.compared > 500}
    assert compared == {n for n, q in hostile.QUESTIONS.items() if q.exact is not None}


def test_hostile_matrices_in_jax():
    tallies = hostile.run(600, 100, ["jax"], names=["svt"], seed=2)
    (tally,) = tallies.values()
    assert tally.faults == []
    assert tally.compared > 500


def test_a_wrong_derivative_is_found(monkeypatch):
    """The examination can fail: soft thresholding with twice its threshold in the formula."""
    monkeypatch.setattr(hostile, "TAU", 0.3)
    rng = np.random.default_rng(0)
    batch = hostile.draw(rng, 50, (4, 4), False, np.float64)
    tally = hostile.Tally()
    monkeypatch.setattr(hostile, "soft", lambda b, G: 1.001 * G)
    question = hostile.Question(hostile.QUESTIONS["svt"].call, lambda b, G: 1.001 * G)
    monkeypatch.setitem(hostile.QUESTIONS, "svt", question)
    with np.errstate(all="ignore"):
        hostile.examine("svt", "numpy", batch, tally)
    assert any("gradient is off" in fault for fault in tally.faults)

"""What ``driver="auto"`` tries for a matrix, and why: :func:`explain`."""

from __future__ import annotations

from inspect import getmembers
from typing import Any, NamedTuple

from svdinv_core.drivers import LADDER, Needs

from ._api import Functions
from ._calls import Driver
from ._dispatch import find_backend

__all__ = ["NEEDS", "Driver", "Rung", "explain"]

NEEDS: dict[str, Needs] = {
    name: method.needs for name, method in getmembers(Functions) if hasattr(method, "needs")
}
"""Which factors each public function needs, and how accurate."""


class Rung(NamedTuple):
    """One step of ``driver="auto"``: the driver, when it is tried, whether it is tried here."""

    driver: str
    when: str
    tried: bool


def explain(x: Any, function: str = "svt") -> tuple[Rung, ...]:
    """List the steps of ``driver="auto"`` for an array, from its shape, dtype and device.

    Parameters
    ----------
    x : array (..., m, n)
        Real or complex floating point. Its values are not read.
    function : str, default "svt"
        Name of a function of svdinv.

    Returns
    -------
    tuple of Rung
        In the order they are tried. The last step with ``tried=True`` is accurate for any values.
        An earlier one is taken if the computed values show that it is accurate enough.

    Raises
    ------
    TypeError
        If `x` is not an array of a known framework.
    ValueError
        For an unknown function.

    Examples
    --------
    >>> import numpy as np
    >>> from svdinv.drivers import explain
    >>> [step.driver for step in explain(np.ones((2000, 30))) if step.tried]
    ['gram', 'qr']
    """
    if function not in NEEDS:
        raise ValueError(f"function: expected one of {', '.join(NEEDS)}, got {function!r}")
    situation, needs = find_backend(x).situation(x), NEEDS[function]
    steps, done = [], False
    for step in LADDER:
        tried = not done and step.applies(situation, needs)
        done = done or (tried and step.make(situation, needs, True).exact)
        steps.append(Rung(step.driver, step.when, tried))
    return tuple(steps)

"""The cases, read from files: matrices, questions about them, and references at 50 digits.

``docs/conformance.md`` describes the files, for readers in other languages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DATA",
    "DTYPES",
    "LOOSEST",
    "NAMED",
    "SAFETY",
    "Case",
    "Observable",
    "Tolerance",
    "load_cases",
]

Array = NDArray[Any]

DATA = Path(__file__).parents[1] / "data" / "v1"
"""Folder of the cases that ship with this version."""

DTYPES = ("float32", "float64", "complex64", "complex128")

NAMED: dict[str, tuple[str, ...]] = {
    "shrink": ("singular_value_clip", "project_nuclear_ball", "range_projector", "schatten_norm",
               "spectral_norm", "spectral_function"),
    "invert": ("pinv", "procrustes", "lstsq"),
    "rotate": ("procrustes",),
    "roots": ("sqrtm", "inv_sqrtm", "powm", "logm", "expm"),
    "align": ("align_points",),
    "tensor": ("tensor_svt",),
}  # fmt: skip
"""Functions that are tested together, with an output for each."""

SAFETY = 64
"""Multiple of eps and of the amplification that counts as rounding."""

LOOSEST = 1e-2
"""A comparison that would need a larger tolerance is not judged."""

_SINGLE = {"float64": "float32", "complex128": "complex64"}


@dataclass(frozen=True)
class Observable:
    """A function of a matrix (and of a threshold): its name and its parameters."""

    kind: str
    """``"values"``, ``"reconstruction"``, ``"soft"``, ``"hard"``, ``"smooth"``, ``"low_rank"``,
    ``"projector"``, ``"polar"``, ``"nuclear"``, ``"hermitian"``, ``"factors"``,
    ``"shrink"``, ``"invert"``, ``"rotate"``, ``"roots"``, ``"align"``, ``"tensor"``,
    ``"truncated"``, ``"eigenvalues"`` or ``"gauge"``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of that kind, such as ``{"rank": 2}``."""


@dataclass(frozen=True)
class Tolerance:
    """The bound on a relative error: ``eps_factor * eps * condition``."""

    eps_factor: float
    """Multiple of eps that every implementation may have as error."""
    condition: float | None
    """How much the question itself amplifies rounding errors. None if only a finite answer is
    required: the precision cannot resolve the case, or it is a second derivative of the factors
    themselves at a tie."""

    def relative(self, dtype: str) -> float | None:
        """The tolerance in a dtype; None if there is none."""
        if self.condition is None:
            return None
        return self.eps_factor * self.condition * float(np.finfo(dtype).eps)


@dataclass(frozen=True, eq=False)
class Case:
    """One question in one dtype."""

    id: str
    """Name, such as ``soft/tall/pair-1e-08/complex``, the same for every dtype. A matrix with
    several losses has one case for each, ``factors/tall/tied/complex/left``."""
    observable: Observable
    """The function."""
    dtype: str
    """Dtype of the matrix."""
    inputs: Mapping[str, Array]
    """``a (..., m, n)``, and ``tau`` (a scalar, or one for each matrix) where there is one."""
    expected: str
    """``"success"``; ``"undefined"`` if no derivative exists and a finite one is required;
    ``"error"`` for a loss that depends on the choice of singular vectors."""
    reason: str
    """Why there is no derivative."""
    direction: Mapping[str, Array]
    cotangent: Mapping[str, Array]
    """Of each input, and of each output; no direction where reverse mode alone is asked for."""
    value: Mapping[str, Array]
    jvp: Mapping[str, Array]
    vjp: Mapping[str, Array]
    hvp: Mapping[str, Array]
    """Reference values, by output, output, input and input; empty where there are none, the value
    also where another case of the matrix has it. The
    second derivative is that of ``vjp`` along the direction."""
    tolerances: Mapping[str, Tolerance]
    """By quantity: ``"value"``, ``"jvp"``, ``"vjp"``, ``"hvp"``."""
    scale: Mapping[str, float]
    """Natural size of each quantity. An error is relative to the reference, or to a tenth of
    this if that is larger."""

    @property
    def name(self) -> str:
        """Id and dtype."""
        return f"{self.id}::{self.dtype}"


def _array(entry: Mapping[str, Any], dtype: str) -> Array:
    """Read an array of a file, in single precision if the case is in single precision."""
    data = np.array(entry["data"], dtype=np.float64)
    if entry["dtype"].startswith("complex"):
        data = data.reshape(-1, 2) @ np.array([1, 1j])
    double = dtype in ("float64", "complex128")
    return data.reshape(entry["shape"]).astype(
        entry["dtype"] if double else _SINGLE[entry["dtype"]]
    )


def _reference(entry: Mapping[str, Any]) -> Array:
    """Read a reference, in double precision whatever the dtype of the case."""
    return _array(entry, "float64")


def _tolerance(comparison: Mapping[str, Any], precision: str) -> Tolerance:
    if comparison["kind"] == "expect_finite":
        return Tolerance(0, None)
    return Tolerance(comparison["eps_factor"], comparison["condition"].get(precision))


def _parse(record: Mapping[str, Any], precision: str, probe: Mapping[str, Any]) -> Case:
    dtype = record["dtype"] if precision == "float64" else _SINGLE[record["dtype"]]
    comparison = record["comparison"]
    tolerances = {}
    if "first_order" in comparison:
        tolerance = _tolerance(comparison["first_order"], precision)
        tolerances = {"value": tolerance, "jvp": tolerance, "vjp": tolerance}
    if "second_order" in comparison:
        tolerances["hvp"] = _tolerance(comparison["second_order"], precision)
    alone = len(record["probes"]) == 1
    first = probe is record["probes"][0]
    cotangent = {
        name: probe["cotangent"].get(name, {**entry, "data": np.zeros(np.shape(entry["data"]))})
        for name, entry in record.get("value", probe["cotangent"]).items()
    }
    reference = probe.get("reference", {})
    options = dict(record["observable"])

    def arrays(entries: Mapping[str, Any]) -> dict[str, Array]:
        return {name: _array(entry, dtype) for name, entry in entries.items()}

    def references(entries: Mapping[str, Any]) -> dict[str, Array]:
        return {name: _reference(entry) for name, entry in entries.items()}

    return Case(
        id=record["case_id"] if alone else f"{record['case_id']}/{probe['probe_id']}",
        observable=Observable(options.pop("kind"), options),
        dtype=dtype,
        inputs=arrays(record["inputs"]),
        expected=record["expected_behavior"],
        reason=comparison.get("reason_code", ""),
        direction=arrays(record["probes"][0].get("direction", {})),
        cotangent=arrays(cotangent),
        value=references(record.get("value", {}) if first else {}),
        jvp=references(reference.get("jvp", {})),
        vjp=references(reference.get("vjp", {})),
        hvp=references(reference.get("hvp", {})),
        tolerances=tolerances,
        scale=record.get("scale", {}),
    )


def load_cases(dtypes: Iterable[str] = DTYPES, folder: Path = DATA) -> list[Case]:
    """Read the cases, each in every dtype that holds its inputs exactly.

    Parameters
    ----------
    dtypes
        Which of ``float32``, ``float64``, ``complex64``, ``complex128``.
    folder
        Where the files are; by default those of the package.

    Returns
    -------
    list of Case
        In the order of the files' names.

    Raises
    ------
    FileNotFoundError
        If the folder has none.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"no cases in {folder}")
    wanted = set(dtypes)
    cases = []
    for path in files:
        for record in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            for precision in record["precisions"]:
                dtype = record["dtype"] if precision == "float64" else _SINGLE[record["dtype"]]
                if dtype in wanted:
                    cases += [_parse(record, precision, probe) for probe in record["probes"]]
    return cases

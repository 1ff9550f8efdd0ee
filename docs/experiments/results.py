"""Result files: what a command was told, what it used, and what came out, as JSON."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["FOLDER", "Found", "Result", "mean_of", "read", "read_all", "write"]

Result = Mapping[str, Any]
Found = Mapping[str, Mapping[str, Result]]
"""Results by experiment and name."""

FOLDER = Path(__file__).parent / "results"


def _plain(value: Any) -> Any:
    """JSON has no infinity, no NaN and no NumPy; numbers keep six digits."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, bool | str | int) or value is None:
        return value
    if isinstance(value, np.integer):
        return int(value)
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a result file; numbers that are not finite become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_plain(content), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Read a result file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no result file ({error})") from None
    return content


def read_all(folder: Path) -> Found:
    """All result files in a folder, by experiment and name."""
    found: defaultdict[str, dict[str, Result]] = defaultdict(dict)
    for path in sorted(folder.glob("*.json")):
        content = read(path)
        found[content["experiment"]][path.stem] = content
    return found


def mean_of(test: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean of every metric over the images or series."""
    keys = next(iter(test.values()))
    return {key: float(np.mean([row[key] for row in test.values()])) for key in keys}

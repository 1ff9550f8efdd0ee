"""The tables of docs/transforms.md, from the cells the tests check and the table of limits.

python docs/figures/transforms.py
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "transforms.md"
BEGIN, END = "<!-- tables of transforms -->\n", "<!-- end of tables of transforms -->"
FRAMEWORKS = {"torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow", "autograd": "autograd"}


def transforms(framework: str) -> Any:
    """The transforms that the tests of a framework run every function under."""
    path = ROOT / "tests" / "transforms" / f"test_{framework}.py"
    spec = importlib.util.spec_from_file_location(f"transforms_of_{framework}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TRANSFORMS


def tables() -> str:
    """One table for each framework, and the rows of what it cannot do."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.insert(0, str(ROOT / "tests"))
    from support.observables import OBSERVABLES
    from support.transforms import function_of, limit
    from svdinv._limits import LIMITS

    functions = list(dict.fromkeys(map(function_of, OBSERVABLES)))
    numbers = {row.key: n for n, row in enumerate(LIMITS, 1)}
    lines = []
    for framework, title in FRAMEWORKS.items():
        lines += [f"## {title}", "", "| | " + " | ".join(f"`{f}`" for f in functions) + " |"]
        lines += ["|---" * (len(functions) + 1) + "|"]
        for transform in transforms(framework):
            cells = []
            for function in functions:
                names = [n for n in OBSERVABLES if function_of(n) == function]
                if transform.kind == "second":
                    names = [n for n in names if OBSERVABLES[n].second]
                rows = (limit(framework, transform.name, name, True) for name in names)
                found = sorted({numbers[row.key] for row in rows if row is not None})
                cells.append(" ".join(f"({n})" for n in found) or ("✓" if names else ""))
            lines.append(f"| {transform.name} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [
        "## What a framework cannot do",
        "",
        "| | | for | what is said |",
        "|---|---|---|---|",
    ]
    for row in LIMITS:
        names = ", ".join(f"`{n}`" for n in row.functions) or "every function"
        said = f"“{row.sentence}”" + (f": {row.advice}" if row.advice else "")
        only = " complex matrices:" if row.field == "complex" else ""
        where = f" ({row.upstream})" if row.upstream else ""
        lines.append(
            f"| ({numbers[row.key]}) | {FRAMEWORKS[row.framework]}, "
            f"{', '.join(row.transforms)} |{only} {names} | {said}{where} |"
        )
    return "\n".join(lines) + "\n"


def write(page: Path = PAGE) -> None:
    """Put the tables between their markers."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    page.write_text(before + BEGIN + tables() + END + rest.split(END)[1])


if __name__ == "__main__":
    write()

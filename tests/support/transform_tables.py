"""The tables of docs/transforms.md, from the cells the tests check and the table of limits.

python tests/support/transform_tables.py
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from svdinv._frameworks import FRAMEWORKS as KNOWN
from svdinv_conformance.markdown import markdown_table, write_between

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "transforms.md"
BEGIN, END = "<!-- tables of transforms -->", "<!-- end of tables of transforms -->"
TITLES = {"named": "`pinv`, `spectral_function`", "roots": "`expm`, `logm`, `sqrtm`"}
FRAMEWORKS = {name: known.title for name, known in KNOWN.items() if not known.explicit}


def tests_of(framework: str) -> Any:
    """The tests of a framework: the transforms, and which of them are the most used."""
    path = TESTS / "transforms" / f"test_{framework}.py"
    spec = importlib.util.spec_from_file_location(f"transforms_of_{framework}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tables() -> str:
    """One table for each framework, and the table of limits."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    from svdinv._limits import LIMITS

    from support.observables import OBSERVABLES
    from support.transforms import asked, function_of, limit

    functions = list(dict.fromkeys(map(function_of, OBSERVABLES)))
    numbers = {row.key: n for n, row in enumerate(LIMITS, 1)}
    parts = []
    for framework, title in FRAMEWORKS.items():
        body = []
        tests = tests_of(framework)
        for transform in tests.TRANSFORMS:
            cells = []
            for function in functions:
                names = [n for n in OBSERVABLES if function_of(n) == function]
                names = [n for n in names if asked(transform, n, tests.USUAL)]
                rows = (limit(framework, transform.name, name, True) for name in names)
                found = sorted({numbers[row.key] for row in rows if row is not None})
                cells.append(" ".join(f"({n})" for n in found) or ("✓" if names else ""))
            body.append([transform.name, *cells])
        parts += [
            f"## {title}",
            markdown_table(["", *(TITLES.get(f, f"`{f}`") for f in functions)], body),
        ]
    body = []
    for row in LIMITS:
        names = ", ".join(f"`{n}`" for n in row.functions) or "every function"
        said = f"“{row.sentence}”" + (f": {row.advice}" if row.advice else "")
        only = "complex matrices: " if row.field == "complex" else ""
        where = f" ({row.upstream})" if row.upstream else ""
        who = f"{FRAMEWORKS[row.framework]}, {', '.join(row.transforms)}"
        body.append([f"({numbers[row.key]})", who, only + names, said + where])
    limits = markdown_table(["", "", "for", "what is said"], body)
    return "\n\n".join([*parts, "## What a framework cannot do", limits]) + "\n"


if __name__ == "__main__":
    write_between(PAGE, tables(), BEGIN, END)

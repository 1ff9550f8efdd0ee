"""Write the public functions into every module, and the steps of `driver="auto"` into the docs.

`svdinv._api.Functions` has them once, with their documentation. The module of a framework needs
real functions, because these can be pickled, have their own names in errors, and have the
framework's array as static type. `make format` runs this, and a test compares the result with the
modules.
"""

from __future__ import annotations

import ast
from pathlib import Path

from svdinv._frameworks import FRAMEWORKS

from svdinv_core.drivers import LADDER

FOLDER = Path(__file__).parent / "svdinv"
START = "# Written by adapters/write_public.py, between this mark and the next.\n"
STOP = "# End of what is written.\n"

# For each module the type of its arrays, and whether it has the explicit `vjp` and `jvp`.
MODULES = {"__init__": ("Any", True)} | {
    name: (framework.array, framework.explicit) for name, framework in FRAMEWORKS.items()
}
# The files of the methods and of their result types.
FILES = (
    "_align.py",
    "_api.py",
    "_invert.py",
    "_measure.py",
    "_project.py",
    "_root.py",
    "_tensor.py",
    "_truncate.py",
)
# Further names that a module exports.
MORE = {"__init__": ["ConvergenceWarning", "GaugeError", "GaugeWarning"]}


def classes(file: str) -> dict[str, ast.ClassDef]:
    """The classes of a file, by name."""
    tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def methods(cls: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """The public methods of a class, in alphabetical order."""
    found = (node for node in cls.body if isinstance(node, ast.FunctionDef))
    return {
        node.name: node for node in sorted(found, key=lambda node: node.name) if node.name[0] != "_"
    }


def public(cls: ast.ClassDef, known: dict[str, ast.ClassDef]) -> dict[str, ast.FunctionDef]:
    """The public methods of a class and of its bases, in alphabetical order."""
    found = methods(cls)
    for base in cls.bases:
        name = ast.unparse(base).partition("[")[0]
        found |= public(known[name], known) if name in known else {}
    return dict(sorted(found.items()))


def function(method: ast.FunctionDef, cls: str) -> str:
    """The text of a function that calls the method of its name of the module's object of `cls`."""
    args = method.args
    first = args.posonlyargs or args.args
    del first[0]  # self
    given = [arg.arg for arg in args.posonlyargs + args.args]
    given += [f"*{args.vararg.arg}"] if args.vararg else []
    given += [f"{arg.arg}={arg.arg}" for arg in args.kwonlyargs]
    given += [f"**{args.kwarg.arg}"] if args.kwarg else []
    assert method.returns is not None
    return (
        f"@documented_by({cls})\n"
        f"def {method.name}({ast.unparse(args)}) -> {ast.unparse(method.returns)}:\n"
        f"    return _{cls.lower()}.{method.name}({', '.join(given)})\n"
    )


def block(module: str) -> str:
    """The text to write between the marks of a module, before formatting."""
    array, explicit = MODULES[module]
    api = {name: cls for file in FILES for name, cls in classes(file).items()}
    owned = {"Functions": public(api["Functions"], api)}
    if explicit:
        owned["Explicit"] = methods(classes("_explicit.py")["Explicit"])
    results = [name for name in api if name.endswith("Result")]
    names = [name for found in owned.values() for name in found]
    exported = sorted(results + MORE.get(module, [])) + sorted(["rules", *names])
    functions = [function(m, cls) for cls, found in owned.items() for m in found.values()]
    text = "\n\n".join([f"__all__ = {exported!r}\n", *functions])
    return text.replace("ArrayT", array)


def parts(module: str) -> tuple[str, str, str]:
    """The text of a module before, between and after the marks."""
    text = (FOLDER / f"{module}.py").read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    between, stop, after = rest.partition(STOP)
    if not start or not stop:
        raise SystemExit(f"{module}.py: has no line {START!r} followed by {STOP!r}")
    return before, between, after


def ladder(page: str) -> str:
    """docs/performance.md with the steps of ``driver="auto"``."""
    before, start, rest = page.partition("<!-- ladder: begin, written by `make format` -->\n")
    _, stop, after = rest.partition("<!-- ladder: end -->\n")
    if not start or not stop:
        raise SystemExit("docs/performance.md: the marks of the ladder are missing")
    rows = "".join(f"| {n} | `{s.driver}` | {s.when} |\n" for n, s in enumerate(LADDER, 1))
    table = f"\n| step | driver | tried where |\n|---|---|---|\n{rows}\n"
    return before + start + table + stop + after


def main() -> None:
    """Write every file whose text has changed."""
    page = FOLDER.parent.parent / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8")
    if ladder(text) != text:
        page.write_text(ladder(text), encoding="utf-8")
    for module in MODULES:
        before, between, after = parts(module)
        wanted = block(module)
        if ast.dump(ast.parse(between)) != ast.dump(ast.parse(wanted)):
            text = f"{before}{START}{wanted}{STOP}{after}"
            (FOLDER / f"{module}.py").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

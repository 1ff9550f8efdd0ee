"""Every claim of the README has a test, and every entry of claims.toml has a claim and a test."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import svdinv
from support.functions import CALLS, NAMED

TESTS = Path(__file__).resolve().parent
while TESTS.name != "tests":
    TESTS = TESTS.parent
README = (TESTS.parent / "README.md").read_text(encoding="utf-8")
CLAIMS = tomllib.loads((TESTS / "claims.toml").read_text(encoding="utf-8"))
# The functions in the tables of `support.functions` are tested by the tests that go through these.
for case in NAMED.values():
    CLAIMS["functions"].setdefault(case.function, []).append(
        "test_functions::test_derivatives_at_50_digits"
    )
for call in CALLS:
    CLAIMS["functions"].setdefault(call.function, []).append(
        "test_functions::test_every_framework_has_the_derivatives_of_numpy"
    )
# Timings are not tested, and a sentence that only introduces something is not a claim.
NO_CLAIM = (
    "A differentiable SVD that never",
    "One tiny matrix",
    "One line changes",
    "The same in JAX, and in TensorFlow:",
    "The picture has the same",
    "Guides, theory and reference",
    "The rules:",
    "has the error of each",
)


def section():
    """The part of the README with claims: from the top to the commands, without code."""
    return re.sub(r"```.*?```", "", README[: README.index("## Two commands")], flags=re.DOTALL)


def names(head):
    """The names in backticks in the first column of the table with a heading."""
    table = section()[section().index(f"| {head} |") :].split("\n\n")[0]
    cells = (row.split("|")[1] for row in table.splitlines()[2:])
    return {
        name.rpartition(".")[2] for cell in cells for name in re.findall(r"`([\w.]+)[^`]*`", cell)
    }


def sentences():
    """The sentences of the section's text."""
    paragraphs = (
        " ".join(p.split()) for p in section().split("\n\n") if not p.startswith(("|", "#", "!"))
    )
    found = (s for p in paragraphs for s in re.split(r"(?<=\.)\s+(?=[A-Z*`\[])", p))
    return [s for s in found if s and not any(part in s for part in NO_CLAIM)]


def test_every_function_has_a_row():
    functions = {name for name in svdinv.__all__ if name[0].islower()}
    assert names("function") == functions - {"rules"}  # a module


@pytest.mark.parametrize("head", ["function", "rule"])
def test_every_row_of_a_table_has_a_test(head):
    assert names(head) == set(CLAIMS[f"{head}s"])


def test_every_sentence_has_a_test_and_every_test_a_sentence():
    claims, found = CLAIMS["sentences"], sentences()
    assert len(found) >= len(claims) >= 10
    for sentence in found:
        assert any(claim in sentence for claim in claims), sentence
    for claim in claims:
        assert sum(claim in sentence for sentence in found) == 1, claim


def test_every_test_that_is_named_exists_and_asserts_something():
    for claims in CLAIMS.values():
        for claim, tests in claims.items():
            assert tests, claim
            for test in tests:
                file, _, function = test.partition("::")
                code = [
                    ast.unparse(node)
                    for path in TESTS.rglob(f"{file}.py")
                    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                    if isinstance(node, ast.FunctionDef) and node.name == function
                ]
                assert len(code) == 1, f"{claim}: {test}"
                assert re.search(r"assert|hold|check|raises", code[0]), f"{claim}: {test}"

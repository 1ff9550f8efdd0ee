"""Every Python example in the documents runs."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"\A---\nneeds: (.*)\n---\n")  # packages that only this document needs
LINK = re.compile(r"\]\(([^)#:]+)\)")


def run(document):
    """Run the blocks of a document in order, in one namespace; return it and the output."""
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in FENCE.findall(document.read_text()):
            exec(compile(block, str(document), "exec"), names)
    return names, printed.getvalue()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_examples_run(document):
    if needs := NEEDS.match(document.read_text()):
        for package in needs[1].split(", "):
            pytest.importorskip(package)
    with warnings.catch_warnings():
        if needs:
            warnings.simplefilter("ignore")  # warnings of those packages
        run(document)


def test_readme_prints_what_it_says():
    import numpy as np

    names, printed = run(ROOT / "README.md")
    native, ours = printed.split("tensor")[1:]
    assert native.count("nan") == 9
    assert np.array(eval(ours.strip())).round(6).tolist() == [[1.0] * 3] * 3
    for name in ("jax", "tensorflow"):
        np.testing.assert_allclose(names[f"gradient_in_{name}"], np.ones((3, 3)), atol=1e-6)
    np.testing.assert_allclose(names["ct_x"], [[1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 0]], atol=1e-15)

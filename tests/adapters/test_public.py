"""The public functions: generated for every module, and ordinary functions."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import multiprocessing
import pickle
import typing
from pathlib import Path

import numpy as np
import pytest
import svdinv
import svdinv.numpy
import torch
from svdinv import _frameworks
from svdinv._api import Driver, EighDriver, Functions, Gauge, Multiplets, TruncateDriver
from svdinv.drivers import NEEDS

from svdinv_core import Selection
from svdinv_core.drivers import BY_NAME, BY_NAME_HERMITIAN, LADDER

SCRIPT = Path(svdinv.__file__).parent.parent / "write_public.py"
MODULE_NAMES = tuple(_frameworks.FRAMEWORKS)
MODULES = ("svdinv", *(f"svdinv.{name}" for name in MODULE_NAMES if name != "cupy"))
NAMES = [name for name in dir(Functions) if not name.startswith("_")]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("write_public", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("module", ["__init__", *MODULE_NAMES])
def test_what_is_written_in_a_module_is_what_the_script_writes(script, module):
    assert set(script.MODULES) >= {module}
    _, between, _ = script.parts(module)
    wanted = script.block(module)
    assert ast.dump(ast.parse(between)) == ast.dump(ast.parse(wanted)), (
        "run `make format`, which runs adapters/write_public.py"
    )
    assert all(f"def {name}(" in wanted for name in NAMES)


def test_the_documents_have_the_ladder_of_the_code(script):
    text = (SCRIPT.parents[1] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert script.ladder(text) == text, "run `make format`, which runs adapters/write_public.py"
    assert all(f"| `{step.driver}` | {step.when} |" in text for step in LADDER)
    assert set(BY_NAME) <= {step.driver.partition(",")[0] for step in LADDER}


@pytest.mark.parametrize("module", MODULES)
def test_functions_pickle_and_bear_their_own_name(module):
    loaded = importlib.import_module(module)
    for name in NAMES:
        function = getattr(loaded, name)
        assert inspect.isfunction(function)
        assert (function.__module__, function.__qualname__) == (module, name)
        assert function.__doc__ == getattr(Functions, name).__doc__
        own = list(inspect.signature(getattr(Functions, name)).parameters.values())[1:]
        given = list(inspect.signature(function).parameters.values())
        assert [(p.name, p.kind, p.default) for p in given] == [
            (p.name, p.kind, p.default) for p in own
        ]
        assert pickle.loads(pickle.dumps(function)) is function
        part = pickle.loads(pickle.dumps(functools.partial(function, x=1)))
        assert part.func is function
        with pytest.raises(TypeError, match=rf"^{name}\(\) missing"):
            function()


def test_a_pool_of_processes_takes_a_function():
    matrices = [np.diag([3.0, k]) for k in range(3)]
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        results = pool.map(svdinv.numpy.nuclear_norm, matrices)
    np.testing.assert_allclose(results, [3.0, 4.0, 5.0])


class Holder(torch.nn.Module):
    """A module that keeps the function it calls."""

    def __init__(self):
        super().__init__()
        self.act = svdinv.torch.nuclear_norm


def test_torch_saves_a_module_that_holds_a_function(tmp_path):
    torch.save(Holder(), tmp_path / "module.pt")
    loaded = torch.load(tmp_path / "module.pt", weights_only=False)
    assert float(loaded.act(torch.eye(3))) == pytest.approx(3.0)


def test_choices_are_literal_types():
    assert typing.get_args(Driver) == ("auto", *BY_NAME)
    assert typing.get_args(TruncateDriver) == ("auto", *BY_NAME, "krylov")
    assert typing.get_args(Multiplets) == Selection.MODES
    assert typing.get_args(EighDriver) == ("auto", *BY_NAME_HERMITIAN)
    assert typing.get_args(Gauge) == ("ignore", "warn", "raise")
    hermitian = {name for name, needs in NEEDS.items() if needs == "eigenvectors"}
    assert set(NEEDS) == set(NAMES) - {"gauge_residual", "rule_residual"}  # which decompose nothing
    for name in NEEDS:
        hints = typing.get_type_hints(getattr(svdinv.numpy, name))
        part = (
            TruncateDriver if name in ("low_rank", "range_projector", "truncated_svd") else Driver
        )
        assert hints["driver"] == (EighDriver if name in hermitian else part)
    assert typing.get_type_hints(svdinv.numpy.svd)["gauge"] == Gauge


def test_explicit_derivatives_take_functions_of_any_module_of_ours_and_no_others():
    x = np.diag([3.0, 1.0])
    for function in (svdinv.svdvals, svdinv.numpy.svdvals, svdinv.torch.svdvals):
        _, pullback = svdinv.vjp(function, x)
        np.testing.assert_allclose(pullback(np.ones(2))[0], np.eye(2))
    for other in (np.linalg.svd, lambda x: x, functools.partial(svdinv.svdvals), svdinv.vjp):
        with pytest.raises(TypeError, match=r"^fn: expected a function of svdinv"):
            svdinv.vjp(other, x)

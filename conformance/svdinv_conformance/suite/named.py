"""Find an implementation by the name that a user types."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..frameworks import AUTODIFF, FRAMEWORKS, ArrayApiStrict, first_line
from ..inputs import InputError
from .autodiff import Autodiff
from .explicit import CORE_NAMES, Core, Explicit
from .implementation import Implementation, UnavailableError

__all__ = ["ADAPTERS", "KINDS", "NATIVE", "implement", "resolve"]

ADAPTERS = tuple(f"svdinv.{name}" for name in FRAMEWORKS)
"""The library's own modules."""

NATIVE = tuple(f"native.{name}" for name in AUTODIFF)
"""The frameworks' own functions."""

KINDS: dict[str, tuple[Callable[[], Any], Callable[..., Implementation]]] = {
    **{name: (bridge, Explicit) for name, bridge in FRAMEWORKS.items()},
    **{name: (bridge, Autodiff) for name, bridge in AUTODIFF.items()},
    "core": (FRAMEWORKS["numpy"], Core),
    "array-api": (ArrayApiStrict, Explicit),
}
"""Ways to differentiate the functions of a module: a framework; explicit ``vjp`` and ``jvp`` as in
`svdinv.numpy`; and for a copy of `svdinv_core` its own operators over NumPy."""


def implement(
    kind: str, module: Any, name: str, versions: Mapping[str, str] | None = None
) -> Implementation:
    """Make an implementation of a module's functions.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    module
        See :class:`~.implementation.Functions`; None for the framework's own functions.
    name
        What reports call it.
    versions
        Version of each further package that takes part.

    Raises
    ------
    UnavailableError
        If the framework cannot be imported here.
    """
    make, of = KINDS[kind]
    bridge = make()
    bridge.load()
    return of(bridge, bridge.native() if module is None else module, name, versions)


_REQUIRED = ("name", "versions", "check_device", "array", "numpy", "device", "value", "vjp", "jvp",
             "hvp")  # fmt: skip


def _import(name: str) -> Any:
    """Import a module, which may be in the current folder."""
    if not all(name.split(".")):
        raise InputError(f"{name or 'an empty name'}: not the name of a module")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(f"{name}: no such module, and no implementation of that name; known: "
                             f"{', '.join([*ADAPTERS, *NATIVE])}") from None  # fmt: skip
        raise UnavailableError(f"{name} cannot be imported: {first_line(error)}") from error
    except ImportError as error:
        raise UnavailableError(f"{name} cannot be imported: {first_line(error)}") from error
    except Exception as error:  # whatever a user's module does
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UnavailableError(f"{name} cannot be imported: {reason}") from error


def _version(module: Any) -> dict[str, str]:
    """Version of a module's package, if it has one."""
    package = module.__name__.partition(".")[0]
    try:
        return {package: version(package)}
    except PackageNotFoundError:
        found = getattr(importlib.import_module(package), "__version__", None)
        return {package: str(found)} if found else {}


def _object(spec: str) -> Implementation:
    """Resolve ``module:attribute``: an implementation, or a function or class that makes one."""
    module, _, attribute = spec.partition(":")
    if not attribute:
        raise InputError(f"{spec}: say which object of the module, after the colon")
    found: Any = _import(module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"{spec}: {module} has no {attribute}")
        found = getattr(found, part)
    if inspect.isclass(found) or inspect.isfunction(found):
        try:
            inspect.signature(found).bind()
        except TypeError as error:
            raise InputError(f"{spec}: cannot be called without arguments ({error})") from None
        try:
            found = found()
        except Exception as error:  # whatever a user's code does
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UnavailableError(f"{spec} cannot be called: {reason}") from error
    missing = [name for name in _REQUIRED if not hasattr(found, name)]
    if missing:
        raise InputError(f"{spec}: not an implementation, it has no {', '.join(missing)}")
    implementation: Implementation = found
    return implementation


def resolve(spec: str, kind: str | None = None) -> Implementation:
    """Make the implementation that a name stands for.

    Parameters
    ----------
    spec
        ``svdinv.torch`` and its like; ``native.torch`` and its like, for a framework's own SVD;
        ``package.module``, with ``kind``; or ``package.module:attribute`` for an object with the
        methods of :class:`~.implementation.Implementation`.
    kind
        What differentiates a module's functions: one of :data:`KINDS`.

    Raises
    ------
    InputError
        If there is no such implementation, or ``kind`` is missing or unknown.
    UnavailableError
        If it cannot be imported here.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"unknown framework {kind!r}; choose from {', '.join(KINDS)}")
    if ":" in spec:
        return _object(spec)
    if spec in NATIVE:
        return implement(spec.partition(".")[2], None, spec)
    if spec in ADAPTERS:
        kind = spec.partition(".")[2]
        FRAMEWORKS[kind]().load()  # quietly, and with a reason if it is not there
    module = _import(spec)
    if kind is None:
        raise InputError(f"{spec}: say whose arrays it takes with --framework "
                         f"({', '.join(KINDS)})")  # fmt: skip
    if kind not in ("core", "array-api") and not callable(getattr(module, "svd", None)):
        raise InputError(f"{spec}: exports no svd")
    if kind == "core":
        lacks = [name for name in CORE_NAMES if not hasattr(module, name)]
        if lacks:
            raise InputError(f"{spec}: no copy of svdinv_core, it has no {', '.join(lacks)}")
    return implement(kind, module, spec, _version(module))

"""The error message for a framework that cannot be imported."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["cannot_import"]


def cannot_import(error: ImportError, package: str, title: str, otherwise: str = "") -> ImportError:
    """The error to raise from `error`: it says what to install, or that an installation is broken.

    Parameters
    ----------
    error : ImportError
        The error that importing the framework raised.
    package : str
        Top-level package of the framework, which is also the name of our module and extra.
    title : str
        Name of the framework as its users write it.
    otherwise : str
        Other ways to install it.
    """
    extra = f"svdinv[{package}]"
    if sys.modules.get(package) is None and find_spec(package) is None:
        message = f"svdinv.{package} needs {title}: pip install {extra}{otherwise}"
    else:
        message = f"svdinv.{package}: the {title} installed here fails to import: {error}"
    return ImportError(message, name=error.name, path=error.path)

"""What to say where importing a framework fails."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["cannot_import"]


def cannot_import(error: ImportError, package: str, title: str, otherwise: str = "") -> ImportError:
    """The error to raise from `error`: what to install, or that what is installed is broken.

    Parameters
    ----------
    error : ImportError
        What importing the framework raised.
    package : str
        Its top-level package: the name of our module and of our extra, too.
    title : str
        Its name as its users write it.
    otherwise : str
        What else will do.
    """
    extra = f"svdinv[{package}]"
    if sys.modules.get(package) is None and find_spec(package) is None:
        message = f"svdinv.{package} needs {title}: pip install {extra}{otherwise}"
    else:
        message = f"svdinv.{package}: the {title} installed here fails to import: {error}"
    return ImportError(message, name=error.name, path=error.path)

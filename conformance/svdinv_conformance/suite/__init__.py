"""The conformance suite: cases with answers at 50 digits, and checks of any implementation.

>>> from svdinv_conformance.suite import load_cases, check_vjp, resolve
>>> implementation = resolve("svdinv.numpy")
>>> case = next(c for c in load_cases(["float64"]) if c.id == "soft/square/tied/real")
>>> bool(check_vjp(implementation, case) < 1)
True
"""

from . import checks
from .case import Case, Observable, Tolerance, load_cases
from .checks import *
from .implementation import Implementation, NotApplicable, UnavailableError
from .named import resolve
from .runner import Outcome, Report, Test, plan, run
from .xfails import Xfails, read_xfails

__all__ = [
    "Case",
    "Implementation",
    "NotApplicable",
    "Observable",
    "Outcome",
    "Report",
    "Test",
    "Tolerance",
    "UnavailableError",
    "Xfails",
    "load_cases",
    "plan",
    "read_xfails",
    "resolve",
    "run",
]
__all__ += checks.__all__

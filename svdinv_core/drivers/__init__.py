"""Drivers, which compute the factors of a matrix, and the choice between them.

A driver is one file. The derivatives do not depend on the driver, only on the factors.
"""

from .choice import (
    BY_NAME,
    BY_NAME_HERMITIAN,
    LADDER,
    LARGEST_JACOBI_ON_GPU,
    TALL,
    DriverName,
    EighDriverName,
    Looks,
    Needs,
    Situation,
    by_name,
    compute_factors,
    select,
)
from .driver import Driver
from .gram import Gram
from .jacobi import Jacobi
from .krylov import Krylov, Triples, leading, suits_krylov
from .native import Native, native
from .qr import BlockQR
from .rescue import rescue, rescuers

__all__ = [
    "BY_NAME",
    "BY_NAME_HERMITIAN",
    "LADDER",
    "LARGEST_JACOBI_ON_GPU",
    "TALL",
    "BlockQR",
    "Driver",
    "DriverName",
    "EighDriverName",
    "Gram",
    "Jacobi",
    "Krylov",
    "Looks",
    "Native",
    "Needs",
    "Situation",
    "Triples",
    "by_name",
    "compute_factors",
    "leading",
    "native",
    "rescue",
    "rescuers",
    "select",
    "suits_krylov",
]

"""Differentiable singular value decomposition, over any array namespace.

The formulas and nothing else: no framework is imported, none is known by name. Every
function takes the array namespace ``xp`` it is to compute in (:class:`.namespace.Namespace`
lists what is asked of it). The folder may be copied into another package, under any name.
"""

from .namespace import Namespace
from .rules import (
    Clip,
    Inv,
    Lorentzian,
    Pinv,
    Plain,
    Rule,
    Taylor,
    Tf,
    get_rule,
    rule_names,
)
from .spectral import Operator, SingularValues, SoftThreshold
from .svd import SVD, SVDFactors

__all__ = [
    "SVD",
    "Clip",
    "Inv",
    "Lorentzian",
    "Namespace",
    "Operator",
    "Pinv",
    "Plain",
    "Rule",
    "SVDFactors",
    "SingularValues",
    "SoftThreshold",
    "Taylor",
    "Tf",
    "get_rule",
    "rule_names",
]

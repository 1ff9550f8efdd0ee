"""Differentiable singular value decomposition, over any array namespace.

The formulas and nothing else: no framework is imported, none is known by name. Every
function takes the array namespace ``xp`` it is to compute in (:class:`.namespace.Namespace`
lists what is asked of it). The folder may be copied into another package, under any name;
its licence is in it.
"""

from .complex_step import complex_step_slope
from .drivers import Driver, Gram, Native, Situation, by_name, compute_factors, select
from .gauge import gauge_residual, rule_residual
from .hermitian import (
    EigenvalueMap,
    Eigenvalues,
    Eigh,
    EighFactors,
    RecomposeHermitian,
    eigenvalue_coefficients,
)
from .low_rank import LowRank
from .midpoint import apply_at_midpoint, decompose_at_midpoint
from .namespace import Namespace
from .operator import Decomposition, Operator
from .rules import (
    Clip,
    Fit,
    Inv,
    Lorentzian,
    Pinv,
    Plain,
    Rule,
    Taylor,
    Tf,
    default_gauge_rtol,
    get_rule,
    rule_names,
)
from .scaled import ScaledFactors, ScaledOperator, ScaledSVD
from .soft_threshold import SoftThreshold
from .spectral import (
    NuclearNorm,
    Polar,
    Recompose,
    SingularValueMap,
    SingularValues,
    SpectralOperator,
    Unitary,
    loewner_coefficients,
)
from .svd import SVD, SVDFactors

__version__ = "0.1.0.dev0"

__all__ = [
    "SVD",
    "Clip",
    "Decomposition",
    "Driver",
    "EigenvalueMap",
    "Eigenvalues",
    "Eigh",
    "EighFactors",
    "Fit",
    "Gram",
    "Inv",
    "Lorentzian",
    "LowRank",
    "Namespace",
    "Native",
    "NuclearNorm",
    "Operator",
    "Pinv",
    "Plain",
    "Polar",
    "Recompose",
    "RecomposeHermitian",
    "Rule",
    "SVDFactors",
    "ScaledFactors",
    "ScaledOperator",
    "ScaledSVD",
    "SingularValueMap",
    "SingularValues",
    "Situation",
    "SoftThreshold",
    "SpectralOperator",
    "Taylor",
    "Tf",
    "Unitary",
    "apply_at_midpoint",
    "by_name",
    "complex_step_slope",
    "compute_factors",
    "decompose_at_midpoint",
    "default_gauge_rtol",
    "eigenvalue_coefficients",
    "gauge_residual",
    "get_rule",
    "loewner_coefficients",
    "rule_names",
    "rule_residual",
    "select",
]

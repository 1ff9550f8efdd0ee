"""Differentiable singular value decomposition, over any array namespace.

This package holds the formulas only. It imports no framework and knows none by name. Every
function takes the array namespace ``xp`` in which it computes; :class:`.namespace.Namespace` lists
the functions that ``xp`` needs. The folder may be copied into another package under any name; it
contains its licence.
"""

from . import rules
from .alignment import Moments, Overlap, Placement, alignment_margin
from .arrays import adjoint, counted, first
from .clipping import SingularValueClip
from .complex_step import NOT_ANALYTIC, complex_step_jacobian, complex_step_slope
from .curvature import complex_step_curvature, complex_step_hessian
from .derivative import Pulled, Pushed, pulled, pushed, with_exact
from .drivers import *
from .gauge import gauge_residual, rule_residual
from .hermitian import (
    EigenvalueMap,
    Eigenvalues,
    Eigh,
    EighFactors,
    HermitianFunction,
    RecomposeHermitian,
    eigenvalue_coefficients,
)
from .jets import EigenvalueJet, SingularValueJet
from .linear import ConvergenceWarning, Dense, Given, Linear
from .low_rank import LowRank
from .midpoint import apply_at_midpoint, decompose_at_midpoint, mean_by_gauss, without_third
from .namespace import Namespace
from .norms import SchattenNorm, SpectralFunction, SpectralNorm
from .nuclear_ball import NuclearBall
from .operator import Decomposition, MatrixFunction, Operator, Point, Tangents, any_tied
from .pseudoinverse import Pseudoinverse, RangeProjector, kept_values
from .roots import Exponential, InverseSquareRoot, Logarithm, Power, SquareRoot
from .rules import *
from .scaled import ScaledFactors, ScaledOperator, ScaledSVD
from .selection import Kept, Selection
from .slopes import MIXES, Refuse, jacobian, slope_of_each
from .soft_threshold import SoftThreshold
from .spectral import (
    FactorsOperator,
    NuclearNorm,
    Polar,
    Recompose,
    ScalarOperator,
    SingularValueMap,
    SingularValues,
    SpectralOperator,
    Unitary,
    loewner_coefficients,
)
from .step import Product, RealProduct, SquaredResiduals, Step
from .svd import SVD, SVDFactors
from .tensor import AlongLastAxis, MoveAxis, cosine_transform, fourier_transform
from .truncated import (
    NO_SECOND_DERIVATIVE,
    BestApproximation,
    KeepColumns,
    LeadingFactors,
    LeadingProjector,
    LinearProduct,
    Outside,
)
from .weighted import WeightedThreshold

__version__ = "0.1.0"

__all__ = [
    "MIXES",
    "NOT_ANALYTIC",
    "NO_SECOND_DERIVATIVE",
    "SVD",
    "AlongLastAxis",
    "BestApproximation",
    "BlockQR",
    "ConvergenceWarning",
    "Decomposition",
    "Dense",
    "Driver",
    "EigenvalueJet",
    "EigenvalueMap",
    "Eigenvalues",
    "Eigh",
    "EighFactors",
    "Exponential",
    "FactorsOperator",
    "Given",
    "Gram",
    "HermitianFunction",
    "InverseSquareRoot",
    "Jacobi",
    "KeepColumns",
    "Kept",
    "Krylov",
    "LeadingFactors",
    "LeadingProjector",
    "Linear",
    "LinearProduct",
    "Logarithm",
    "LowRank",
    "MatrixFunction",
    "Moments",
    "MoveAxis",
    "Namespace",
    "Native",
    "NuclearBall",
    "NuclearNorm",
    "Operator",
    "Outside",
    "Overlap",
    "Placement",
    "Point",
    "Polar",
    "Power",
    "Product",
    "Pseudoinverse",
    "Pulled",
    "Pushed",
    "RangeProjector",
    "RealProduct",
    "Recompose",
    "RecomposeHermitian",
    "Refuse",
    "SVDFactors",
    "ScalarOperator",
    "ScaledFactors",
    "ScaledOperator",
    "ScaledSVD",
    "SchattenNorm",
    "Selection",
    "SingularValueClip",
    "SingularValueJet",
    "SingularValueMap",
    "SingularValues",
    "Situation",
    "SoftThreshold",
    "SpectralFunction",
    "SpectralNorm",
    "SpectralOperator",
    "SquareRoot",
    "SquaredResiduals",
    "Step",
    "Tangents",
    "Triples",
    "Unitary",
    "WeightedThreshold",
    "adjoint",
    "alignment_margin",
    "any_tied",
    "apply_at_midpoint",
    "by_name",
    "complex_step_curvature",
    "complex_step_hessian",
    "complex_step_jacobian",
    "complex_step_slope",
    "compute_factors",
    "cosine_transform",
    "counted",
    "decompose_at_midpoint",
    "eigenvalue_coefficients",
    "first",
    "fourier_transform",
    "gauge_residual",
    "jacobian",
    "kept_values",
    "leading",
    "loewner_coefficients",
    "mean_by_gauss",
    "pulled",
    "pushed",
    "rule_residual",
    "select",
    "slope_of_each",
    "suits_krylov",
    "with_exact",
    "without_third",
]
__all__ += rules.__all__

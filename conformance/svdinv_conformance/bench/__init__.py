"""Time one step of singular value thresholding, forward and backward, beside the framework's own.

A side is a way to compute the step: ``svdinv`` (:func:`svt`), ``native`` (the framework's SVD,
threshold, recomposition and differentiation), ``svd`` (the framework's bare decomposition, forward
only, as a yardstick), or any implementation of the conformance protocol. All sides of a shape are
timed in turn, A B C A B C, so that a machine whose speed drifts drifts for all of them.
"""

from .measure import Measured, Shape, Timing, measure
from .steps import TIMED, steps_of

__all__ = ["TIMED", "Measured", "Shape", "Timing", "measure", "steps_of"]

"""Time one step of singular value thresholding, forward and backward, and the framework's own.

A side is a way to compute the step: ``svdinv`` (:func:`svt`), ``native`` (the framework's SVD,
threshold, recomposition and differentiation), ``svd`` (the framework's decomposition alone, forward
only, for comparison), or any implementation of the conformance protocol. The sides of a shape take
turns, A B C A B C, so that changes of the machine's speed affect all of them.
"""

from .measure import Measured, Shape, Timing, measure
from .steps import TIMED, steps_of

__all__ = ["TIMED", "Measured", "Shape", "Timing", "measure", "steps_of"]

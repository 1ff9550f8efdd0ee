"""The public function that aligns sets of points."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

from svdinv_core import Moments, Overlap, Placement, Unitary, alignment_margin

from ._calls import Calls, Driver, needs
from ._checks import (
    check_broadcast,
    check_driver,
    check_points,
    check_same_shape,
    check_value_weights,
)
from ._driver import factors_for

__all__ = ["Align", "AlignmentResult"]

ArrayT = TypeVar("ArrayT")


class AlignmentResult(NamedTuple, Generic[ArrayT]):
    """``q ~ scale * p @ rotation^T + translation``; `margin` is 0 if R is not unique."""

    rotation: ArrayT
    translation: ArrayT
    scale: ArrayT
    margin: ArrayT


class Align(Calls[ArrayT]):
    """Functions of two sets of points."""

    @needs("all values")
    def align_points(
        self,
        p: ArrayT,
        q: ArrayT,
        weights: Any = None,
        /,
        *,
        scale: bool = False,
        reflection: bool = False,
        driver: Driver = "auto",
    ) -> AlignmentResult[ArrayT]:
        """Rotation, translation and scale that take points to their partners (Kabsch, Umeyama).

        Parameters
        ----------
        p, q : array (..., N, d)
            Points as rows, real, of any dimension d of at least 1; ``q[..., i, :]`` belongs to
            ``p[..., i, :]``.
        weights : array (..., N), optional
            Weights of the pairs, at least 0. Only their ratios matter; a pair of weight 0 is
            ignored. Differentiable. Signs are not checked.
        scale : bool, default False
            Whether to look for a scale as well.
        reflection : bool, default False
            Whether `rotation` may have determinant -1.
        driver : Driver, default "auto"
            As for `procrustes`, of the d-by-d covariance.

        Returns
        -------
        AlignmentResult
            ``rotation (..., d, d)``, ``translation (..., d)``, ``scale (...)`` and
            ``margin (...)``. The first three minimise
            ``sum w |scale p R^T + translation - q|^2``. The margin is
            ``(S[d-2] + sign S[d-1])/S[0]`` of the covariance (``S[d-1]/S[0]`` with `reflection`).
            It is 0 where another rotation is as good (points on a line in three dimensions, a
            mirrored cube); the gradient of `rotation` grows as 1/margin.

        Raises
        ------
        TypeError
            If `p` or `q` is not a real floating-point array, or `weights` is not real.
        ValueError
            If `p` has fewer than two dimensions or d is 0, if `q` does not have the shape of `p`,
            if `weights` does not broadcast to ``p.shape[:-1]``, or for an unknown `driver`.

        Notes
        -----
        Gradient: exact in `p`, `q` and `weights` wherever the rotation is unique. This includes
        symmetric sets of points, whose covariance has repeated singular values. Elsewhere it is
        finite. The margin has no gradient.

        References
        ----------
        Kabsch (1976); Umeyama, "Least-squares estimation of transformation parameters between
        two point patterns", IEEE Trans. PAMI 13 (1991).

        Examples
        --------
        >>> import numpy as np
        >>> import svdinv
        >>> p = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> q = np.array([[5.0, 0.0], [5.0, 2.0], [3.0, 0.0]])
        >>> rotation, translation, scale, margin = svdinv.align_points(p, q, scale=True)
        >>> (2.0 * rotation).round(6) + 0.0
        array([[ 0., -2.],
               [ 2.,  0.]])
        >>> translation.round(6) + 0.0
        array([5., 0.])
        """
        check_driver(driver)
        backend, points, dtype, shape = self._prepare(p, "p")
        check_points(points.dtype, shape)
        partners = self._companion("q", q, backend, points)
        check_same_shape("q", backend.shape(partners), shape)
        xp = backend.xp
        if weights is None:
            share = xp.ones_like(points[..., 0])
        else:
            check_value_weights(weights, relative=False)
            share = self._real("weights", weights, backend, points)
            check_broadcast("weights", backend.shape(share), shape[:-1])
        M, p0, q0, spread = backend.run(Moments(), points, partners, share)
        special = not reflection
        rotate = Unitary(special=special)
        raw = factors_for(backend, rotate, M, (), driver)
        (rotation,) = backend.apply(rotate, M, raw, ())
        (overlap,) = backend.apply(Overlap(special=special), M, raw, ())
        translation, factor = backend.run(
            Placement(scale=bool(scale)), rotation, p0, q0, overlap, spread
        )
        margin = alignment_margin(xp, raw, special)
        results = (rotation, translation, factor, margin)
        return AlignmentResult(*(self._finish(backend, result, dtype) for result in results))

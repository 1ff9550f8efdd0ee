"""Implementations with a planted defect, and the same without it."""

from __future__ import annotations

import numpy as np
import svdinv
import svdinv.numpy
from svdinv_conformance.frameworks import ArrayApiStrict, NumPy
from svdinv_conformance.suite.explicit import Explicit


def adjoint(x):
    return np.conj(np.swapaxes(x, -1, -2))


def factors(inputs):
    return np.linalg.svd(inputs[0], full_matrices=False)


class Sound(Explicit):
    """svdinv over NumPy."""

    def __init__(self):
        super().__init__(NumPy(), svdinv.numpy, type(self).__name__)


class ZeroedOnTies(Sound):
    """``F`` is set to zero where two values are equal."""

    def _plan(self, observable, inputs):
        fn, args, keywords, step = super()._plan(observable, inputs)
        return fn, args, keywords | {"rule": "tf"}, step


class FromTheRule(Sound):
    """A linear rule, which is right for products, is used for every loss of the factors."""

    def _plan(self, observable, inputs):
        fn, args, keywords, step = super()._plan(observable, inputs)
        return fn, args, keywords | {"rule": "inv"}, step


class NoPhase(Sound):
    """The diagonal of the ``1/total`` term, the phase of complex vectors, is left out."""

    def vjp(self, observable, inputs, cotangents):
        (ct,) = super().vjp(observable, inputs, cotangents)
        U, _, Vh = factors(inputs)
        P = adjoint(U) @ cotangents[0] @ adjoint(Vh)
        return (ct - 1j * (U * np.imag(np.diagonal(P))) @ Vh,)


class NoConjugate(Sound):
    """The gradient is the conjugate of what it should be."""

    def vjp(self, observable, inputs, cotangents):
        return tuple(map(np.conj, super().vjp(observable, inputs, cotangents)))


class NoTau(Sound):
    """The threshold gets no gradient."""

    def vjp(self, observable, inputs, cotangents):
        ct, tau = super().vjp(observable, inputs, cotangents)
        return ct, np.zeros_like(tau)


class NoComplement(Sound):
    """``(I - U U^H) ct_U / S`` is left out, as if every matrix were square."""

    def vjp(self, observable, inputs, cotangents):
        ct, *rest = super().vjp(observable, inputs, cotangents)
        U, _, _ = factors(inputs)
        return (U @ (adjoint(U) @ ct), *rest)


class WideAsTall(Sound):
    """The complement is taken on the left only, where a wide matrix has none."""

    def vjp(self, observable, inputs, cotangents):
        ct, *rest = super().vjp(observable, inputs, cotangents)
        _, _, Vh = factors(inputs)
        return ((ct @ adjoint(Vh)) @ Vh, *rest)


class AbsoluteTolerance(Sound):
    """A value is zero when it is below 1e-12, whatever the matrix."""

    def vjp(self, observable, inputs, cotangents):
        U, S, Vh = factors(inputs)
        return (cotangents[0] * ((U * (S > 1e-12)) @ Vh),)


class SingleInside(Sound):
    """Double precision is computed in single precision."""

    def vjp(self, observable, inputs, cotangents):
        narrow = [tuple(x.astype(np.float32) for x in y) for y in (inputs, cotangents)]
        return tuple(x.astype(np.float64) for x in super().vjp(observable, *narrow))


class NotAdjoint(Sound):
    """Forward mode forgets that both factors move."""

    def jvp(self, observable, inputs, tangents):
        (dy,) = super().jvp(observable, inputs, tangents)
        U, _, _ = factors(inputs)
        return (dy - U @ (adjoint(U) @ dy) / 2,)


class SpoiltBatch(Sound):
    """One NaN makes every matrix of the batch NaN."""

    def vjp(self, observable, inputs, cotangents):
        grads = super().vjp(observable, inputs, cotangents)
        return tuple(g + 0 * np.sum(inputs[0]).real for g in grads)


class OneOfManyBases(Sound):
    """The gradient is differentiated through ``svd``, whose rule sees one basis of tied vectors."""

    def hvp(self, observable, inputs, cotangents, tangents):
        (U, _, Vh), (dU, _, dVh) = svdinv.numpy.jvp(svdinv.numpy.svd, inputs, tangents)
        return (cotangents[0] * (dU @ Vh + U @ dVh),)  # the gradient of the nuclear norm is U Vh


class InPlace(Sound):
    """The matrix is overwritten, as by LAPACK with ``overwrite_a``."""

    def vjp(self, observable, inputs, cotangents):
        grads = super().vjp(observable, inputs, cotangents)
        inputs[0][...] = factors(inputs)[0] @ np.diag(factors(inputs)[1])
        return grads


class SoundDevice(Explicit):
    """svdinv over array-api-strict."""

    def __init__(self):
        super().__init__(ArrayApiStrict(), svdinv, type(self).__name__)


class WrongDevice(SoundDevice):
    """The gradient is on the default device."""

    def vjp(self, observable, inputs, cotangents):
        grads = super().vjp(observable, inputs, cotangents)
        return tuple(g.to_device(self.bridge.xp.Device("CPU_DEVICE")) for g in grads)

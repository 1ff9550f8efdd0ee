"""Losses of U, S and Vh that are functions of the matrix: cotangents, and exact gradients.

Each is ``Re <W, B>`` with B one of ``U f(S) V^H``, ``U f(S) U^H``, ``V f(S) V^H``, ``U^H U``, or a
function of the values; a sum of several is a list of names. The gradient is by the divided
differences of f, from factors that are known.
"""

from __future__ import annotations

import numpy as np

from .arrays import adjoint
from .family import normal

CUT = 0.35  # no value of these tests' spectra is near it


def _kept(s):
    return (s > CUT).astype(s.dtype)


# f and its derivative
FUNCTIONS = {
    "identity": (lambda s: 1 * s, np.ones_like),
    "cube": (lambda s: s**3, lambda s: 3 * s**2),
    "soft": (lambda s: _kept(s) * (s - s.dtype.type(CUT)), _kept),
    "tanh": (np.tanh, lambda s: 1 - np.tanh(s) ** 2),
    "inverse": (lambda s: 1 / s, lambda s: -1 / s**2),
    "one": (np.ones_like, np.zeros_like),
    "projector": (_kept, np.zeros_like),
    "square": (lambda s: s**2, lambda s: 2 * s),
}
LOSSES = {
    "c S": ("product", "identity"),
    "S^3": ("product", "cube"),
    "soft": ("product", "soft"),
    "tanh": ("product", "tanh"),
    "1/S": ("product", "inverse"),
    "U Vh": ("product", "one"),
    "left projector": ("left", "projector"),
    "right projector": ("right", "projector"),
    "(US)(US)^H": ("left", "square"),
    "U^H U": ("constant", "one"),
    "values": ("values", "tanh"),
}


def _real_diagonal(x):
    return np.real(np.diagonal(x, axis1=-2, axis2=-1))


def weights(rng, loss, x):
    m, n = x.shape[-2:]
    k = min(m, n)
    rows, columns = {"left": (m, m), "right": (n, n), "constant": (k, k)}.get(
        LOSSES[loss][0], (m, n)
    )
    W = normal(rng, (*x.shape[:-2], rows, columns), np.iscomplexobj(x))
    return W.astype(x.dtype)


def cotangents(loss, U, S, Vh, W):
    """The cotangents of U, S and Vh."""
    kind, f = LOSSES[loss]
    f, slope = FUNCTIONS[f]
    V, zeros = adjoint(Vh), np.zeros_like
    if kind == "values":
        return zeros(U), slope(S), zeros(Vh)
    if kind == "constant":
        return U @ (W + adjoint(W)), zeros(S), zeros(Vh)
    if kind == "product":
        diagonal = _real_diagonal(adjoint(U) @ W @ V)
        return W @ V * f(S)[..., None, :], slope(S) * diagonal, f(S)[..., None] * (adjoint(U) @ W)
    Q = U if kind == "left" else V
    ct_Q = (W + adjoint(W)) @ Q * f(S)[..., None, :]
    ct_S = slope(S) * _real_diagonal(adjoint(Q) @ W @ Q)
    return (ct_Q, ct_S, zeros(Vh)) if kind == "left" else (zeros(U), ct_S, adjoint(ct_Q))


def gradient(loss, U, S, Vh, W):
    """The exact gradient, for values that are equal or far apart."""
    kind, f = LOSSES[loss]
    f, slope = FUNCTIONS[f]
    V, Uh = adjoint(Vh), adjoint(U)
    if kind == "constant":
        return np.zeros_like(U @ Vh)
    if kind == "values":
        return (U * slope(S)[..., None, :]) @ Vh
    i, j = S[..., :, None], S[..., None, :]
    tied = np.abs(i - j) < 1e-12
    difference = (f(j) - f(i)) / np.where(tied, 1, j - i)
    divided = np.where(tied, slope((i + j) / 2), difference)
    c = (f(S) / S)[..., None, :]
    if kind == "product":
        P = Uh @ W @ V
        core = divided * (P + adjoint(P)) / 2 + (f(i) + f(j)) / (i + j) * (P - adjoint(P)) / 2
        outside = ((W @ V - U @ P) * c) @ Vh + (U * c) @ (Uh @ W - P @ Vh)
        return U @ core @ Vh + outside
    Q = U if kind == "left" else V
    G = (W + adjoint(W)) @ Q
    H = (adjoint(Q) @ G) / 2
    skew = H * (f(j) - f(i)) / (i + j)
    outside = (G - Q @ (adjoint(Q) @ G)) * c
    if kind == "left":
        return U @ (divided * H + skew) @ Vh + outside @ Vh
    return U @ (divided * H - skew) @ Vh + (U @ adjoint(outside))

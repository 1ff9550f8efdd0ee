"""``U diag(f) Vh`` over any array namespace, and its chain rule, for what has no autodiff."""

from __future__ import annotations

from typing import Any

__all__ = ["adjoint", "pull_back", "scale_columns"]


def adjoint(xp: Any, x: Any) -> Any:
    """Transpose and conjugate."""
    return xp.conj(xp.matrix_transpose(x))


def scale_columns(xp: Any, u: Any, f: Any) -> Any:
    """Multiply the columns of U by real numbers."""
    return u * xp.expand_dims(xp.astype(f, u.dtype), axis=-2)


def pull_back(xp: Any, u: Any, f: Any, vh: Any, ct: Any) -> tuple[Any, Any, Any]:
    """Pull a cotangent of ``U diag(f) Vh`` back to U, f and Vh.

    Parameters
    ----------
    xp
        Array namespace.
    u, f, vh
        ``(..., m, k)``, ``(..., k)`` real, ``(..., k, n)``.
    ct
        ``(..., m, n)``.
    """
    ct_vh = xp.expand_dims(xp.astype(f, u.dtype), axis=-1) * (adjoint(xp, u) @ ct)
    ct_v = ct @ adjoint(xp, vh)
    inner = xp.conj(u) * ct_v
    real = xp.real(inner) if xp.isdtype(inner.dtype, "complex floating") else inner
    return scale_columns(xp, ct_v, f), xp.sum(real, axis=-2), ct_vh

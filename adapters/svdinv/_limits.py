"""What a framework itself cannot do: one table for error messages, tests and documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["LIMITS", "Limit", "limit"]


@dataclass(frozen=True)
class Limit:
    """One row of the table.

    Parameters
    ----------
    key : str
        Name by which `limit` finds the row.
    framework : str
    transforms : tuple of str
        Names from the table of transforms.
    functions : tuple of str
        Names of functions (or "svd tanh" for one loss of them); empty for all.
    field : {"any", "complex"}
        "complex" if the limit holds for complex matrices only.
    sentence : str
        The error message: ours, or the framework's if it raises before we can.
    advice : str
        For a message of the framework: what it means, and what to do instead.
    upstream : str
        The framework's issue or documentation about this limit.
    error : type or None
        The exception that is raised. None if nothing is raised but the value differs from that in
        other frameworks or transforms; the sentence then says how.
    """

    key: str
    framework: str
    transforms: tuple[str, ...]
    sentence: str
    functions: tuple[str, ...] = ()
    field: str = "any"
    advice: str = ""
    upstream: str = ""
    error: type[Exception] | None = NotImplementedError

    @property
    def pattern(self) -> str:
        """The sentence as a regular expression."""
        return re.escape(self.sentence)

    def excludes(self, framework: str, transform: str, function: str, is_complex: bool) -> bool:
        """Whether this limit applies to a cell of the table of transforms."""
        return (
            framework == self.framework
            and (is_complex or self.field == "any")
            and (not self.functions or function in self.functions)
            and transform in self.transforms
        )


_LINEAR = "the gradient is that of the rule 'inv', which differs at repeated values"

_OF_SVD = (
    "svd",
    "svd tanh",
    "svdvals",
    "svt",
    "svt relative",
    "singular_value_map",
    "low_rank",
    "nuclear_norm",
    "polar unitary",
    "polar positive",
    "procrustes",
    "gauge_residual",
)

_DIFFERENTIATED = (
    *(name for name in _OF_SVD if name != "gauge_residual"),
    "procrustes special",
    "eigh",
    "eigenvalue_map",
)

LIMITS: tuple[Limit, ...] = (
    Limit(
        "torch, forward mode of auto",
        "torch",
        ("forward_ad", "func.jvp", "vmap(jvp)", "jacfwd", "compile(jvp)"),
        _LINEAR,
        functions=("svd tanh",),
        error=None,
    ),
    Limit(
        "torch, compiled func of auto",
        "torch",
        ("compile(grad)", "compile(vjp)", "compile(vmap(grad))"),
        _LINEAR,
        functions=("svd tanh",),
        error=None,
        upstream="pytorch/pytorch#193279",
    ),
    Limit(
        "jax, forward mode of auto",
        "jax",
        ("jvp", "linearize", "jit(jvp)", "vmap(jvp)", "jacfwd"),
        _LINEAR,
        functions=("svd tanh",),
        error=None,
    ),
    Limit(
        "tensorflow, forward mode of auto",
        "tensorflow",
        ("ForwardAccumulator", "function(ForwardAccumulator)"),
        _LINEAR,
        functions=("svd tanh",),
        error=None,
    ),
    Limit(
        "autograd, forward mode of auto",
        "autograd",
        ("make_jvp", "make_jvp_reversemode"),
        _LINEAR,
        functions=("svd tanh",),
        error=None,
    ),
    Limit(
        "torch.export of fn",
        "torch",
        ("export of a function that takes no complex numbers",),
        "fn: torch.export cannot hold the derivative that torch.func takes of it, and by a complex "
        "step it can be had only of a function that takes and returns complex tensors, such as "
        "torch.tanh",
        functions=("singular_value_map", "eigenvalue_map"),
        error=TypeError,
    ),
    Limit(
        "tensorflow, forward mode around a function",
        "tensorflow",
        ("ForwardAccumulator of a function",),
        "InternalError.__init__() missing 2 required positional arguments",
        functions=_DIFFERENTIATED,
        error=TypeError,
        advice="TensorFlow cannot push tangents through a tf.function that holds a custom "
        "gradient; open the ForwardAccumulator inside the function",
    ),
    Limit(
        "autograd, forward mode of a checkpoint",
        "autograd",
        ("make_jvp of checkpoint",),
        "wrt argnums (0,) not defined",
        advice="autograd's checkpoint has a reverse mode only",
    ),
)


def limit(key: str) -> Exception:
    """The exception to raise for the row `key`."""
    (row,) = (row for row in LIMITS if row.key == key)
    assert row.error is not None
    return row.error(row.sentence)

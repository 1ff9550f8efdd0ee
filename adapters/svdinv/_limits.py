"""What a framework itself cannot do: one table for the errors, the tests and the documents."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["LIMITS", "Limit", "limit"]


@dataclass(frozen=True)
class Limit:
    """One row.

    Parameters
    ----------
    key : str
        By which the code that meets the limit finds its sentence.
    framework : str
    transforms : tuple of str
        As the table of transforms names them.
    functions : tuple of str
        Names of functions (or "svd fit" for one rule of them); empty for all.
    field : {"any", "complex"}
        Whether it holds for complex matrices only.
    sentence : str
        What the user is told; where the framework speaks first, what it says.
    advice : str
        Then, what it means and what will do.
    upstream : str
        Where the framework's own documentation or issue says so.
    error : type
        What is raised.
    """

    key: str
    framework: str
    transforms: tuple[str, ...]
    sentence: str
    functions: tuple[str, ...] = ()
    field: str = "any"
    advice: str = ""
    upstream: str = ""
    error: type[Exception] = NotImplementedError

    @property
    def pattern(self) -> str:
        """The sentence as a regular expression."""
        return re.escape(self.sentence)

    def excludes(self, framework: str, transform: str, function: str, is_complex: bool) -> bool:
        """Whether a cell of the table of transforms cannot be had."""
        return (
            framework == self.framework
            and (is_complex or self.field == "any")
            and (not self.functions or function in self.functions)
            and transform in self.transforms
        )


_FIT = (
    "rule: 'fit' is not linear in the cotangents, and so has reverse mode and first derivatives "
    "only; use another rule, such as 'inv', for forward mode and second derivatives"
)

_OF_SVD = (
    "svd",
    "svd fit",
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
    *(name for name in _OF_SVD if name not in ("svd fit", "gauge_residual")),
    "procrustes special",
    "eigh",
    "eigenvalue_map",
)

LIMITS: tuple[Limit, ...] = (
    Limit(
        "torch, forward mode of fit",
        "torch",
        ("forward_ad", "func.jvp", "vmap(jvp)", "jacfwd"),
        _FIT,
        functions=("svd fit",),
    ),
    Limit(
        "torch, compiled func of fit",
        "torch",
        ("compile(grad)", "compile(vjp)", "compile(jvp)", "compile(vmap(grad))"),
        _FIT,
        functions=("svd fit",),
        upstream="pytorch/pytorch#193279",
        error=RuntimeError,
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
        "jax, forward mode of fit",
        "jax",
        ("jvp", "linearize", "jit(jvp)", "vmap(jvp)", "jacfwd"),
        "can't apply forward-mode autodiff (jvp) to a custom_vjp function",
        functions=("svd fit",),
        error=TypeError,
        advice=_FIT,
    ),
    Limit(
        "tensorflow, forward mode of fit",
        "tensorflow",
        (
            "ForwardAccumulator",
            "function(ForwardAccumulator)",
            "ForwardAccumulator of a function",
        ),
        _FIT,
        functions=("svd fit",),
    ),
    Limit(
        "tensorflow, saved fit",
        "tensorflow",
        ("SavedModel of the gradient",),
        "Error when tracing gradients for SavedModel",
        functions=("svd fit",),
        error=ValueError,
        advice="a SavedModel holds the gradients of gradients too, and rule 'fit' has none; save "
        "with tf.saved_model.SaveOptions(experimental_custom_gradients=False)",
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
        "tensorflow, determinant in XLA",
        "tensorflow",
        ("XLA",),
        "special: TensorFlow's XLA has no determinant; leave out jit_compile=True here, or use "
        "svdinv.jax, which has one",
        functions=("procrustes special",),
    ),
    Limit(
        "autograd, forward mode of fit",
        "autograd",
        ("make_jvp", "make_jvp_reversemode"),
        _FIT,
        functions=("svd fit",),
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
    """The error of a row."""
    (row,) = (row for row in LIMITS if row.key == key)
    return row.error(row.sentence)

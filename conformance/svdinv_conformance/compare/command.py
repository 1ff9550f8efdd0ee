"""``python -m svdinv_conformance compare``: its arguments, and what it does with them."""

from __future__ import annotations

import argparse
import math
import textwrap
from functools import partial
from typing import Any

from rich.console import Console

from ..arguments import (
    between,
    check_output,
    choice,
    command,
    distinct,
    names_from,
    option,
    output,
    positive,
    progress,
    seed,
    tell_written,
    write_json,
)
from ..frameworks import FRAMEWORKS
from ..inputs import ARRANGEMENTS, BUILT_IN, Input, InputError, built_in, from_image, from_npy
from ..suite.case import DTYPES
from ..suite.evidence import gather
from .methods import EXACT, LOSSES, METHODS, NATIVE, RULES
from .report import GLOSSARY, as_json, print_comparison
from .runner import Plan, compare

__all__ = ["add_parser", "execute"]

DEVICES = ("cpu", "cuda")
_DESCRIPTION = """\
Differentiate one loss through the singular value decomposition of the same matrices in every
framework and with every gradient rule, and print one table: how far each gradient is from the
exact one, how far the frameworks are from each other, how many entries are not finite, and how
long it took.
"""


def _explained(word: str, text: str) -> str:
    return textwrap.fill(text, 98, initial_indent=f"  {word:16}", subsequent_indent=" " * 18)


_EPILOG = f"""\
examples:
  python -m svdinv_conformance compare
      soft threshold of a photograph whose singular values all come in pairs

  python -m svdinv_conformance compare --case identity --loss all --dtype float32,float64
      the 8x8 identity, four losses, two types

  python -m svdinv_conformance compare --input x.npy --framework torch,jax --tau 0.3 --absolute
      your own matrices, written with numpy.save, shape (..., m, n)

  python -m svdinv_conformance compare --image photo.png --crop 64 --arrange tiled \\
          --html report.html --json report.json
      your own picture; a page with pictures of the gradients, and the numbers for a program

losses (L = Re <W, f(x)>, W standard normal, the same everywhere):
{textwrap.indent(chr(10).join(f"{name:15} {text}" for name, text in LOSSES.items()), "  ")}

methods and columns:
{chr(10).join(_explained(*item) for item in GLOSSARY.items())}

what counts as disagreement:
  Frameworks find different, equally good singular vectors, so results are held to a tolerance:
  64 eps kappa for a rule; for svt and svdvals the accuracy they promise, 1e-12 (double) or 1e-5
  (single), times kappa. kappa bounds how rounding is amplified: 1 + the root mean square of
  s_1 / |s_i - s_j| over the pairs of values that the loss and the rule divide by (for svt only
  pairs across the threshold, for nuclear 1 + s_1 / s_k). The exact operators are held to the
  exact gradient too. A non-finite entry in a judged result is a failure.
  Reported but not judged: plain and clip on a tie (it amplifies rounding), the other rules on a
  tie where their answer depends on the basis found for the tied vectors, anything whose tolerance
  would exceed 1e-2, gradients that do not exist (the threshold falls on a value), and native.

exit status:
  0  no judged result is at fault    1  frameworks disagree    2  wrong usage or input
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of the program."""
    purpose = "compare frameworks and gradient rules on one table"
    sub = command(commands, "compare", purpose, _DESCRIPTION, _EPILOG)
    given = sub.add_argument_group("inputs (repeatable, may be mixed; default: photo-tiled)")
    cases = names_from(BUILT_IN)
    option(given, "--case", "NAME", "built-in case, or all", action="extend", type=cases)
    option(given, "--input", "FILE.npy", "matrices (..., m, n) from numpy.save", action="append")
    option(given, "--image", "FILE", "picture; its colours become a batch", action="append")
    option(given, "--crop", "N", "side of --image's crop (64)", type=positive, default=64)
    given.add_argument(
        "--arrange",
        choices=list(ARRANGEMENTS),
        default="none",
        help="lay --image's crop out so that values tie (tiled, symmetric) or vanish (zero-rows)",
    )
    given.add_argument("--list-cases", action="store_true", help="list the built-in cases and stop")

    what = sub.add_argument_group("what to compute (names separated by commas, or all)")
    choice(what, "--loss", LOSSES, "soft")
    choice(what, "--rule", METHODS, "all that apply")
    choice(what, "--framework", FRAMEWORKS, "all")
    choice(what, "--dtype", DTYPES, "float64; complex128 for complex input")
    choice(what, "--device", DEVICES, "cpu")
    threshold = partial(between, low=0, high=math.inf, otherwise="a threshold of 0 or more")
    text = "threshold of soft and hard (0.025)"
    option(what, "--tau", "T", text, type=threshold, default=0.025)
    scale = what.add_mutually_exclusive_group()
    scale.add_argument(
        "--relative",
        dest="relative",
        action="store_true",
        default=True,
        help="tau is a fraction of each matrix's largest value (default)",
    )
    scale.add_argument(
        "--absolute", dest="relative", action="store_false", help="tau is the threshold itself"
    )
    text = "timed repetitions, at most (5)"
    option(what, "--repeat", "N", text, type=positive, default=5)
    option(what, "--seed", "N", "seed of the cotangent W (0)", type=seed, default=0)
    output(sub, json="the results, for a program", html="one page with the table and pictures")


def _inputs(options: argparse.Namespace) -> list[Input]:
    inputs = [built_in(name) for name in distinct(options.case)]
    inputs += [from_npy(path) for path in options.input or []]
    inputs += [from_image(path, options.crop, options.arrange) for path in options.image or []]
    return inputs or [built_in("photo-tiled")]


def _list_cases(console: Console) -> None:
    width = max(map(len, BUILT_IN))
    for name, (description, _) in BUILT_IN.items():
        console.print(f"{name:{width}}  {description}", markup=False, highlight=False)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Compare, and print; returns the exit status."""
    if options.list_cases:
        _list_cases(console)
        return 0
    inputs = _inputs(options)
    complex_only = all(given.real is None for given in inputs)
    plan = Plan(
        inputs=inputs,
        losses=distinct(options.loss) or ["soft"],
        methods=distinct(options.rule) or METHODS,
        frameworks=distinct(options.framework) or list(FRAMEWORKS),
        dtypes=distinct(options.dtype) or ["complex128" if complex_only else "float64"],
        devices=distinct(options.device) or ["cpu"],
        tau=options.tau,
        relative=options.relative,
        repeat=options.repeat,
        seed=options.seed,
    )
    _check_plan(plan)
    check_output(options.json, options.html)

    with progress() as tell:
        result = compare(plan, progress=tell)
        if any(row.device == "cuda" and row.framework != "numpy" for row in result.missing):
            tell(0, None, "evidence without a GPU")
            result.evidence = gather()
        if options.html is not None:
            from .page import write_page

            write_page(result, options.html, lambda text: tell(0, None, text))
    write_json(options.json, as_json(result))
    print_comparison(result, console)
    tell_written(console, options.json, options.html)
    return 0 if result.agrees else 1


def _check_plan(plan: Plan) -> None:
    """Refuse a choice of methods that applies to none of the losses."""
    applicable = {*RULES, NATIVE, *(EXACT[loss] for loss in plan.losses if loss in EXACT)}
    if not applicable & set(plan.methods):
        raise InputError(
            f"--rule {','.join(plan.methods)} does not apply to --loss {','.join(plan.losses)}"
        )

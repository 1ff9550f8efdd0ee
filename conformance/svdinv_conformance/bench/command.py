"""The command ``python -m svdinv_conformance bench``."""

from __future__ import annotations

import argparse
import re
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console

from ..arguments import (
    between,
    check_output,
    choice,
    command,
    distinct,
    option,
    output,
    positive,
    progress,
    seed,
    tell_written,
    write_json,
)
from ..frameworks import load
from ..inputs import InputError
from ..markdown import around_marks, write_between
from ..suite.case import DTYPES
from ..suite.implementation import Implementation, UnavailableError
from ..suite.named import KINDS, resolve
from ..suite.report import print_environment
from .measure import Measured, Shape, measure
from .report import as_json, sweeps, table, write_plot
from .steps import TIMED

__all__ = ["DEFAULT", "add_parser", "execute", "marks"]

DEFAULT = (
    "384x32x32:float32",
    "16x128x128:complex64",
    "3x512x512:float32",
    "1x16384x16:complex64",
    "4x2048x64:float32",
    "4096x3x3:float32",
    "8x8:float64",
)


USUAL = ["torch", "jax", "tensorflow"]
"""Frameworks that are timed where none is asked for."""


def marks(threshold: float) -> tuple[str, str]:
    """What a document has before and after the table of a threshold."""
    what = f"timings at {threshold:g}"
    return f"<!-- {what}: begin, written by svdinv_conformance bench -->", f"<!-- {what}: end -->"


_DESCRIPTION = """\
Time one step of singular value thresholding, forward and backward, for svdinv, for the
framework's own composition (svd, threshold, recompose, differentiate) and for its svd alone,
which take turns in one run. The table has medians, plus or minus half the distance between the
quartiles, ratios, the error of svdinv's gradient against double precision, and the growth of the
process at its peak.
"""

_EPILOG = f"""\
shapes: lengths of a batch and a dtype, such as 384x32x32:float32; the default is
  {", ".join(DEFAULT[:4])},
  {", ".join(DEFAULT[4:])}

examples:
  python -m svdinv_conformance bench
  python -m svdinv_conformance bench --framework torch --shape 64x100x100:float32 --repeat 21
  python -m svdinv_conformance bench --framework jax --threshold 0.5 --json times.json
  python -m svdinv_conformance bench --plot cost.png
  python -m svdinv_conformance bench --framework torch --implementation mypackage.linalg

exit status:
  0  something was timed    2  wrong usage, or nothing could be timed
"""


def shape(text: str) -> Shape:
    """``384x32x32:float32``."""
    found = re.fullmatch(r"(\d+(?:x\d+)+):(\w+)", text)
    if not found or found[2] not in DTYPES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a shape such as 384x32x32:float32 ({', '.join(DTYPES)})"
        )
    lengths = tuple(map(int, found[1].split("x")))
    if 0 in lengths:
        raise argparse.ArgumentTypeError(f"{text!r} has no entries")
    return Shape(lengths, found[2])


def add_parser(commands: Any) -> None:
    """Add the command to a program's commands."""
    from svdinv.drivers import Driver

    purpose = "time a step beside the framework's own"
    sub = command(commands, "bench", purpose, _DESCRIPTION, _EPILOG)
    what = sub.add_argument_group("what to time")
    option(what, "--shape", "SHAPE", "see below; repeatable", type=shape, action="append")
    choice(what, "--framework", TIMED, ",".join(USUAL))
    usual = "PyTorch and NumPy eager, JAX and TensorFlow compiled"
    choice(what, "--mode", ("eager", "compiled"), usual)
    option(what, "--device", "NAME", "cpu or cuda (cpu)", default="cpu")
    fraction = partial(between, low=0, high=1, otherwise="a fraction of the largest value")
    text = "fraction of each matrix's largest singular value (0.12)"
    option(what, "--threshold", "T", text, type=fraction, default=0.12)
    what.add_argument("--driver", choices=get_args(Driver), default="auto", help="of svt (auto)")
    text = "also time this one, as in the command run; repeatable"
    option(what, "--implementation", "NAME", text, action="append", default=[])
    option(what, "--kind", "NAME", f"whose arrays --implementation takes: {', '.join(KINDS)}")
    option(what, "--repeat", "N", "timed rounds (9)", type=positive, default=9)
    option(what, "--seed", "N", "of the matrices (0)", type=seed, default=0)
    what.add_argument(
        "--explain",
        nargs=2,
        metavar=("SHAPE", "DTYPE"),
        help="time nothing; say which drivers svt tries for a shape such as 4x2048x64, and why",
    )
    output(
        sub,
        json="all numbers, for a program",
        plot="cost against size and against batch",
        markdown="put the table between its marks (see docs/performance.md)",
    )


def _explain(options: argparse.Namespace, console: Console) -> int:
    """Print what is tried for a shape in each framework, and return the exit status."""
    from svdinv.drivers import explain

    lengths, dtype = options.explain
    try:
        wanted = shape(f"{lengths}:{dtype}")
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--explain: {error}") from None
    x = np.zeros(wanted.lengths, wanted.dtype)
    for name in distinct(options.framework) or USUAL:
        try:
            array = load(name).array(x)
        except UnavailableError as reason:
            console.print(f"{name}: {reason}", highlight=False)
            continue
        console.print(f"{name}, svt of {lengths} {dtype}:", highlight=False)
        for number, step in enumerate(explain(array), 1):
            mark = "tried" if step.tried else "-"
            console.print(
                f"  {number}  {mark:5}  {step.driver:22}  {step.when}",
                highlight=False,
                soft_wrap=True,
            )
    return 0


def execute(options: argparse.Namespace, console: Console) -> int:
    """Run what was asked for, print and write it, and return the exit status."""
    if options.explain is not None:
        return _explain(options, console)
    if options.plot is not None and Path(options.plot).suffix.lower() != ".png":
        raise InputError(f"{options.plot}: a picture's name ends in .png")
    check_output(options.json, options.plot)
    if options.markdown is not None:
        around_marks(options.markdown, *marks(options.threshold))
    shapes = options.shape or [shape(text) for text in DEFAULT]
    implementations: dict[str, Implementation] = {}
    for name in options.implementation:
        try:
            implementations[name] = resolve(name, options.kind)
        except UnavailableError as reason:
            raise InputError(str(reason)) from None
    settings = {
        "device": options.device,
        "threshold": options.threshold,
        "driver": options.driver,
        "repeat": options.repeat,
        "seed": options.seed,
    }
    with progress() as tell:

        def run(shapes: list[Shape]) -> list[Measured]:
            rows = []
            for name in distinct(options.framework) or USUAL:
                usual = "eager" if name in ("torch", "numpy", "cupy") else "compiled"
                rows += measure(
                    shapes, [name], options.mode or [usual],
                    implementations=implementations, progress=tell, **settings,
                )  # fmt: skip
            return sorted(rows, key=lambda row: shapes.index(row.shape))

        rows = run(shapes)
        curves = {}
        if options.plot is not None:
            curves = {title: run(own) for title, own in sweeps("float32").items()}
    print_environment(console)
    console.print(
        f"threshold {options.threshold} of the largest value, driver {options.driver}, "
        f"{options.repeat} rounds, {options.device}", highlight=False,
    )  # fmt: skip
    table(rows).print(console)
    everything = [*rows, *(row for own in curves.values() for row in own)]
    write_json(options.json, as_json(everything, settings))
    if options.plot is not None:
        write_plot(curves, options.plot)
    if options.markdown is not None:
        write_between(options.markdown, table(rows).markdown(), *marks(options.threshold))
    tell_written(console, options.json, options.plot, options.markdown)
    return 0 if any(row.sides for row in rows) else 2

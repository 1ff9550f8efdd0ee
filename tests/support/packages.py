"""Build the published files, and run programs that do not see this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Built:
    """The two published files."""

    wheel: Path
    sdist: Path


def call(*command: object, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command with `path`, instead of this checkout, before installed packages."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=900
    )


def build(source: Path, target: Path, *what: str) -> None:
    """Build with the installed tools, without network."""
    command = [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", target, source]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr

"""``python -m experiments`` from ``docs/``, or ``python docs/experiments``."""

import sys
from pathlib import Path

if not __package__:  # run as a folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments.cli import main

if __name__ == "__main__":
    sys.exit(main())

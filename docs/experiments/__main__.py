"""``python -m experiments`` from ``docs/``, or ``python docs/experiments``."""

import sys
from pathlib import Path

if not __package__:  # run as a folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    try:
        from experiments.cli import main  # seconds, which somebody may not want to wait
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(main())

"""The effect of Ctrl-C on a command."""

from __future__ import annotations

import os
import signal
from typing import Any

__all__ = ["INTERRUPTED", "end_on_interrupt"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process at once, with one line.

    An exception could get lost in a framework's callbacks, and a half-imported framework may crash
    while the interpreter shuts down.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # it is ignored
        return
    errors = os.dup(2)  # a copy, because descriptor 2 is silenced while a framework is loaded
    show_cursor = b"\r\x1b[K\x1b[?25h" if os.isatty(errors) else b""  # the progress bar hid it

    def end(*_: Any) -> None:
        os.write(errors, show_cursor + b"interrupted\n")  # print may be in the middle of something
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, end)

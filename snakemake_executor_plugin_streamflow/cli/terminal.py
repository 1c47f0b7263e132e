"""The user's terminal."""

from __future__ import annotations

import shutil
import sys


def width() -> int | None:
    """How many characters a line may have; None when the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def agrees(question: str) -> bool | None:
    """Ask a question to be answered with y or n; None when nobody can answer."""
    if not sys.stdin.isatty():
        return None
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class Tell:
    """What connectors log: warnings go to standard error."""

    def info(self, message: str) -> None:
        """Not told."""

    def debug(self, message: str) -> None:
        """Not told."""

    def warning(self, message: str) -> None:
        """Tell it."""
        print(message, file=sys.stderr)

"""Local copies of files, as Snakemake works with them."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

_STAMP = ".snakemake_timestamp"
"""What Snakemake puts into directories that rules make: its time is theirs."""


def copies(folder: Path) -> list[str]:
    """Return the names of all local copies directly in a folder."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def modified(path: Path) -> float | None:
    """Return the time that Snakemake sees, seconds since 1970; None when there is nothing."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    if stat.S_ISDIR(info.st_mode):
        with suppress(OSError):
            return os.stat(path / _STAMP).st_mtime
    return info.st_mtime


def discard(path: Path) -> None:
    """Remove a file or directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()

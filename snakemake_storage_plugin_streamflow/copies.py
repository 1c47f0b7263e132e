"""Local copies of files, as Snakemake works with them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

_STAMP = ".snakemake_timestamp"
"""What Snakemake puts into directories that rules make: its time is theirs."""


def modified(path: Path) -> float | None:
    """Return the time that Snakemake sees, seconds since 1970; None when there is nothing."""
    for one in (path / _STAMP, path):
        with suppress(OSError):
            return os.stat(one).st_mtime
    return None


def discard(path: Path) -> None:
    """Remove a file or directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()

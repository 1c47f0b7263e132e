"""Whether a run goes on, or its process is gone."""

from __future__ import annotations

import os
from pathlib import Path

from .records import RunRecord


def is_alive(run: RunRecord, folder: Path) -> bool:
    """Whether a run goes on; when in doubt, it does.

    Args:
        folder: `.snakemake`. A run of another host counts as alive as long as Snakemake's lock is there.
    """
    if run.ended is not None or not run.pid:
        return False
    if run.host != os.uname().nodename:
        return is_locked(folder)
    try:
        os.kill(run.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _may_be(run)


def is_locked(folder: Path) -> bool:
    """Whether Snakemake's lock is there. It stays after a crash, until `snakemake --unlock`."""
    return any((folder / "locks").glob("*.lock"))


def _may_be(run: RunRecord) -> bool:
    """Whether the process with that number is the run: numbers are used again."""
    process = Path("/proc") / str(run.pid)
    try:
        state, *fields = (process / "stat").read_text().rpartition(")")[2].split()
        words = (process / "cmdline").read_bytes()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    except FileNotFoundError:  # it ended just now; or there is no /proc, and nothing more is known
        return not Path("/proc/stat").exists()
    if state == "Z":
        return False
    begun = int(boot.split()[1]) + int(fields[18]) / os.sysconf("SC_CLK_TCK")
    return begun <= run.started + 2 or b"snakemake" in words  # the clock may have been set meanwhile

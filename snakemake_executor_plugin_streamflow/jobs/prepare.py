"""What Snakemake does at the controller before a job runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from .names import floats, name_of

SCRIPTS = ".snakemake/scripts"
"""Folder of the copies of scripts, below the working directory."""


async def prepare(job: Any, *, nested: bool) -> None:
    """Remove old outputs, keep copies of those to be updated, make directories; of every member of a group.

    A single direct job does so itself. Members of a group cannot: they would wait for inputs that are made in the
    group. Nor can a job that Snakemake runs at its location: its shadow directory and its pipes are there, not here.
    Nor one that is to update a floating file: that is where it is, and so is the copy.

    Raises:
        Snakemake's own errors, for instance for a protected output.
    """
    if not job.is_group() and not nested and not any(f.flags.get("update") and floats(f) for f in job.output):
        await job.prepare()
        with suppress(OSError):
            os.rmdir("<TBD>")  # Snakemake makes the temporary directory that it has not decided on yet
        return
    for member in job.jobs if job.is_group() else (job,):
        await member.check_protected_output()
        if member.is_norun:
            continue
        await member.remove_existing_output()
        for f in (f for f in member.output if not floats(f)):
            if f.flags.get("update") and await f.exists():
                member.rule.workflow.persistence.backup_output(Path(f))
            f.prepare()
        for f in (*member.log, *([member.benchmark] if member.benchmark else ())):
            if not floats(f):
                f.prepare()
        if has_script(member):
            os.makedirs(SCRIPTS, exist_ok=True)  # as the local executor does: tools look there for copies that are kept


def has_script(job: Any) -> bool:
    """Whether Snakemake makes a copy of a script, with the job's values, and runs that."""
    return bool(job.is_script or job.is_notebook or job.is_wrapper)


def check_protected(job: Any, at_sites: Callable[[list[str]], Collection[str]]) -> None:
    """Refuse to overwrite a protected file in the working directory or at a site: Snakemake sees its own copy only.

    Args:
        at_sites: returns those of some files that may not be written at a site.

    Raises:
        Snakemake's own error.
    """
    from snakemake.exceptions import ProtectedOutputException

    marked = [name_of(f) for f in job.output if f in job.protected_output]
    there = at_sites(marked) if marked else ()
    protected = [f for f in job.output if name_of(f) in there or _is_protected(name_of(f))]
    if protected:
        raise ProtectedOutputException(job, protected)


def _is_protected(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and not mode & 0o222

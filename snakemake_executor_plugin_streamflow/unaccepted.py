"""Outputs that have come home, and that Snakemake had not accepted when its process was killed.

Snakemake has marked them as incomplete, and would ask the user what to do about them. But the journal knows their jobs:
Snakemake is made to ask for these, as with --rerun-incomplete, and is told that they are done, or have gone on since.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from .errors import StreamFlowError
from .journal import Journal, State, TaskRecord


def ask_for_their_jobs() -> None:
    """Have Snakemake ask for such jobs. To be called before it builds the DAG."""
    if "snakemake.dag" not in sys.modules:  # nobody builds one
        return
    from snakemake.dag import DAG

    dag: Any = DAG
    original = getattr(dag.incomplete_files, "__wrapped__", dag.incomplete_files)

    @wraps(original)
    async def incomplete_files(self: Any) -> list[Any]:
        files = await original(self)
        known = set() if self.workflow.dag_settings.force_incomplete or not files else _known(self)
        self.forcefiles.update(f for f in files if f in known)
        return [f for f in files if f not in known]

    dag.incomplete_files = incomplete_files


def _known(dag: Any) -> set[Any]:
    """The outputs of all jobs that a run of ours has begun, and Snakemake has not accepted."""
    persistence = dag.workflow.persistence
    found = {job: ids for job in dag.jobs if (ids := persistence.external_jobids(job))}
    with (
        suppress(StreamFlowError),
        Journal(Path.cwd() / ".snakemake" / "streamflow" / "journal.db", existing=True) as ours,
    ):
        return {
            f for job, ids in found.items() if all(_may_be_done(ours.attempts(one)) for one in ids) for f in job.output
        }
    return set()


def _may_be_done(attempts: Sequence[TaskRecord]) -> bool:
    """Whether a job was left running, or well done: not one whose outputs `--keep-incomplete` has kept."""
    return bool(attempts) and attempts[-1].state in (State.RUNNING, State.ENDED, State.ACCOUNTED)

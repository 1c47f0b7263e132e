"""What a run has still to do, as Snakemake's DAG tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .names import name_of
from .targets import targets


@dataclass(frozen=True, slots=True)
class Rest:
    """What a run has still to do.

    Attributes:
        jobs: rule and group of each job that has not ended, and can still run.
        reads: what they read, and the final targets, by canonical path.
        open_ended: there may be more jobs later: a checkpoint has not ended.
    """

    jobs: frozenset[tuple[str, str | None]]
    reads: frozenset[str]
    open_ended: bool = False


class Outlook:
    """Looks into the DAG on the engine's loop, while Snakemake's own thread changes it.

    What changes is copied before it is walked. Where that is not possible a RuntimeError says that it has changed.

    Args:
        canonical: makes a file's name the path by which the engine knows it.
    """

    def __init__(self, workflow: Any, canonical: Callable[[str], str]) -> None:
        self._workflow = workflow
        self._canonical = canonical
        self._makers: tuple[int, dict[str, Any]] = (0, {})

    def maker(self, path: str) -> Any | None:
        """Return the job that makes a file, or a directory that it is in, whether Snakemake means to run it or not."""
        jobs = [*self._workflow.dag.jobs]
        if len(jobs) != self._makers[0]:
            self._makers = len(jobs), {self._canonical(name_of(f)): job for job in jobs for f in job.output}
        makers = self._makers[1]
        return next((makers[str(one)] for one in (path, *PurePosixPath(path).parents) if str(one) in makers), None)

    def unended(self) -> list[Any]:
        """Return the jobs that have not ended, also those that never start because something has failed."""
        dag = self._workflow.dag
        return [job for job in [*dag.jobs] if dag.needrun(job) and not dag.finished(job)]

    def possible(self) -> list[Any]:
        """Return the jobs that have not ended and can still run."""
        failed = [*self._workflow.scheduler.failed]
        ahead = [job for one in failed for job in (one.jobs if one.is_group() else (one,))]
        depending, hopeless = self._workflow.dag.depending, set(ahead)
        while ahead:  # not by `dag.bfs`: looking up what is not there adds it, under the feet of the main thread
            found = {after for job in ahead for after in [*(depending.get(job) or ())]} - hopeless
            hopeless |= found
            ahead = [*found]
        return [job for job in self.unended() if job not in hopeless]

    def needed_for(self, jobs: Iterable[Any]) -> frozenset[str]:
        """Return what jobs read, and the final targets, by canonical path."""
        read = (f for job in jobs for f in job.input)
        return frozenset(self._canonical(name_of(f)) for f in (*read, *targets(self._workflow.dag)))

    def rest(self) -> Rest:
        """Return what the run has still to do."""
        jobs = self.possible()
        return Rest(
            frozenset((job.rule.name, str(job.group) if job.group else None) for job in jobs if not job.is_local),
            self.needed_for(jobs),
            open_ended=any(job.is_checkpoint for job in jobs),
        )

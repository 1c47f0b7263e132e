"""Jobs that an earlier run has begun, and not lived to report."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from .connect.reattach import Reattached
from .engine import Engine
from .errors import SiteError
from .jobs import Output, Task
from .journal import DeploymentRecord, State, TaskRecord
from .journal.alive import is_alive
from .model import Binding
from .remote.job import JobSpec, render
from .remote.leftovers import BESIDE
from .remote.quote import quote
from .site import Site
from .spec import mark

_LIVING = (State.RUNNING, State.ENDED)


class Earlier:
    """Tells whether such a job is done, or still there. Runs on the engine's loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dead: list[str] = []
        self._times: dict[str, Mapping[str, Mapping[State, float]]] = {}

    async def take_over(self, jobs: Collection[str]) -> dict[str, TaskRecord]:
        """Return what the journal knows of jobs, by the identity that Snakemake was told.

        Those that may still run, or have ended without being accounted for, are left alone; all others are ended.
        """
        journal = self._engine.journal
        attempts = {job: journal.attempts(job) for job in jobs}
        begun = {job: records[-1] for job, records in attempts.items() if records}
        spared = frozenset(record.id for record in begun.values() if record.state in _LIVING)
        here = self._engine.here
        others = [run for run in journal.runs() if run.ended is None and run.id != self._engine.run]
        alive = [run.id for run in others if is_alive(run, here / ".snakemake")]  # with --nolock, or dry runs
        dead = [run.id for run in others if run.id not in alive]
        done: dict[str, list[str]] = {}
        for record in (record for run in dead for record in journal.tasks(run)):
            if record.state is State.ACCOUNTED:
                done.setdefault(record.location, []).append(record.id)
            elif record.state in _LIVING:
                done.setdefault(record.location, [])  # it may run there, whether a job goes there now or not
        if dead and not alive:
            await asyncio.to_thread(_remove_partial, here)
        if dead:
            self._engine.spawn(self._take_down([d for d in journal.deployments() if d.run in dead]))
        await self._engine.sites.take_over(spared, done, alive=alive, deep=bool(dead) and not alive)
        self._dead = dead
        return begun

    def settled(self) -> None:
        """Note which dead runs are done with: those of which every location was opened, and swept, by this run."""
        journal, sites = self._engine.journal, self._engine.sites
        for run in self._dead:
            if all(sites.get(record.location) for record in journal.tasks(run) if record.location):
                journal.end_run(run, time.time())

    async def _take_down(self, left: Sequence[DeploymentRecord]) -> None:
        """Take down what dead runs had brought up; what stays is told, and stays in the journal."""
        engine = self._engine
        for record in reversed(left):  # the newest first: it may stand on an older one
            reattached = Reattached(engine.companion, {d.name: d.run for d in left}, engine.log)
            try:
                await reattached.take_down(record.name)
                engine.journal.remove_deployment(record.name, record.run)
                engine.log.info(f"deployment {record.name}: what an earlier run had left of it was taken down")
            except SiteError as error:
                engine.log.warning(f"deployment {record.name}: an earlier run has left something of it: {error}")
            finally:
                await reattached.close()

    def is_done(self, task: Task, record: TaskRecord) -> bool:
        """Whether all that the job makes was accounted for and is still there; it counts from now on."""
        if record.state is not State.ACCOUNTED or record.detail != mark(task) or not self._is_same(task, record):
            return False
        if not all(map(self._is_made, record.outputs, task.outputs(), [record.id] * len(record.outputs))):
            return False
        self._engine.files.doubtful.difference_update(record.outputs)
        return True

    def may_run(self, record: TaskRecord) -> bool:
        """Whether the job may still run, or have ended, at its location."""
        return record.state in _LIVING

    def _is_same(self, task: Task, record: TaskRecord) -> bool:
        """Whether a job has the same outputs, and none of its inputs has changed since it was sent."""
        if record.outputs != tuple(self._engine.files.canonical(output.path) for output in task.outputs()):
            return False
        if record.run not in self._times:
            self._times[record.run] = self._engine.journal.times(record.run)
        sent = self._times[record.run].get(record.id, {}).get(State.STAGING, record.changed)
        names = {self._engine.files.canonical(path) for path in task.inputs} - set(record.outputs)
        states = map(self._engine.files.state, names)
        return all(state is None or state.mtime <= sent for state in states)

    async def sites_of(self, site: Site, task: Task, binding: Binding) -> list[Site]:
        """Return all locations of its job, the one that runs it first; that one alone, when not all are there.

        Raises:
            Unreachable: the site does not answer.
        """
        mine = [target for target in binding.targets if target.deployment == site.location.deployment]
        if all(target.locations == 1 for target in mine):
            return [site]
        there = await site.shells.ask(f"cat {quote(site.directory(task.id))}/hostfile")
        hosts = [line.split()[0] for line in there.text.splitlines() if line and not there.code]
        known = {one.location.reach: one for one in self._engine.sites if one.connector is site.connector}
        others = [known.get(host) for host in hosts[1:]]
        return [site, *(one for one in others if one is not None)] if None not in others else [site]

    async def is_there(self, site: Site, task: Task, record: TaskRecord, spec: JobSpec) -> bool:
        """Whether its job directory is there, and of this very job.

        Raises:
            Unreachable: the site does not answer.
        """
        directory = quote(site.directory(task.id))
        there = await site.shells.ask(f"[ -d {directory} ] && cat {directory}/script")
        if there.code:
            return False
        # What a nested Snakemake is told holds names of its parent process.
        return self._is_same(task, record) and (task.nested or there.text == render(spec))

    async def give_up(self, record: TaskRecord) -> None:
        """End a job that nobody goes on with: now, or when its location is opened."""
        if self.may_run(record):
            with suppress(SiteError):
                await self._engine.sites.give_up(record.id, self._engine.sites.get(record.location))

    def _is_made(self, path: str, output: Output, task: str) -> bool:
        if output.may_be_missing:
            return True
        if output.home:
            return (self._engine.here / path).exists()
        return self._engine.ledger.version(path) == f"o-{task}"


def nth(task: str, number: int) -> str:
    """Return the identity of an attempt of a task; the first one has number 0."""
    return f"{task}.{number}" if number else task


def attempts_before(one: str) -> list[str]:
    """Return the identities of the attempts before one; none for the first."""
    first, dot, number = one.rpartition(".")
    return [nth(first, n) for n in range(int(number))] if dot and number.isdecimal() else []


def _remove_partial(here: Path) -> None:
    """Remove what transfers to the working directory have not finished."""
    for folder, folders, names in os.walk(here):
        partial = [name for name in (*folders, *names) if fnmatchcase(name, BESIDE)]
        folders[:] = [name for name in folders if name not in (".snakemake", *partial)]
        for name in partial:
            path = Path(folder, name)
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

"""Ending and removing what dead runs have left."""

from __future__ import annotations

import asyncio
import posixpath
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..connect.reattach import Reattached
from ..errors import DeployError, Gone, SiteError, TransferError, quote_tail
from ..journal import DeploymentRecord, State, TaskRecord
from ..model import CONTROLLER, Companion
from ..plan import Dropped
from ..remote import leftovers
from ..remote.leftovers import Leftovers
from ..site import Site
from .answer import Answer
from .data import read
from .reach import Reach
from .terminal import Tell
from .workflow import ADDRESS, Workflow


def cleanup(given: Namespace) -> Answer:
    """End orphaned jobs, remove job directories and half-finished transfers, take down deployments.

    Job directories of failed tasks stay: their stderr is there.
    """
    with Workflow(given) as workflow:
        workflow.must_rest()
        journal = workflow.journal
        dead = workflow.dead()
        ledger, known = read(workflow)
        tasks = journal.unfinished("")
        places = _Places()
        for path in known:
            for replica in ledger.replicas(path):
                places.paths[replica.filesystem].append(path)
        for task in tasks:
            places.tasks[task.location].append(task)
        for run in journal.runs():
            places.failed |= {task.id for task in journal.tasks(run.id) if task.state is State.FAILED}
        if (workflow.here / ".streamflow" / "jobs").is_dir():
            places.tasks[CONTROLLER] += []
        records, companion = journal.deployments(), workflow.companion()
        found = asyncio.run(_clean(companion, workflow.here, records, places, dry=given.dry_run))
        if not given.dry_run:
            for task in tasks:
                if task.location not in found.problems:
                    journal.change_task(task.id, State.CANCELLED, detail="ended by cleanup")
            for record in found.down:
                journal.remove_deployment(record.name, record.run)
            journal.apply([Dropped(path, fs) for fs in found.vanished for path in places.paths[fs]])
            if not found.problems:
                for run in dead:
                    journal.end_run(run.id, time.time())
    return _answer(found, given.dry_run)


@dataclass(slots=True)
class _Places:
    """Where to look: paths by filesystem, unfinished tasks by location; failed tasks keep their directories."""

    paths: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    tasks: defaultdict[str, list[TaskRecord]] = field(default_factory=lambda: defaultdict(list))
    failed: set[str] = field(default_factory=set)

    def files(self) -> Iterator[str]:
        """All paths that are known."""
        yield from {path for paths in self.paths.values() for path in paths}
        yield from (path for tasks in self.tasks.values() for task in tasks for path in task.outputs)


@dataclass(slots=True)
class _Found:
    """What is or was there: at locations, half-finished files here, deployments; filesystems that went with them."""

    at: dict[str, Leftovers] = field(default_factory=dict)
    home: list[str] = field(default_factory=list)
    down: list[DeploymentRecord] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


async def _clean(
    companion: Companion, here: Path, records: Sequence[DeploymentRecord], places: _Places, *, dry: bool
) -> _Found:
    found = _Found()
    up = {record.name for record in records}
    folders = {posixpath.dirname(path) or "." for path in places.files() if not path.startswith(ADDRESS)}
    async with Reach(companion, here, records) as reach:

        async def at(name: str, opened: Coroutine[Any, Any, Site]) -> None:
            try:
                site = await opened
                if site.location.name not in found.at:
                    found.at[site.location.name] = Leftovers()
                    own = [] if site.in_place else [await reach.place(site, folder) for folder in folders]
                    beside = [folder for folder in own if folder is not None]
                    found.at[site.location.name] = await _at(site, beside, places.failed, dry=dry)
            except Gone:
                return
            except SiteError as error:
                found.problems[name] = str(error)

        # What is taken down goes with all that is in it.
        filesystems = [name for name in places.paths if name.split("/")[0] not in {*up, CONTROLLER}]
        await asyncio.gather(*(at(name, reach.at(name)) for name in filesystems))
        locations = [name for name in places.tasks if name.split("/")[0] not in up]
        await asyncio.gather(*(at(name, reach.on(name)) for name in locations))
        inside = (here / folder for folder in folders if not folder.startswith("/"))
        found.home = [str(path) for folder in inside for path in folder.glob(f"{leftovers.BESIDE}*")]
        if not dry:
            await reach.home.remove(found.home)
    for record in reversed(records):
        await _take_down(companion, record, records, found, dry=dry)
    found.vanished = [name for name in places.paths if name.split("/")[0] in {record.name for record in found.down}]
    return found


async def _at(site: Site, folders: Sequence[str], failed: set[str], *, dry: bool) -> Leftovers:
    done = await site.shells.ask(leftovers.look(folders))
    left = leftovers.parse(done.text)
    left = replace(left, ended=tuple(job for job in left.ended if job not in failed))
    if not dry and left != Leftovers():
        done = await site.shells.ask(leftovers.remove(left))
        if done.code or done.text.strip():
            raise TransferError(f"{site.location.name}: not all could be removed:\n{quote_tail(done.output)}")
    return left


async def _take_down(
    companion: Companion,
    record: DeploymentRecord,
    records: Sequence[DeploymentRecord],
    found: _Found,
    *,
    dry: bool,
) -> None:
    reattached = Reattached(companion, {r.name: r.run for r in records if r.run == record.run}, Tell())
    try:
        if record.name not in companion.deployments:
            raise DeployError(f"{companion.path} has no deployment {record.name} any more")
        if not dry:
            with suppress(Gone):  # what it went through is no more
                await reattached.take_down(record.name)
        found.down.append(record)
    except SiteError as error:
        found.problems[record.name] = f"{error} ({record.what})"
    finally:
        await reattached.close()


def _answer(found: _Found, dry: bool) -> Answer:
    would = "would be " if dry else ""
    lines = []
    for name, left in sorted(found.at.items()):
        lines += [f"{name}: job {job} {would}ended" for job in left.running]
        lines += [f"{name}: directory of job {job} {would}removed" for job in left.ended]
        lines += [f"{name}: half-finished transfer {path} {would}removed" for path in (*left.staged, *left.beside)]
    lines += [f"here: half-finished transfer {path} {would}removed" for path in found.home]
    lines += [f"deployment {r.name} of run {r.run} {would}taken down: {r.what}" for r in found.down]
    lines += [f"NOT cleaned up: {name}: {problem}" for name, problem in found.problems.items()]
    data: dict[str, Any] = {
        "dry_run": dry,
        "locations": {
            name: {
                "running": left.running,
                "ended": left.ended,
                "transfers": [*left.staged, *left.beside],
            }
            for name, left in found.at.items()
        },
        "controller": {"transfers": found.home},
        "deployments": [asdict(record) for record in found.down],
        "problems": found.problems,
    }
    return Answer(data, "\n".join(lines) or "Nothing is left.", int(bool(found.problems)))

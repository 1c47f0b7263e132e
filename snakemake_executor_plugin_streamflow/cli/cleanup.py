"""Ending and removing what dead runs have left."""

from __future__ import annotations

import asyncio
import posixpath
import time
from argparse import Namespace
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from ..journal import State
from ..model import CONTROLLER, is_address
from ..plan import Dropped
from .answer import Answer
from .reach import Reach
from .sweep import Left, Sweep, deployments_of
from .workflow import Workflow


def cleanup(given: Namespace) -> Answer:
    """End orphaned jobs, remove job directories and half-finished transfers, take down deployments.

    Job directories of failed tasks stay: their stderr is there.
    """
    with Workflow(given) as workflow:
        workflow.must_rest()
        journal, companion = workflow.journal, workflow.companion()
        by_filesystem: defaultdict[str, list[str]] = defaultdict(list)
        for replica in journal.replicas():
            by_filesystem[replica.filesystem].append(replica.path)
        tasks, records = journal.unfinished(""), journal.deployments()
        failed = {task.id for run in journal.runs() for task in journal.tasks(run.id) if task.state is State.FAILED}
        files = {path for paths in by_filesystem.values() for path in paths} | {p for t in tasks for p in t.outputs}
        folders = {posixpath.dirname(path) or "." for path in files if not is_address(path)}
        # What is taken down goes with all that is in it.
        down = {record.name for record in records}
        names = deployments_of(companion, by_filesystem, (task.location for task in tasks)) - down - {CONTROLLER}
        if (workflow.here / ".streamflow" / "jobs").is_dir():
            names.add(CONTROLLER)

        async def work() -> Left:
            async with Reach(companion, workflow.here, records) as reach:
                sweep = Sweep(reach, folders, failed, dry=given.dry_run)
                await sweep.locations(sorted(names))
                await sweep.home(workflow.here)
                await sweep.take_down(companion, records)
                return sweep.left

        left = asyncio.run(work())
        if not given.dry_run:
            for record in left.deployments:
                journal.remove_deployment(record.name, record.run)
            gone = {record.name for record in left.deployments}
            vanished = [name for name in by_filesystem if name.split("/")[0] in gone]
            journal.apply([Dropped(path, name) for name in vanished for path in by_filesystem[name]])
            for task in tasks:
                if not {task.location, task.location.split("/")[0]} & left.problems.keys():
                    journal.change_task(task.id, State.CANCELLED, detail="ended by cleanup")
            for run in workflow.dead() if not left.problems else ():
                journal.end_run(run.id, time.time())
    return _answer(left, given.dry_run)


def _answer(left: Left, dry: bool) -> Answer:
    would = "would be " if dry else ""
    lines = []
    for name, there in sorted(left.at.items()):
        lines += [f"{name}: job {job} {would}ended" for job in there.running]
        lines += [f"{name}: job {queued.job} {would}cancelled in its queue" for queued in there.queued]
        lines += [f"{name}: directory of job {job} {would}removed" for job in there.ended]
        lines += [f"{name}: half-finished transfer {path} {would}removed" for path in (*there.staged, *there.beside)]
    lines += [f"here: half-finished transfer {path} {would}removed" for path in left.home]
    lines += [f"deployment {r.name} of run {r.run} {would}taken down: {r.what}" for r in left.deployments]
    lines += [f"NOT cleaned up: {name}: {problem}" for name, problem in left.problems.items()]
    data: dict[str, Any] = {
        "dry_run": dry,
        "locations": {
            name: {
                "running": there.running,
                "queued": [queued.job for queued in there.queued],
                "ended": there.ended,
                "transfers": [*there.staged, *there.beside],
            }
            for name, there in left.at.items()
        },
        "controller": {"transfers": left.home},
        "deployments": [asdict(record) for record in left.deployments],
        "problems": left.problems,
    }
    return Answer(data, "\n".join(lines) or "Nothing is left.", int(bool(left.problems)))

"""What a site runs for a task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from .jobs import Output, Task
from .model import CONTROLLER
from .remote import launch
from .remote.job import Command, JobSpec
from .remote.quote import quote, words
from .site import Site

_MINUTE_S = 60
_WATCHED_B = 30_000
_THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "VECLIB", "NUMEXPR")


def job_spec(site: Site, task: Task, hosts: Sequence[str], path_of: Callable[[str], str]) -> JobSpec:
    """Return the job of a task at a site.

    Args:
        hosts: all locations that the task was given, the site's own first.
        path_of: name of a file at the site.
    """
    env = dict(task.env)
    commands = []
    if len(hosts) > 1:
        slots, directory = max(1, int(task.request.cores)), site.directory(task.id)
        env |= launch.environment(directory, hosts, slots)
        commands.append(launch.preparation(directory, hosts, slots))
    env |= getattr(site.connector.options, "env", {})
    outputs = task.outputs()
    places = [path_of(o.path) for o in outputs]
    kept = [path_of(output.path) for output in updated(site, task)]
    if task.floating and kept:
        commands.append(Command(_backup(site, task, kept), "sh"))
    for member in task.members:
        tmpdir = member.tmpdir or site.facts.tmpdir
        if (command := member.render(path_of, tmpdir)) is not None:
            own = {
                f"{name}_NUM_THREADS" if name != "VECLIB" else "VECLIB_MAXIMUM_THREADS": str(member.threads)
                for name in _THREADS
            }
            own |= {name: tmpdir for name in ("TMPDIR", "TMP", "TEMPDIR", "TEMP")}
            commands.append(replace(command, env=own, name=member.name if len(task.members) > 1 else ""))
        touched = [
            f"{path_of(o.path)}{'/.snakemake_timestamp' if o.directory else ''}" for o in member.outputs if o.touch
        ]
        if touched and (task.floating or len(task.members) > 1):
            folders = [path_of(o.path) for o in member.outputs if o.touch and o.directory]
            made = f"mkdir -p -- {words(folders)} && " if folders else ""
            commands.append(Command(f"{made}touch -- {words(touched)}", "sh"))
        if member.removes:
            commands.append(Command(f"rm -rf -- {words(map(path_of, member.removes))}", "sh"))
    parents = sorted({str(PurePosixPath(place).parent) for place in places} - {"."})
    runtime = task.resources.get("runtime")
    limited = (
        isinstance(runtime, int) and runtime > 0 and site.location.deployment != CONTROLLER
    )  # as by the local executor
    return JobSpec(
        task.id,
        site.facts.workdir,
        commands,
        places,
        _watched(site, [path_of(path) for path in task.inputs]),
        frozenset(kept),
        parents,
        env,
        task.resources,
        limit_s=_MINUTE_S * int(runtime or 0) if limited else None,
    )


def updated(site: Site, task: Task) -> list[Output]:
    """Outputs whose former content a job needs; others are made from nothing, `update()` or not."""
    own = site.in_place and not task.floating  # Snakemake itself keeps a copy
    return [output for output in task.outputs() if output.update and (own or output.path in task.inputs)]


def restoring(site: Site, task: Task, places: Sequence[str]) -> str:
    """Shell text that gives files that a job was to update their former content."""
    return "\n".join(
        f"if [ -e {saved} ]; then rm -rf -- {place} && mv -- {saved} {place} || exit 1; fi"
        for saved, place in _saved(site, task, places)
    )


def mark(task: Task) -> str:
    """Return what tells a task's commands from others; "" where they hold what no later run has: in nested tasks."""
    if task.nested:
        return ""
    commands = (member.render(lambda path: path, "") for member in task.members)
    text = "\n".join(command.text for command in commands if command is not None)
    return hashlib.sha1(text.encode("utf-8", "surrogateescape")).hexdigest()


def _watched(site: Site, inputs: Sequence[str]) -> Sequence[str]:
    """Inputs that are looked at after the job: none where Snakemake looks itself, or when they fill an argument."""
    return () if site.in_place or sum(map(len, inputs)) > _WATCHED_B else inputs


def _backup(site: Site, task: Task, places: Sequence[str]) -> str:
    return "\n".join(
        f"if [ -e {place} ]; then cp -Rp -- {place} {saved}.new && mv {saved}.new {saved} || exit 1; fi"
        for saved, place in _saved(site, task, places)
    )


def _saved(site: Site, task: Task, places: Sequence[str]) -> list[tuple[str, str]]:
    folder = site.directory(task.id)
    return [(quote(f"{folder}/before{number}"), quote(place)) for number, place in enumerate(places)]

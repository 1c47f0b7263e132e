"""What a site runs for a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from .jobs import Task
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
    updated = [place for place, o in zip(places, outputs, strict=True) if o.update]
    if task.floating and updated:
        commands.append(Command(_backup(site, task, updated), "sh"))
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
        frozenset(updated),
        parents,
        env,
        task.resources,
        limit_s=_MINUTE_S * int(runtime or 0) if limited else None,
    )


def restoring(site: Site, task: Task, updated: Sequence[str]) -> str:
    """Shell text that gives files that a job was to update their former content."""
    return "\n".join(
        f"if [ -e {saved} ]; then rm -rf {place} && mv {saved} {place} || exit 1; fi"
        for saved, place in _saved(site, task, updated)
    )


def _watched(site: Site, inputs: Sequence[str]) -> Sequence[str]:
    """Inputs that are looked at after the job: none where Snakemake looks itself, or when they fill an argument."""
    return () if site.in_place or sum(map(len, inputs)) > _WATCHED_B else inputs


def _backup(site: Site, task: Task, updated: Sequence[str]) -> str:
    return "\n".join(
        f"if [ -e {place} ]; then cp -Rp {place} {saved} || exit 1; fi" for saved, place in _saved(site, task, updated)
    )


def _saved(site: Site, task: Task, updated: Sequence[str]) -> list[tuple[str, str]]:
    folder = site.directory(task.id)
    return [(quote(f"{folder}/before{number}"), quote(place)) for number, place in enumerate(updated)]

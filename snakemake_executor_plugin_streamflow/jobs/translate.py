"""Snakemake's job objects to tasks. Runs on Snakemake's main thread, but for `Member.render`."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, cast

from ..model import Request, is_address
from ..remote.job import Command
from .direct import renderer
from .names import floats, is_tbd, name_of
from .nested import NestedCommands
from .prepare import SCRIPTS, has_script
from .software import why_made
from .sources import Sources
from .targets import is_target
from .task import Ensure, Member, Output, Task

_DEFAULT_MEMORY = "min(max(2*input.size_mb, 1000), 8000)"
_DEFAULT_DISK = "max(2*input.size_mb, 1000) if input else 50000"
_OWN_RESOURCES = frozenset(
    {
        "_cores",
        "_nodes",
        "_job_count",
        "mem",
        "mem_mb",
        "mem_mib",
        "disk",
        "disk_mb",
        "disk_mib",
        "runtime",
        "tmpdir",
        "attempt",
    }
)
_MB = 10**6


def why_not_direct(job: Any) -> str | None:
    """Return why a single job must be run by Snakemake itself at its location, or None when its command is enough."""
    for attribute, word in (
        ("is_script", "script:"),
        ("is_notebook", "notebook:"),
        ("is_wrapper", "wrapper:"),
        ("is_cwl", "cwl:"),
        ("is_template_engine", "template_engine:"),
    ):
        if getattr(job, attribute):
            return f"it uses `{word}`"
    if job.is_run:
        return "it uses `run:`"
    if job.is_shadow:
        return "it uses `shadow:`"
    if job.benchmark:
        return "it uses `benchmark:`"
    if any(_flagged(f, flag) for f in (*job.output, *job.input) for flag in ("pipe", "service")):
        return "it uses `pipe()` or `service()`"
    return why_made(job)


def _is_open(job: Any) -> bool:
    """Whether parameters or resources depend on files that are made in the job's own group."""
    values = (*job.resources.items(), *job.params.items())
    return any(is_tbd(value) for name, value in values if name != "tmpdir")


def ordered(job: Any) -> list[Any]:
    """Return the members of a group in an order in which they can run; of a single job, itself. The last one binds."""
    return [j for level in job.toposorted for j in sorted(level, key=str)] if job.is_group() else [job]


def added_variables(environ: Mapping[str, str], before: Collection[str]) -> dict[str, str]:
    """Return the variables that a Snakefile has set with `os.environ`: plain commands read them, too.

    One that was there `before` is left out: it is about this machine, as `PATH` is.
    """
    return {name: value for name, value in environ.items() if name not in before and name.isidentifier()}


class Translator:
    """Makes tasks of jobs.

    Args:
        run: identity of this run; part of every task's id.
        envvars: values of the variables that the workflow declares, or has set.
        nested_here: gives the shell command that runs a job by Snakemake itself, in this directory.
        nested: makes the commands that do so at a location of its own.
        sources: finds what those need.
        floating: files stay where they are made; Snakemake's main process does nothing with outputs.
        leave: final targets stay where they are made, too.
        exists: tells whether there is a file of that name, anywhere.
    """

    def __init__(
        self,
        run: str,
        envvars: Mapping[str, str],
        *,
        nested_here: Callable[[Any], str],
        nested: NestedCommands,
        sources: Sources,
        floating: bool = False,
        leave: bool = False,
        exists: Callable[[str], bool] = os.path.lexists,
    ) -> None:
        self._run = run
        self._envvars = dict(envvars)
        self._nested_here = nested_here
        self._nested = nested
        self._sources = sources
        self._floating, self._leave = floating, leave
        self._exists = exists
        self._numbers = count(1)  # Snakemake's thread and the engine's take some

    def task(self, job: Any, *, bound: bool) -> Task:
        """Return the task of a job or group job that has been prepared. `bound`: a binding says where it may run."""
        group, jobs = job.is_group(), ordered(job)
        rule = job.groupid if group else job.rule.name
        ident = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{self._run}-{next(self._numbers)}-{rule}-{job.attempt}")
        nested = any(why_not_direct(j) for j in jobs) or (group and any(map(_is_open, jobs)))
        made = {str(f) for j in jobs for f in j.output}
        inputs = dict.fromkeys(self._name(f) for j in jobs for f in j.input if str(f) not in made)
        updated = [self._name(f) for j in jobs for f in j.output if _flagged(f, "update")]
        inputs |= dict.fromkeys(name for name in updated if self._exists(name))
        needed = _needed_outside(jobs) if group else _always
        request = _group_request(job, jobs) if nested and group else _largest([_request(j) for j in jobs])
        sources: tuple[str, ...] = ()
        if not nested:
            members = tuple(self._member(j, jobs, needed) for j in jobs)
            if bound:
                sources = self._sources.mentioned(jobs)
        else:
            outputs = tuple(o for j in jobs for o in self._outputs(j, needed) if o.home or self._floating)
            threads = max(1, int(request.cores))
            if bound:
                render = self._nested.render(job, threads)
                sources = self._sources.of(jobs)
                inputs |= dict.fromkeys(self._checkpoints(job.dag))
            else:
                text = self._nested_here(job)
                render = lambda path_of, tmpdir: Command(text, "sh")  # noqa: E731
            members = (Member(rule, render, outputs, threads),)
        return Task(
            id=ident,
            name=str(job.name) if group else f"{rule} (jobid {job.jobid})",
            rule=jobs[-1].rule.name,
            group=str(named) if (named := job.groupid if group else job.group) else None,
            request=request,
            inputs=tuple(inputs),
            members=members,
            env=self._envvars,
            nested=nested and bound,
            sources=sources,
            resources=_wishes(jobs, job if group else None, request.cores),
            floating=self._floating,
            effects=_effects(jobs, nested),
        )

    def _name(self, f: Any) -> str:
        return name_of(f) if self._floating else str(f)

    def _outputs(self, job: Any, needed: Callable[[Any, Any], bool]) -> tuple[Output, ...]:
        files = [f for f in job.output if not (_flagged(f, "pipe") or _flagged(f, "service"))]
        made = [(self._floating_output if self._floating else _output)(job, f, needed) for f in files]
        if job.benchmark:
            made.append(Output(path=self._name(job.benchmark), home=not floats(job.benchmark) or not self._floating))
        return (*made, *(Output(path=self._name(f), log=True, home=not self._floating) for f in job.log))

    def _floating_output(self, job: Any, f: Any, needed: Callable[[Any, Any], bool]) -> Output:
        ours = floats(f)
        final = is_target(job, f)
        return Output(
            path=self._name(f),
            directory=bool(f.is_directory),
            update=_flagged(f, "update"),
            touch=f in job.touch_output,
            home=not ours,
            temp=_flagged(f, "temp"),
            passing=_passes(job, f, needed),
            target=ours and final and not self._leave and not _flagged(f, "temp") and not is_address(self._name(f)),
            protected=f in job.protected_output,
            ensure=_ensure(job, f),
            deliver=_delivery(job, f),
        )

    def _checkpoints(self, dag: Any) -> list[str]:
        """What finished checkpoints made: a nested Snakemake looks at it when it asks what a job reads."""
        done = (job for job in dag.jobs if job.is_checkpoint and (dag.finished(job) or not dag.needrun(job)))
        return [name for job in done for f in job.output if self._exists(name := self._name(f))]

    def _member(self, job: Any, group: Sequence[Any], needed: Callable[[Any, Any], bool]) -> Member:
        tmpdir = job.resources.get("tmpdir")
        explicit = tmpdir if isinstance(tmpdir, str) and not is_tbd(tmpdir) else None
        later = {str(f) for other in group[group.index(job) + 1 :] for f in other.input}
        passing = {str(f): self._name(f) for other in group for f in other.output if _passes(other, f, needed)}
        done = passing.keys() & set(map(str, (*job.input, *job.output))) - later
        removes = sorted(passing[f] for f in done)
        outputs = self._outputs(job, needed)
        return Member(
            job.rule.name,
            renderer(job, self._name, self._sources.absolute),
            outputs,
            int(job.threads),
            explicit,
            tuple(removes),
        )


def _output(job: Any, f: Any, needed: Callable[[Any, Any], bool]) -> Output:
    return Output(
        path=str(f),
        directory=bool(f.is_directory),
        update=_flagged(f, "update"),
        touch=f in job.touch_output,
        home=needed(job, f),
        passing=_passes(job, f, needed),
    )


def _passes(job: Any, f: Any, needed: Callable[[Any, Any], bool]) -> bool:
    """Whether a file is temporary, and of no use outside of its group."""
    return _flagged(f, "temp") and not needed(job, f)


def _delivery(job: Any, f: Any) -> Callable[[], None] | None:
    if floats(f):
        deliver = f.storage_object.retrieve_listed if job.is_checkpoint else None
    else:
        deliver = f.storage_object.store_object if f.is_storage else None
    return cast("Callable[[], None] | None", deliver)


def _ensure(job: Any, f: Any) -> Ensure | None:
    if not _flagged(f, "ensure"):
        return None
    wanted = f.flags["ensure"]
    algorithm, digest = wanted.get("checksum_algorithm"), wanted.get("checksum")
    if callable(digest):
        digest = digest(job.wildcards)
    return Ensure(bool(wanted.get("non_empty")), algorithm, str(digest) if algorithm else "")


def _effects(jobs: Sequence[Any], nested: bool) -> tuple[str, ...]:
    """Folders in which a task makes more than its outputs."""
    beside = any(job.is_checkpoint or not job.output for job in jobs)
    keeps = nested and not jobs[0].dag.workflow.execution_settings.cleanup_scripts and any(map(has_script, jobs))
    return (*(["."] if beside else []), *([SCRIPTS] if keeps else []))


def _always(job: Any, f: Any) -> bool:
    return True


def _needed_outside(jobs: Iterable[Any]) -> Callable[[Any, Any], bool]:
    """As Snakemake's own rule for groups: a temp file that only the group needs does not travel."""
    members = set(jobs)

    def needed(job: Any, f: Any) -> bool:
        if _flagged(f, "nodelocal"):
            return False
        dag = job.dag
        return (
            not _flagged(f, "temp")
            or dag.workflow.storage_settings.notemp
            or f in dag.targetfiles
            or any(
                f in files
                for other, files in dag.depending[job].items()
                if other not in members and dag.needrun(other) and not dag.finished(other)
            )
        )

    return needed


def _request(job: Any) -> Request:
    resources = {
        name: value for name, value in job.resources.items() if isinstance(value, int) and not isinstance(value, bool)
    }
    own = job.rule.resources
    custom = {name: value for name, value in resources.items() if name not in _OWN_RESOURCES and value > 0}
    return Request(
        cores=float(job.threads),
        memory_b=0 if _is_default(own, "mem", _DEFAULT_MEMORY) else resources.get("mem_mb", 0) * _MB,
        disk_b=0 if _is_default(own, "disk", _DEFAULT_DISK) else resources.get("disk_mb", 0) * _MB,
        custom=custom,
    )


def _group_request(group: Any, jobs: Iterable[Any]) -> Request:
    """What a group needs whose members run beside each other, as Snakemake itself counts it."""
    each = [_request(job) for job in jobs]
    largest, resources = _largest(each), group.resources
    return replace(
        largest,
        cores=float(max(largest.cores, resources.get("_cores", 1))),
        memory_b=max(largest.memory_b, resources.get("mem_mb", 0) * _MB) if largest.memory_b else 0,
        disk_b=max(largest.disk_b, resources.get("disk_mb", 0) * _MB) if largest.disk_b else 0,
    )


def _resources(job: Any) -> dict[str, int | str]:
    """What a rule asks for; memory and disk only when the user said so."""
    own = job.rule.resources
    guessed = {"mem": _DEFAULT_MEMORY, "disk": _DEFAULT_DISK}
    guesses = {f"{n}{unit}" for n, text in guessed.items() if _is_default(own, n, text) for unit in ("", "_mb", "_mib")}
    return {
        name: value
        for name, value in job.resources.items()
        if not name.startswith("_") and name not in guesses and not is_tbd(value) and isinstance(value, int | str)
    }


def _wishes(jobs: Iterable[Any], group: Any, cores: float) -> dict[str, int | str]:
    """What a job asks for; of a group the most of each number, the first of each word, and Snakemake's idea of time."""
    found: dict[str, int | str] = {}
    for job in jobs:
        for name, value in _resources(job).items():
            known = found.get(name, value)
            found[name] = max(known, value) if isinstance(known, int) and isinstance(value, int) else known
    if "runtime" in found and group is not None:
        found["runtime"] = group.resources.get("runtime", found["runtime"])
    return found | {"threads": max(1, int(cores))}


def _is_default(resources: Any, name: str, expression: str) -> bool:
    """Whether a resource comes from Snakemake's own defaults, which are guesses and no wish of the user."""
    for key in (f"{name}_mb", name, f"{name}_mib"):
        try:
            resource = resources[key]
        except KeyError:
            continue
        return _expression(resource) == expression
    return False


def _expression(resource: Any) -> object:
    """Return the text of a resource; one named without a unit has it only in the function that was made of it."""
    raw, function = getattr(resource, "raw", None), inspect.unwrap(getattr(resource, "_evaluator", None) or str)
    if raw is None and inspect.isfunction(function):
        return inspect.getclosurevars(function).nonlocals.get("value")
    return raw


def _largest(requests: list[Request]) -> Request:
    custom: dict[str, int] = {}
    for request in requests:
        for name, amount in request.custom.items():
            custom[name] = max(amount, custom.get(name, 0))
    return Request(
        cores=max(request.cores for request in requests),
        memory_b=max(request.memory_b for request in requests),
        disk_b=max(request.disk_b for request in requests),
        custom=custom,
    )


def _flagged(f: Any, flag: str) -> bool:
    flags = getattr(f, "flags", None)
    return bool(flags and flags.get(flag))

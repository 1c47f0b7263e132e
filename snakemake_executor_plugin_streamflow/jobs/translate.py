"""Snakemake's job objects to tasks. Runs on Snakemake's main thread, but for `Member.render`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..model import Request
from ..remote.job import Command
from .nested import NestedCommands
from .sources import Sources
from .task import MapPath, Member, Output, Task

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
    workflow = job.dag.workflow
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
    methods = {method.name for method in workflow.deployment_settings.deployment_method}
    if "CONDA" in methods and job.conda_env_spec:
        return "it uses `conda:`"
    if "APPTAINER" in methods and job.container_img_url:
        return "it uses `container:`"
    if "ENV_MODULES" in methods and job.env_modules:
        return "it uses `envmodules:`"
    if any(_flagged(f, flag) for f in (*job.output, *job.input) for flag in ("pipe", "service")):
        return "it uses `pipe()` or `service()`"
    return None


def ordered(job: Any) -> list[Any]:
    """Return the members of a group in an order in which they can run; of a single job, itself. The last one binds."""
    return [j for level in job.toposorted for j in sorted(level, key=str)] if job.is_group() else [job]


def why_not_sent(job: Any) -> str | None:
    """Return why a job can run at the controller only, or None."""
    if any(f.is_storage for f in (*job.input, *job.output)):
        return "it uses a storage provider"
    return None


class Translator:
    """Makes tasks of jobs.

    Args:
        run: identity of this run; part of every task's id.
        envvars: values of the variables that the workflow declares.
        nested_here: gives the shell command that runs a job by Snakemake itself, in this directory.
        nested: makes the commands that do so at a location of its own.
        sources: finds what those need.
    """

    def __init__(
        self,
        run: str,
        envvars: Mapping[str, str],
        *,
        nested_here: Callable[[Any], str],
        nested: NestedCommands,
        sources: Sources,
    ) -> None:
        self._run = run
        self._envvars = dict(envvars)
        self._nested_here = nested_here
        self._nested = nested
        self._sources = sources
        self._number = 0

    def task(self, job: Any, *, bound: bool) -> Task:
        """Return the task of a job or group job that has been prepared. `bound`: a binding says where it may run."""
        self._number += 1
        group, jobs = job.is_group(), ordered(job)
        rule = job.groupid if group else job.rule.name
        ident = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{self._run}-{self._number}-{rule}-{job.attempt}")
        nested = any(why_not_direct(j) for j in jobs)
        made = {str(f) for j in jobs for f in j.output}
        inputs = dict.fromkeys(str(f) for j in jobs for f in j.input if str(f) not in made)
        inputs |= dict.fromkeys(str(f) for j in jobs for f in j.output if _flagged(f, "update") and os.path.lexists(f))
        needed = _needed_outside(jobs) if group else _always
        request = _group_request(job, jobs) if nested and group else _largest([_request(j) for j in jobs])
        sources: tuple[str, ...] = ()
        if not nested:
            members = tuple(self._member(j, _outputs(j, needed)) for j in jobs)
        else:
            outputs = tuple(o for j in jobs for o in _outputs(j, needed) if o.home)
            threads = max(1, int(request.cores))
            if bound:
                render = self._nested.render(job, threads)
                sources = self._sources.of(jobs)
                inputs |= dict.fromkeys(_checkpoints(job.dag))
            else:
                text = self._nested_here(job)
                render = lambda path_of, tmpdir: Command(text, "sh")  # noqa: E731
            members = (Member(rule, render, outputs, threads),)
        return Task(
            id=ident,
            name=str(job.name) if group else f"{rule} (jobid {job.jobid})",
            rule=jobs[-1].rule.name,
            group=str(job.groupid) if group else None,
            request=request,
            inputs=tuple(inputs),
            members=members,
            env=self._envvars,
            nested=nested and bound,
            sources=sources,
            resources=_wishes(jobs, job if group else None, request.cores),
        )

    def _member(self, job: Any, outputs: tuple[Output, ...]) -> Member:
        tmpdir = job.resources.get("tmpdir")
        explicit = tmpdir if isinstance(tmpdir, str) and not _is_tbd(tmpdir) else None
        return Member(job.rule.name, _renderer(job), outputs, int(job.threads), explicit)


def _renderer(job: Any) -> Callable[[MapPath, str], Command | None]:
    from snakemake.shell import shell

    if not job.rule.shellcmd:
        return lambda path, tmpdir: None
    executable = str(job.resources.get("shell_exec") or shell.get_executable() or "sh")
    prefix, suffix = shell._process_prefix, shell._process_suffix
    files = [str(f) for f in (*job.input, *job.output, *job.log)]
    plain = job.shellcmd
    needs_tmpdir = _is_tbd(job.resources.get("tmpdir")) and _mentions_tmpdir(job)

    def render(path_of: MapPath, tmpdir: str) -> Command:
        mapped = {f: there for f in files if (there := path_of(f)) != f}
        text = plain
        if mapped or needs_tmpdir:
            text = _formatted(job, mapped, tmpdir)
        return Command(text, executable, prefix or "", suffix or "")

    return render


def _formatted(job: Any, mapped: Mapping[str, str], tmpdir: str) -> str:
    """The job's command with other paths. A parameter that is or holds such a path changes with it."""
    from snakemake.iocontainers import Namedlist

    def renamed(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = mapped.get(str(value))
        if text is not None:
            return text
        for here, there in mapped.items():
            if here in value:
                safe = there.replace("\\", r"\\")
                value = re.sub(rf"(?<![\w./-]){re.escape(here)}(?![\w.-])", safe, value)
        return value

    def cloned(original: Any) -> Any:
        return Namedlist(toclone=original, custom_map=lambda f: renamed(str(f)))

    resources = Namedlist(toclone=job.resources, custom_map=lambda v: tmpdir if _is_tbd(v) else v)
    params = Namedlist(toclone=job.params, custom_map=renamed)
    return str(
        job.format_wildcards(
            job.rule.shellcmd,
            input=cloned(job.input),
            output=cloned(job.output),
            log=cloned(job.log),
            params=params,
            resources=resources,
        )
    )


def _mentions_tmpdir(job: Any) -> bool:
    return "tmpdir" in job.rule.shellcmd or "<TBD>" in (job.shellcmd or "")


def _outputs(job: Any, needed: Callable[[Any, Any], bool]) -> tuple[Output, ...]:
    outputs = [
        Output(
            path=str(f),
            directory=bool(f.is_directory),
            update=_flagged(f, "update"),
            touch=f in job.touch_output,
            home=needed(job, f),
        )
        for f in job.output
        if not (_flagged(f, "pipe") or _flagged(f, "service"))
    ]
    if job.benchmark:
        outputs.append(Output(path=str(job.benchmark)))
    return (*outputs, *(Output(path=str(f), log=True) for f in job.log))


def _checkpoints(dag: Any) -> list[str]:
    """What finished checkpoints made: a nested Snakemake looks at it when it asks what a job reads."""
    done = (job for job in dag.jobs if job.is_checkpoint and (dag.finished(job) or not dag.needrun(job)))
    return [str(f) for job in done for f in job.output if os.path.lexists(f)]


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
        if not name.startswith("_") and name not in guesses and not _is_tbd(value) and isinstance(value, int | str)
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
        return getattr(resource, "raw", None) == expression
    return False


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


def _is_tbd(value: Any) -> bool:
    return type(value).__name__ == "TBDString" or value == "<TBD>"

"""How a `shell:` rule becomes the command that it is, with paths as they are at its location."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..remote.job import Command
from .names import floats, is_tbd
from .task import MapPath

_OWN_NAMES = frozenset(
    {"self", "string", "input", "output", "params", "wildcards", "threads", "resources"}
    | {"log", "jobid", "name", "rule", "rulename"}
)
"""What Snakemake itself gives to the command of a job, and two that its call has no room for."""


def renderer(job: Any, name: Callable[[Any], str]) -> Callable[[MapPath, str], Command | None]:
    """Return what gives the command of a job at a location, or None when it has none.

    `name` gives the name by which the engine knows a file.
    """
    from snakemake.shell import shell

    if not job.rule.shellcmd:
        return lambda path, tmpdir: None
    executable = str(job.resources.get("shell_exec") or shell.get_executable() or "sh")
    prefix, suffix = shell._process_prefix, shell._process_suffix
    files = {str(f): name(f) for f in (*job.input, *job.output, *job.log)}
    # What a parameter makes of the name of such a file begins with this.
    folders = {f"{f.storage_object.provider.local_prefix}/" for f in (*job.input, *job.output) if floats(f)}
    there_too = _namespace(job)
    plain = str(job.format_wildcards(job.rule.shellcmd, **there_too)) if there_too else job.shellcmd
    needs_tmpdir = is_tbd(job.resources.get("tmpdir")) and _mentions_tmpdir(job)

    def render(path_of: MapPath, tmpdir: str) -> Command:
        mapped = {f: there for f, ours in files.items() if (there := path_of(ours)) != f}
        text = plain
        if mapped or needs_tmpdir:
            text = _formatted(job, mapped, tmpdir, folders, there_too)
        return Command(text, executable, prefix or "", suffix or "")

    return render


def _formatted(
    job: Any, mapped: Mapping[str, str], tmpdir: str, folders: Iterable[str], namespace: Mapping[str, Any]
) -> str:
    """The job's command with other paths. A parameter that is or holds such a path changes with it."""
    from snakemake.iocontainers import Namedlist

    def renamed(value: Any) -> Any:
        if type(value) in (list, tuple):
            return type(value)(map(renamed, value))
        if not isinstance(value, str):
            return value
        text = mapped.get(str(value))
        if text is not None:
            return text
        for here, there in mapped.items():
            if here in value:
                safe = there.replace("\\", r"\\")
                value = re.sub(rf"(?<![\w./-]){re.escape(here)}(?![\w.-])", safe, value)
        for folder in folders:
            value = value.replace(folder, "")
        return value

    def cloned(original: Any) -> Any:
        return Namedlist(toclone=original, custom_map=lambda f: renamed(str(f)))

    resources = Namedlist(toclone=job.resources, custom_map=lambda v: tmpdir if is_tbd(v) else v)
    params = Namedlist(toclone=job.params, custom_map=renamed)
    return str(
        job.format_wildcards(
            job.rule.shellcmd,
            **namespace,
            input=cloned(job.input),
            output=cloned(job.output),
            log=cloned(job.log),
            params=params,
            resources=resources,
        )
    )


def _mentions_tmpdir(job: Any) -> bool:
    return "tmpdir" in job.rule.shellcmd or "<TBD>" in (job.shellcmd or "")


def _namespace(job: Any) -> dict[str, Any]:
    """Names of the module that a rule comes from; Snakemake formats `job.shellcmd` with those of the main workflow."""
    own = getattr(job.rule.run_func, "__globals__", None)
    if own is None or own is job.dag.workflow.globals:
        return {}
    return {name: value for name, value in own.items() if name.isidentifier() and name not in _OWN_NAMES}

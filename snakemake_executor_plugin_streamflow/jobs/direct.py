"""How a `shell:` rule becomes the command that it is, with paths as they are at its location."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any

from ..remote.job import Command
from .names import floats, is_tbd
from .software import with_software
from .task import MapPath


def renderer(
    job: Any, name: Callable[[Any], str], absolute: Callable[[Any, str], Sequence[str]]
) -> Callable[[MapPath, str], Command | None]:
    """Return what gives the command of a job at a location, or None when it has none.

    Args:
        name: gives the name by which the engine knows a file.
        absolute: finds paths in a command that are others at a location, beside those of inputs and outputs.
    """
    from snakemake.shell import shell

    if not job.rule.shellcmd:
        return lambda path, tmpdir: None
    executable = str(job.resources.get("shell_exec") or shell.get_executable() or "sh")
    prefix, suffix = shell._process_prefix, shell._process_suffix
    files = {str(f): name(f) for f in (*job.input, *job.output, *job.log)}
    # What a parameter makes of the name of such a file begins with this.
    folders = {f"{f.storage_object.provider.local_prefix}/" for f in (*job.input, *job.output) if floats(f)}
    plain = _command(job)
    paths = absolute(job, plain)
    needs_tmpdir = is_tbd(job.resources.get("tmpdir")) and ("tmpdir" in job.rule.shellcmd or "<TBD>" in plain)

    def render(path_of: MapPath, tmpdir: str) -> Command:
        mapped = {f: there for f, ours in files.items() if (there := path_of(ours)) != f}
        text = plain
        if mapped or needs_tmpdir:
            text = _formatted(job, mapped, tmpdir, folders)
        for path in paths:
            if (there := path_of(path)) != path:
                whole = rf"(?<![\w./+@%~-]){re.escape(path)}(?![\w./+@%~-])"
                text = re.sub(whole, there.replace("\\", r"\\"), text)
        return with_software(job, Command(text, executable, prefix, suffix or ""))

    return render


def _formatted(job: Any, mapped: Mapping[str, str], tmpdir: str, folders: Iterable[str]) -> str:
    """The job's command with other paths. A parameter that is or holds such a path changes with it."""

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

    def cloned(original: Any, change: Callable[[Any], Any] = lambda f: renamed(str(f))) -> Any:
        return type(original)(toclone=original, custom_map=change)

    resources = cloned(job.resources, lambda v: tmpdir if is_tbd(v) else v)
    params = cloned(job.params, renamed)
    return _command(
        job, input=cloned(job.input), output=cloned(job.output), log=cloned(job.log), params=params, resources=resources
    )


def _command(job: Any, **changed: Any) -> str:
    """Return the text that Snakemake would hand to a shell: the rule's own code formats it, with its own names.

    `job.shellcmd` is not always that: it knows neither the names of a module nor those inside an f-string.
    """
    from snakemake.exceptions import RuleException
    from snakemake.utils import format

    said: list[str] = []

    def shell(text: str, *args: Any, bench_record: Any = None, **kwargs: Any) -> None:
        said.append(format(text, *args, stepout=2, **kwargs))

    code = job.rule.run_func
    given: dict[str, Any] = {name: getattr(job, name)._plainstrings() for name in ("input", "output", "log")}
    given |= {name: getattr(job, name) for name in ("params", "wildcards", "threads", "resources", "jobid")}
    given |= {"rule": job.rule.name, "is_shell": True, **changed}
    own = FunctionType(code.__code__, {**code.__globals__, "shell": shell}, code.__name__, None, code.__closure__)
    try:
        own(*(given.get(name) for name in inspect.signature(code).parameters))
    except Exception as error:
        raise RuleException(f"{type(error).__name__}: {error}, when formatting the command", rule=job.rule) from error
    return said[0]

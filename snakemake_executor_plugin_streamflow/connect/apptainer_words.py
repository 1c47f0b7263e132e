"""Options of an apptainer deployment as arguments of its command, and what binds show. No I/O."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from shlex import quote

from ..model import ApptainerOptions, Mount

ADDRESS = re.compile(r"[a-z][a-z0-9+-]*:")
"""How an image that is fetched starts: docker://, oras://, docker-daemon:, oci-archive: ..."""


@dataclass(frozen=True, slots=True)
class Program:
    """The command at a host.

    Attributes:
        path: of the command.
        prefix: of variables that are set in containers.
        no_eval: whether it knows `--no-eval`; else containers evaluate the values of variables.
        home, here: the home directory, and the folder that relative paths start at.
        workdir: where jobs run, the same path in containers; None: below the home directory.
    """

    path: str
    prefix: str
    no_eval: bool
    home: str
    here: str
    workdir: str | None = None


def probe(order: tuple[str, str]) -> str:
    """Return shell text that prints a `Program`, line by line."""
    first, second = order
    return f"""p=$(command -v {first} || command -v {second}) || {{
echo 'neither {first} nor {second} is installed there' >&2; exit 1; }}
printf '%s\\n' "$p"
case $("$p" --version) in apptainer*) echo APPTAINERENV_;; *) echo SINGULARITYENV_;; esac
"$p" exec --help 2>/dev/null | grep -c -e --no-eval
printf '%s\\n' "$HOME"
pwd"""


def flags(options: ApptainerOptions, program: Program) -> list[str]:
    """Return the arguments that make a container what the options say."""
    words = []
    for field in fields(options):
        flag, value = field.metadata.get("flag"), getattr(options, field.name)
        if field.name == "bind":
            value = tuple(f"{source}:{rest}" for source, rest in _binds(options, program))
        if flag is None or value in (None, False, ()):
            continue
        if value is True:
            words.append(flag)
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [flag, f"{one:g}" if isinstance(one, float) else str(one)]
    return words if program.workdir is None else [*words, "--bind", f"{program.workdir}:{program.workdir}"]


def sees_home(options: ApptainerOptions) -> bool:
    """Return whether the home directory in the container is the host's."""
    hidden = options.contain or options.containall or options.compat or options.no_home or options.home
    return not hidden and not any("home" in text.split(",") for text in options.no_mount)


def mounts(options: ApptainerOptions, program: Program, filesystem: str) -> tuple[Mount, ...]:
    """Return what the container sees of the host's files."""
    shown = {rest.partition(":")[0]: source for source, rest in _binds(options, program)}
    if sees_home(options):
        shown.setdefault(program.home, program.home)
    if program.workdir:
        shown[program.workdir] = program.workdir
    return tuple(
        Mount(PurePosixPath(path), filesystem, PurePosixPath(source))
        for path, source in sorted(shown.items())
        if path.startswith("/") and source.startswith("/")
    )


def absolute(path: str, program: Program) -> str:
    """Return a path of the host, absolute."""
    if path == "~" or path.startswith("~/"):
        path = program.home + path[1:]
    return posixpath.normpath(posixpath.join(program.here, path))


def fetch(program: Program, address: str, file: str, *, always: bool) -> str:
    """Return shell text that makes an image file of an address; it has its name only when complete."""
    unless = "" if always else f"[ ! -e {quote(file)} ] || exit 0\n"
    return f"""{unless}mkdir -p {quote(posixpath.dirname(file))} && t=$(mktemp {quote(file + ".XXXXXX")}) || exit 1
trap 'rm -f "$t"' EXIT
{quote(program.path)} build --force "$t" {quote(address)} && mv -f "$t" {quote(file)}"""


def _binds(options: ApptainerOptions, program: Program) -> Iterator[tuple[str, str]]:
    for text in ",".join(options.bind).split(",") if options.bind else ():
        source, _, rest = text.partition(":")
        source = absolute(source, program)
        yield source, rest or source

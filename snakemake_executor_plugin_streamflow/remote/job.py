"""The job directory: what is written there, and what is read back.

`<workdir>/.streamflow/jobs/<id>/`, mode 700, holds `script`, `stdout`, `stderr`, `begun`, `pid`, `code`, `exit`, and
`over` when the job's time was over. `exit` holds the code and what was found of each output; it is complete when its
last line is a full stop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .quote import encode, exports, quote, words

OVER = "it ran into its time limit"
SCRIPT_LIMIT = 65_000
"""Bytes of one argument, as Snakemake counts them: longer commands are run from a file."""


@dataclass(frozen=True, slots=True)
class Command:
    """One shell command: `text` is run by `shell`; by bash after `set -euo pipefail`, unless it has a prefix.

    Attributes:
        shell: what Snakemake would use; its base name when that path does not exist at the location.
        prefix, suffix: `shell.prefix`, which may be empty, and `shell.suffix`.
        env: for this command alone; not secret.
        name: the rule that failed, when this fails; said on stderr, unless "".
        before: comes first, before strict mode.
        within: what runs the shell, in a container; its name is all that is known of it there.
    """

    text: str
    shell: str = "bash"
    prefix: str | None = None
    suffix: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    before: str = ""
    within: str = ""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a session runs.

    Attributes:
        id: run, job and attempt: [A-Za-z0-9_.-]+, unique for ever.
        commands: one after another; the first that fails ends the job.
        outputs: paths to remove before, and to look at after; relative to `workdir` or absolute.
        inputs: paths that the job should leave as they are; looked at after it.
        keep: those of `outputs` that are not removed before (`update()`).
        parents: directories that must exist.
        env: exported; never written to a file.
        resources: what the rule asks for, by Snakemake's names; for queues.
        limit_s: seconds after which the job is ended with its whole process tree.
        stdin, stdout, stderr: files instead of the job directory's (and /dev/null); relative to `workdir` or absolute.
    """

    id: str
    workdir: PurePosixPath
    commands: Sequence[Command]
    outputs: Sequence[str] = ()
    inputs: Sequence[str] = ()
    keep: frozenset[str] = frozenset()
    parents: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, int | str] = field(default_factory=dict)
    limit_s: int | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One output as it lies at its location.

    Attributes:
        kind: "file", "directory", "other" or "missing".
        digest: as in `Replica`; "" when nobody has made it.
    """

    path: str
    kind: str
    size_b: int = 0
    mtime_ns: int = 0
    mode: int = 0o644
    digest: str = ""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended.

    Attributes:
        code: 128+n after signal n.
        outputs: in the order of the specification; None when the list was too long for an event: read the file `exit`.
        reason: what is known beyond the code.
        over: it was ended because it ran for longer than its limit.
        newer: the positions of those inputs that were written to after the job began.
    """

    code: int
    outputs: tuple[Found, ...] | None = ()
    reason: str = ""
    over: bool = False
    newer: tuple[int, ...] = ()


FINISH = r"""
sf_finish() { m=; t=; o="$1/stderr"; [ -w "$o" ] || o=/dev/null
  eval "$3" 2>>"$o"; o=; [ "$2" = 0 ] || [ ! -e "$1/over" ] || o='over '
  e="$2 $o${m:--}$t"; printf '%s\n.\n' "$e" >"$1/exit"; }
sf_look() { for f; do shift
    if [ -d "$f" ]; then m=${m}d; elif [ -f "$f" ]; then m=${m}f; elif [ -e "$f" ]; then m=${m}o
    else m=${m}m; continue; fi
    set -- "$@" "$f"; done
  [ $# = 0 ] || { set -- $(stat -L -c '%s %Y %a' -- "$@"); t="$t $*"; }; }
"""
"""Shell functions. `sf_finish DIRECTORY CODE LOOK`, LOOK being `look_text`, writes `exit` (and its line to `e`).

A job may have removed its directory: `eval` whose redirection fails would end the shell.
"""

TREE = r"""
sf_end_tree() { kill -TERM "-$2" 2>/dev/null; n=0
  while kill -0 "-$2" 2>/dev/null && [ $n -lt 20 ]; do sleep 0.1; n=$((n+1)); done
  kill -KILL "-$2" 2>/dev/null
  for e in $(grep -la "STREAMFLOW_JOB=$1" /proc/[0-9]*/environ 2>/dev/null); do
    q=${e#/proc/}; q=${q%/environ}
    [ "$q" = $$ ] || grep -qa "STREAMFLOW_JOB=$1[A-Za-z0-9_.-]" "$e" || kill -KILL "$q" 2>/dev/null; done; }
"""
"""A shell function. `sf_end_tree JOB PID` ends a job's process group, and then what has left it.

`kill -TERM -PGID` without `--`: dash and busybox take nothing else. `grep -a` finds what a job left in sessions of its
own; the wrapper itself, in the group, is dead by then. A name that goes on is another job's: that of a new attempt.
"""


def render(spec: JobSpec) -> str:
    """Return the text of `script`. It is run by `sh` in a session of its own, and leaves the job's code in `code`."""
    lines = [
        "d=${0%/*}",
        "trap : TERM INT HUP",
        'echo $$ >"$d/pid"',
        "run() {",
    ]
    lines += [f"[ -d {p} ] || mkdir -p -- {p} || return 125" for p in map(quote, spec.parents)]
    lines += [
        f"if [ -e {p} ] || [ -L {p} ]; then rm -rf -- {p} || return 125; fi"
        for p in map(quote, (o for o in spec.outputs if o not in spec.keep and o not in (spec.stdout, spec.stderr)))
    ]
    for number, command in enumerate(spec.commands):
        body = _run(command, number, "exec " if command.env else "")
        if command.env:
            body = f"(\n{exports(command.env)}{body}\n)"
        said = f"echo {quote(f'Rule {command.name} failed.')} >&2; " if command.name else ""
        lines.append(f"{body} || {{ c=$?; {said}return $c; }}" if said else f"{body} || return $?")
    lines.append("}")
    redirect = "".join(
        f" {sign}{quote(name)}" for sign, name in (("<", spec.stdin), (">", spec.stdout), ("2>", spec.stderr)) if name
    )
    lines.append(f"if cd {quote(spec.workdir)}; then run{redirect}; c=$?; else c=125; fi")
    lines.append("""echo $c >"$d/code"; exit $c""")
    return "\n".join(lines) + "\n"


def look_text(spec: JobSpec) -> str:
    """Return the calls of `sf_look` that describe the outputs after the job, and what finds its newer inputs."""
    if not spec.outputs and not spec.inputs:
        return ""
    calls = [
        f"sf_look {words(_dashed(o) for o in spec.outputs[start : start + 200])}"
        for start in range(0, len(spec.outputs), 200)
    ]
    if spec.inputs:
        newer = '[ "$f" -nt "$1/pid" ] && k="$k $n"; n=$((n+1))'
        calls.append(f"""n=0; k=; for f in {words(spec.inputs)}; do {newer}; done; t="$t${{k:+ !$k}}\"""")
    return "\n".join([f"cd {quote(spec.workdir)} 2>/dev/null", *calls])


def parse_end(line: str, outputs: Sequence[str]) -> JobEnd:
    """Read an `exit` file's or an event's line.

    It is `CODE [over] FLAGS`, then `SIZE MTIME MODE` of each output there is, then `! N` for inputs that are newer.

    Raises:
        ValueError, IndexError: it says something else.
    """
    line, _, positions = line.partition(" ! ")
    words, newer = line.split(), tuple(map(int, positions.split()))
    code, over = int(words[0]), words[1] == "over"
    flags, *numbers = words[1 + over :]
    if flags == "@":
        return JobEnd(code, None, OVER if over else "", over)
    rest = iter(numbers)
    found = []
    for path, flag in zip(outputs, "" if flags == "-" else flags, strict=False):
        if flag == "m":
            found.append(Found(path, "missing"))
            continue
        size, mtime, mode = int(next(rest, "")), int(next(rest, "")), int(next(rest, ""), 8)
        kind = {"f": "file", "d": "directory"}.get(flag, "other")
        found.append(Found(path, kind, size, mtime * 1_000_000_000, mode))
    return JobEnd(code, tuple(found), OVER if over else "", over, newer)


def _dashed(path: str) -> str:
    return f"./{path}" if path.startswith("-") else path


def _run(command: Command, number: int, how: str) -> str:
    base = command.shell.rsplit("/", 1)[-1]
    bash = base == "bash"
    strict = "set -euo pipefail; " if bash and command.prefix is None else command.prefix or ""
    text = command.before + f"{strict} {command.text} {command.suffix}".strip()
    pick, shell = "", base
    if command.shell != base:
        own = quote(command.shell)
        pick, shell = f"if [ -x {own} ]; then sf_shell={own}; else sf_shell={base}; fi; ", '"$sf_shell"'
    long = len(encode(text)) + 4 * text.count("'") > SCRIPT_LIMIT
    if command.within:
        start = f"{command.within} {base}"
        if not long:
            return f"{{ {start} -c {quote(text)}; }}"
        return f"""{{ printf '%s\\n' {quote(text)} >"$d/command{number}" && {{ {start} "$d/command{number}"; }}; }}"""
    if long:
        return f"""{{ {pick}printf '%s\\n' {quote(text)} >"$d/command{number}" && {shell} "$d/command{number}"; }}"""
    if bash and command.prefix is None:
        # Without bash, sh does what it can of strict mode; the preflight has said so.
        strict = "set -eu; (set -o pipefail) 2>/dev/null && set -o pipefail;"
        plain = f"{command.before}{strict} {command.text} {command.suffix}".strip()
        with_bash, without = f"{how}{shell} -c {quote(text)}", f"{how}sh -c {quote(plain)}"
        return f"{{ {pick}if command -v bash >/dev/null 2>&1; then {with_bash}; else {without}; fi; }}"
    return f"{{ {pick}{how}{shell} -c {quote(text)}; }}"

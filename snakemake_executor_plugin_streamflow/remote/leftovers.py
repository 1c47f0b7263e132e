"""What dead runs have left at a location: jobs, job directories, half-finished transfers."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from .job import TREE
from .quote import quote, words

BESIDE = ".sf-" + 12 * "[0-9a-f]" + "*"
"""Pattern of the names of what is written beside its final name; so exact, because files of the user lie there too."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that a deployment's queue was given; `said` is what its submit command printed."""

    job: str
    deployment: str
    said: str


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What lies at a location.

    Attributes:
        running: jobs whose processes live there.
        queued: jobs that a queue was given, and that have not ended.
        ended: jobs with a directory and none of that, as seen from there: another location may share the folder.
        staged: names of half-finished transfers in `.streamflow/in`.
        beside: paths of half-finished transfers beside their final names.
    """

    running: tuple[str, ...] = ()
    queued: tuple[Queued, ...] = ()
    ended: tuple[str, ...] = ()
    staged: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


_RUNS = """
runs() { [ -s "$1/pid" ] && read -r p <"$1/pid" && grep -qa "STREAMFLOW_JOB=$1" "/proc/$p/environ"; }
"""


def look(folders: Iterable[str]) -> str:
    """Return shell text that lists what is left, for the working directory of a location.

    A process counts as a job only when its environment says so: process ids are used again.

    Args:
        folders: where files may have been on their way to; relative or absolute.
    """
    listing = "\n".join(
        f'for f in {quote(folder)}/{BESIDE}; do [ ! -e "$f" ] || printf "B %s\\0" "$f"; done'
        for folder in sorted(set(folders))
    )
    return f"""{{{_RUNS}
cd .streamflow/jobs && for d in *; do [ -d "$d" ] || continue
if [ -s "$d/queue" ] && [ ! -s "$d/exit" ]; then printf 'Q %s\\n' "$d"; cat "$d/queue"; printf '\\0'
elif runs "$d"; then printf 'R %s\\0' "$d"; else printf 'E %s\\0' "$d"; fi; done
cd ../in && for f in *; do [ ! -e "$f" ] || printf 'S %s\\0' "$f"; done; cd ../..
{listing}
}} 2>/dev/null
true"""


def parse(output: str) -> Leftovers:
    """Read the answer to `look`."""
    found: dict[str, list[str]] = {kind: [] for kind in "RQESB"}
    for record in output.split("\0"):
        kind, _, rest = record.partition(" ")
        if kind in found:
            found[kind].append(rest)
    queued = [record.split("\n", 2) for record in found["Q"]]
    return Leftovers(
        tuple(found["R"]),
        tuple(Queued(parts[0], parts[1], parts[2]) for parts in queued if len(parts) == 3),
        tuple(found["E"]),
        tuple(found["S"]),
        tuple(found["B"]),
    )


def end(jobs: Iterable[str]) -> str:
    """Return shell text that ends jobs which run at the location, and returns when their processes are gone."""
    return f"""{_RUNS}{TREE}
cd .streamflow/jobs || exit 1
for d in {words(jobs)}; do runs "$d" && sf_end_tree "$d" "$p"; done 2>/dev/null; true"""


def sweep(runs: Iterable[str], spare: Iterable[str] = (), done: Iterable[str] = (), *, deep: bool = False) -> str:
    """Return shell text that ends jobs of all but some runs in the present job folder, and prints the name of each.

    A process is touched only when its environment says that it belongs to that job directory: process ids are used
    again, and hosts may share the folder. Directories of jobs that ended a week ago are removed, after a month also
    those of jobs that never did and are not seen here; and half-finished transfers in which nothing has changed for a
    day: the connection broke, and nobody could remove them.

    Args:
        runs: their jobs go on.
        spare: jobs that go on.
        done: jobs whose directories are removed: all is known of them.
        deep: remove half-finished transfers, too; nothing may be on its way.
    """
    partial = f"rm -rf ../in/*\n(cd ../.. && find . -name '{BESIDE}' -prune -exec rm -rf {{}} +)\n" if deep else ""
    return f"""{_RUNS}{TREE}
cd .streamflow/jobs 2>/dev/null || exit 0
{partial}rm -rf {words(["./-", *(f"./{job}" for job in done)])}
for t in ../in/*; do [ "$(find "$t" -mtime -1 2>/dev/null | head -n 1)" ] || rm -rf "$t"; done
for d in *; do
  case $d in {"|".join([*(f"{quote(run)}-*" for run in runs), *map(quote, spare)])}) continue;; esac
  if [ -s "$d/exit" ]; then find "$d" -prune -type d -mtime +7 -exec rm -rf {{}} +; continue; fi
  runs "$d" || {{ [ -e "$d/queue" ] || find "$d" -prune -type d -mtime +30 -exec rm -rf {{}} +; continue; }}
  printf '%s\n' "$d"
  sf_end_tree "$d" "$p"
  rm -rf "$d"
done 2>/dev/null
true
"""


def remove(jobs: Iterable[str], staged: Iterable[str], beside: Iterable[str]) -> str:
    """Return shell text that removes job directories, mailboxes of queues and transfers; prints what it cannot."""
    folders = [posixpath.join(".streamflow/jobs", job) for job in jobs]
    transfers = [posixpath.join(".streamflow/in", name) for name in staged]
    return f"""rm -rf .streamflow/jobs/.ended-*
for f in {words([*folders, *transfers, *beside])}; do case $f in /*) ;; *) f=./$f;; esac; rm -rf -- "$f"; done"""

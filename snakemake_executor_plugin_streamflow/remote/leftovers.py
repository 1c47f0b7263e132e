"""What dead runs have left at a location: jobs, job directories, half-finished transfers."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from .quote import quote, words

BESIDE = ".sf-"
"""How the names begin of what is written beside its final name."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What lies at a location.

    Attributes:
        running: jobs whose processes live.
        ended: jobs that have a directory and no process.
        staged: names of half-finished transfers in `.streamflow/in`.
        beside: paths of half-finished transfers beside their final names.
    """

    running: tuple[str, ...] = ()
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
        f'for f in {quote(folder)}/{BESIDE}*; do [ ! -e "$f" ] || printf "B %s\\0" "$f"; done'
        for folder in sorted(set(folders))
    )
    return f"""{{{_RUNS}
cd .streamflow/jobs && for d in *; do [ -d "$d" ] || continue
if runs "$d"; then printf 'R %s\\0' "$d"; else printf 'E %s\\0' "$d"; fi; done
cd ../in && for f in *; do [ ! -e "$f" ] || printf 'S %s\\0' "$f"; done; cd ../..
{listing}
}} 2>/dev/null
true"""


def parse(output: str) -> Leftovers:
    """Read the answer to `look`."""
    found: dict[str, list[str]] = {"R": [], "E": [], "S": [], "B": []}
    for line in output.split("\0"):
        kind, _, name = line.partition(" ")
        if kind in found:
            found[kind].append(name)
    return Leftovers(*(tuple(names) for names in found.values()))


def remove(left: Leftovers) -> str:
    """Return shell text that ends the jobs, waits for their processes, and removes all of it; prints what it cannot."""
    jobs = words((*left.running, *left.ended))
    others = words([*(posixpath.join(".streamflow/in", name) for name in left.staged), *left.beside])
    return f"""{_RUNS}
cd .streamflow/jobs || exit 1
for d in {words(left.running)}; do
  runs "$d" || continue
  kill -TERM -- "-$p"; n=0
  while kill -0 -- "-$p" && [ $n -lt 20 ]; do sleep 0.1; n=$((n+1)); done
  kill -KILL -- "-$p"
  for e in $(grep -la "STREAMFLOW_JOB=$d" /proc/[0-9]*/environ); do
    q=${{e#/proc/}}; kill -KILL "${{q%/environ}}"; done
done 2>/dev/null
for d in {jobs}; do rm -rf -- "./$d"; done
cd ../..
for f in {others}; do case $f in /*) ;; *) f=./$f;; esac; rm -rf -- "$f"; done"""

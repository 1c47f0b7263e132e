"""Which replicas are made so that nothing is lost with a site, and which are given up for a limit of space."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .ledger import Replica

MADE = "o-"
"""How the versions begin of what a task has made: it can be made again."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Filesystems that a file is to be copied to; `short` says how many replicas there are too few even then."""

    to: tuple[str, ...]
    short: int = 0


@dataclass(frozen=True, slots=True)
class Eviction:
    """Paths whose replicas are given up, and the bytes by which that is not enough."""

    paths: tuple[str, ...]
    short_b: int = 0


def copies(holders: Collection[str], replicas: int, on: Iterable[str], candidates: Iterable[str]) -> Copies:
    """Return where a file must be copied.

    Args:
        holders: filesystems that have it, or will soon.
        replicas: how many filesystems are to have it.
        on: filesystems that are to have it in any case.
        candidates: other filesystems that may have it, the best one first.
    """
    to = [filesystem for filesystem in dict.fromkeys(on) if filesystem not in holders]
    lacking = max(0, replicas - len({*holders, *to}))
    others = [filesystem for filesystem in dict.fromkeys(candidates) if filesystem not in (*holders, *to)]
    return Copies((*to, *others[:lacking]), max(0, lacking - len(others)))


def evict(
    replicas: Iterable[Replica],
    least_used: Sequence[str],
    need_b: int,
    *,
    spare_b: int = 0,
    needed: Collection[str],
    later: Collection[str],
    elsewhere: Callable[[str], int],
    least: Callable[[str], int] = lambda _: 1,
) -> Eviction:
    """Choose which of the replicas on one filesystem are given up, in that order.

    Those that exist elsewhere go first, then those that a task has made and nobody will need; of each kind, the one
    that was not used for longest goes first.

    Args:
        least_used: paths, the one that was not used for longest first; what is not among them was used just now.
        need_b: bytes to free.
        spare_b: bytes to free beyond these when it can be done.
        needed: what tasks that wait or run read or write, with what is in these directories and above these files:
            never given up.
        later: what other jobs will read, and final targets: the last replica is never given up.
        elsewhere: how many other filesystems certainly have a path; asked once for each.
        least: how many replicas are to be left of a path; when it is more than one, so many are always left.
    """
    age = {path: number for number, path in enumerate(least_used)}
    above_needed, above_later = ({parent for path in paths for parent in _parents(path)} for paths in (needed, later))
    by_age = sorted(replicas, key=lambda replica: age.get(replica.path, len(age)))
    may_go = [r for r in by_age if r.size_b and not _touches(r.path, needed, above_needed)]
    chosen: list[Replica] = []
    last: list[Replica] = []
    freed = 0
    for replica in may_go:
        if freed >= need_b + spare_b:
            break
        others, wanted = elsewhere(replica.path), least(replica.path)
        if others >= max(1, wanted):
            chosen.append(replica)
            freed += replica.size_b
        elif not others and wanted <= 1 and replica.version.startswith(MADE):
            last.append(replica)
    for replica in last:
        if freed >= need_b + spare_b:
            break
        if not _touches(replica.path, later, above_later):
            chosen.append(replica)
            freed += replica.size_b
    return Eviction(tuple(replica.path for replica in chosen), max(0, need_b - freed))


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _touches(path: str, wanted: Collection[str], above: Collection[str]) -> bool:
    """Whether a path is wanted, or lies in a wanted directory, or is a directory with something wanted in it."""
    return path in wanted or path in above or any(parent in wanted for parent in _parents(path))

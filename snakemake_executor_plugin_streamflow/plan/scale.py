"""How many replicas of a service there are to be. Pure: what there is, what waits and the time in, a number out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

from ..model import Bounds, Request
from .queue import Class, belongs
from .site import Share, Site


@dataclass(frozen=True, slots=True)
class Seen:
    """One service at one moment.

    Attributes:
        locations: their names, those first that are to stay longest.
        busy: those that run something, or are used otherwise.
        wanted: how many more replicas the tasks that wait would fill.
        holders: for each thing that is needed, and is nowhere else, the locations that hold it: of each set one stays.
    """

    locations: Sequence[str]
    busy: Collection[str] = ()
    wanted: int = 0
    holders: Sequence[Collection[str]] = ()


@dataclass(frozen=True, slots=True)
class Resize:
    """Have `count` replicas; of those there are, the ones that are not in `spare` go."""

    count: int
    spare: frozenset[str]


class Scale:
    """The replicas of one service over time. The clock is the caller's: seconds, from any start.

    Args:
        in_order: only the last location can be removed.
    """

    def __init__(self, bounds: Bounds, *, in_order: bool) -> None:
        self._bounds, self._in_order = bounds, in_order
        self._idle_since: dict[str, float] = {}

    def decide(self, seen: Seen, now: float) -> Resize | None:
        """Return what is to be changed; None: nothing."""
        count, bounds = len(seen.locations), self._bounds
        idle = [name for name in seen.locations if name not in seen.busy]
        self._idle_since = {name: self._idle_since.get(name, now) for name in idle}
        more = min(bounds.max, max(bounds.min, count + seen.wanted))
        if more > count:
            return Resize(more, frozenset(seen.locations))
        if seen.wanted:
            return None
        gone = self._surplus(seen, now)
        return Resize(count - len(gone), frozenset(seen.locations) - gone) if gone else None

    def _surplus(self, seen: Seen, now: float) -> set[str]:
        gone: set[str] = set()
        for name in reversed(seen.locations):
            if len(seen.locations) - len(gone) <= self._bounds.min:
                break
            idle_s = now - self._idle_since.get(name, now)
            last = any({*held} <= {*gone, name} for held in seen.holders if name in held)
            if idle_s >= self._bounds.idle and not last:
                gone.add(name)
            elif self._in_order:
                break
        return gone


def asked(classes: Iterable[Class], like: Site, share: Share) -> Iterator[Request]:
    """Give what the queued tasks ask of each location of a service, as far as its deployment's caps allow.

    Those that wait for a certain busy location are left out.

    Args:
        like: a location of the service.
        share: what is in use of its deployment.
    """
    share = copy(share)
    for group in classes:
        locations = next((target.locations for target in group.targets if belongs(like, target)), 0)
        if not locations or not like.capacity.holds(group.request):
            continue
        for entry in group.entries.values():
            if not share.fits(group.request, locations):
                break
            if entry.wait is None:
                share.use(group.request, locations, 1)
                yield from (group.request for _ in range(locations))


def filled(requests: Iterable[Request], like: Site, most: int) -> int:
    """Return how many empty replicas the requests would fill, each put into the first that has room; at most `most`.

    Args:
        like: a replica of the kind; each request fits into an empty one.
    """
    replicas: list[Site] = []
    for number, request in enumerate(requests):
        room = next((one for one in replicas if one.fits(request)), None)
        if room is None:
            if len(replicas) == most:
                break
            room = Site(like.location, like.capacity, like.jobs)
            replicas.append(room)
        room.allocate(str(number), request, 0)
    return len(replicas)

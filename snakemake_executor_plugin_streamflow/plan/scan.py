"""One look at one class: which locations fit it now, and which of them is best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from ..model import Policy, Request
from .cost import Costs
from .policies import Rank
from .queue import Class, View
from .site import Share, Site, fitting


@dataclass(frozen=True, slots=True)
class Choice:
    """The best that is free, and the runner-up."""

    sites: tuple[Site, ...]
    target: int
    cost_s: float
    second: str | None = None
    second_s: float = 0.0


class Look:
    """One call of `place`.

    Attributes:
        open: locations that were freed since the last call, as long as the least of the queued tasks fits them.
        changed: locations that were handed out, in that order.
        scans: the scans that are under way; a class in `ended` has had its scan.
    """

    def __init__(self, freed: Iterable[Site], least: Request) -> None:
        self.open = {site: None for site in freed if site.fits(least)}
        self.changed: list[Site] = []
        self.scans: dict[Class, Scan] = {}
        self.ended: set[Class] = set()
        self._least = least
        self._rooms: dict[View, list[Site]] = {}

    def scan(self, group: Class) -> Scan:
        """Return the scan of a class, begun before or now."""
        found = self.scans.get(group)
        if found is None:
            found = self.scans[group] = Scan(group)
        return found

    def end(self, scan: Scan) -> None:
        """Note that nothing more of this class can be placed."""
        scan.ended = True
        self.scans.pop(scan.group, None)
        self.ended.add(scan.group)

    def took(self, sites: Iterable[Site]) -> None:
        """Note that locations were handed out."""
        for site in sites:
            self.changed.append(site)
            if site in self.open and not site.fits(self._least):
                del self.open[site]

    def room(self, view: View) -> list[Site]:
        """Return the locations of a view that may have room: all of it at first, and later what the least fits."""
        before = self._rooms.get(view)
        room = list(view.first) if before is None else fitting(before, self._least)
        self._rooms[view] = room
        return room


class Scan:
    """The locations that fit one class, kept right while one call of `place` hands them out.

    Attributes:
        fitting: locations that fit, with the index of the first target that each belongs to.
        filesystems: how many of them are on each filesystem.
        waits: tasks that were found to wait for a busy location.
    """

    def __init__(self, group: Class) -> None:
        self.group = group
        self.fitting: dict[Site, int] = {}
        self.filesystems: dict[str, int] = {}
        self.waits: set[str] = set()
        self.ended = False
        self._seen: int | None = None

    def refresh(self, shares: Mapping[str, Share], look: Look, kept: Collection[Site] = ()) -> None:
        """Take account of what was handed out since the last time; the first time, find what fits.

        Args:
            kept: locations that are kept for others.
        """
        group, view, request = self.group, self.group.view, self.group.request
        changed = look.changed
        assert view is not None
        if self._seen is None:
            sites = look.open if group.stuck and not group.many else look.room(view)
            first = view.first
            self.fitting = {site: first[site] for site in fitting(sites, request) if site in first and site not in kept}
            self.filesystems = Counter([site.filesystem for site in self.fitting])
        else:
            for site in changed[self._seen :]:
                if site in self.fitting and not site.fits(request):
                    self._discard(site)
        self._seen = len(changed)
        fewest = min(target.locations for target in group.targets)
        for name in {target.deployment for target in group.targets}:
            share = shares.get(name)
            if share is not None and not share.fits(request, fewest):
                share.refused = True
                for site in [site for site in self.fitting if site.location.deployment == name]:
                    self._discard(site)

    def _discard(self, site: Site) -> None:
        del self.fitting[site]
        left = self.filesystems[site.filesystem] - 1
        if left:
            self.filesystems[site.filesystem] = left
        else:
            del self.filesystems[site.filesystem]


def choose(scan: Scan, costs: Costs, rank: Rank, seed: int, shares: Mapping[str, Share]) -> Choice | None:
    """Return the best of what fits; None when no target has as many free locations as it needs."""
    if scan.group.many:
        return _choose_several(scan, costs, rank, seed, shares)
    seconds, elsewhere_s = costs.seconds, costs.elsewhere_s
    by_cost = scan.group.policy is Policy.LOCALITY  # then what costs more than the runner-up need not be ranked
    too_much_s = inf
    best = second = None
    best_rank: tuple[Any, ...] = ()
    second_rank: tuple[Any, ...] = ()
    for site, target in scan.fitting.items():
        cost_s = seconds.get(site.filesystem, elsewhere_s)
        if cost_s > too_much_s:
            continue
        this = rank(cost_s, site.load, site.name, target, seed)
        if best is None or this < best_rank:
            second, second_rank = best, best_rank
            best, best_rank = site, this
            if by_cost and second is not None:
                too_much_s = second_rank[0]
        elif second is None or this < second_rank:
            second, second_rank = site, this
            if by_cost:
                too_much_s = cost_s
    if best is None:
        return None
    if second is None:
        return Choice((best,), scan.fitting[best], costs.at(best.filesystem))
    return Choice((best,), scan.fitting[best], costs.at(best.filesystem), second.name, costs.at(second.filesystem))


def _choose_several(scan: Scan, costs: Costs, rank: Rank, seed: int, shares: Mapping[str, Share]) -> Choice | None:
    """Compare the targets: the inputs go once to each filesystem that the chosen locations are on."""
    offers: list[tuple[tuple[Any, ...], int, tuple[Site, ...], float]] = []
    assert scan.group.view is not None
    for index, target in enumerate(scan.group.targets):
        share = shares.get(target.deployment)
        if share is not None and not share.fits(scan.group.request, target.locations):
            share.refused = True
            continue
        free = [site for site in scan.group.view.by_target[index] if site in scan.fitting]

        def by_rank(site: Site, index: int = index) -> tuple[Any, ...]:
            return rank(costs.at(site.filesystem), site.load, site.name, index, seed)

        for sites in _subsets(free, target.locations, scan.group.policy, by_rank):
            cost_s = round(sum(costs.at(name) for name in {site.filesystem for site in sites}), 9)
            load = sum(site.load for site in sites) / len(sites)
            offers.append((rank(cost_s, load, sites[0].name, index, seed), index, sites, cost_s))
    if not offers:
        return None
    offers.sort(key=lambda offer: offer[:2])
    _, index, sites, cost_s = offers[0]
    if len(offers) == 1:
        return Choice(sites, index, cost_s)
    return Choice(sites, index, cost_s, ", ".join(site.name for site in offers[1][2]), offers[1][3])


def _subsets(
    free: Sequence[Site], count: int, policy: Policy, key: Callable[[Site], tuple[Any, ...]]
) -> list[tuple[Site, ...]]:
    """Return ways to take `count` locations on distinct hosts: the best ones, and the best of each one filesystem."""
    hosts: set[str] = set()
    distinct: list[Site] = []
    for site in sorted(free, key=key):
        if site.location.host not in hosts:
            hosts.add(site.location.host)
            distinct.append(site)
    found = [tuple(distinct[:count])] if len(distinct) >= count else []
    if count > 1 and policy in (Policy.LOCALITY, Policy.ORDER):
        together: dict[str, list[Site]] = {}
        for site in distinct:
            together.setdefault(site.filesystem, []).append(site)
        found += [tuple(sites[:count]) for sites in together.values() if len(sites) >= count]
    return list(dict.fromkeys(found))

"""Locations that are kept free for a task that wants several, when others have often gone before it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import inf

from ..model import Limits
from .queue import Class, Entry
from .site import Share, Site

PASSES = 16
"""How often younger tasks may take locations that the oldest task of a class for several could use."""


class Hold:
    """Keeps locations for one task at a time, the oldest that waits for several: so no two wait for each other."""

    def __init__(self) -> None:
        self._entry: Entry | None = None
        self._sites: frozenset[Site] = frozenset()

    def against(self, group: Class) -> Collection[Site]:
        """Return the locations that the tasks of a class cannot have."""
        return () if self._entry is None or self._entry.wanted.id in group.entries else self._sites

    def took(self, wide: Iterable[Class], entry: Entry, sites: Sequence[Site]) -> None:
        """Note that a task got locations: older ones that want several were passed over."""
        for group in wide:
            if group.entries and group.head.number < entry.number and group.view is not None:
                group.head.passed += any(site in group.view.first for site in sites)

    def renew(self, wide: Iterable[Class], shares: Mapping[str, Share], now: float) -> Collection[Site]:
        """Choose what is kept, and for whom; return what is kept no longer."""
        heads = [(group.head.number, group) for group in wide if group.entries and group.head.passed >= PASSES]
        before, entry, sites = self._sites, None, frozenset[Site]()
        for _, group in sorted(heads, key=lambda pair: pair[0]):
            sites = _best(group, shares, now, before if group.head is self._entry else frozenset())
            if sites:
                entry = group.head
                break
        self._entry, self._sites = entry, sites
        return before - sites


def _best(group: Class, shares: Mapping[str, Share], now: float, before: frozenset[Site]) -> frozenset[Site]:
    """Return the locations of one of a class's targets that are expected to be free first; those of before, if any."""
    assert group.view is not None
    request = group.request
    best: tuple[float, frozenset[Site]] = inf, frozenset()
    for target, sites in zip(group.targets, group.view.by_target, strict=True):
        able = [site for site in sites if site.capacity.holds(request) and (site.jobs is None or site.jobs >= 1)]

        def wait_s(site: Site) -> float:
            if site in before or site.fits(request):
                return 0.0
            expected = site.wait_s(request, now, 0)
            return 1e9 if expected is None else expected  # nobody knows: later than what somebody knows

        hosts: dict[str, Site] = {}
        for site in sorted(able, key=lambda site: (wait_s(site), site.name)):
            hosts.setdefault(site.location.host, site)
        chosen = list(hosts.values())[: target.locations]
        if len(chosen) < target.locations:
            continue
        share = shares.get(target.deployment)
        capped = share is not None and share.limits != Limits()  # what others use elsewhere counts, too
        until_s = max(map(wait_s, chosen))
        if until_s < best[0]:
            best = until_s, frozenset(sites if capped else chosen)
    return best[1]

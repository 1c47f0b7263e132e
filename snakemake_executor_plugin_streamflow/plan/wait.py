"""Whether a busy location, which has the data, is worth waiting for."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop

from ..model import Policy
from .cost import Costs
from .queue import Entry, worth_s
from .scan import Choice, Scan
from .site import Site

BUSY_EXAMINED = 64
"""How many busy locations, the cheapest first, are considered to wait for."""


@dataclass(frozen=True, slots=True)
class Busy:
    """A location that could be waited for."""

    site: Site
    wait_s: float
    cost_s: float
    guessed: bool


def cheapest_busy(scan: Scan, entry: Entry, costs: Costs, choice: Choice, now: float) -> Busy | None:
    """Return the busy location where the wait and the cost together are least, if any is cheaper to feed."""
    group = scan.group
    if group.policy is not Policy.LOCALITY or group.many or choice.cost_s <= 0:
        return None
    seconds, elsewhere_s = costs.seconds, costs.elsewhere_s
    if min(elsewhere_s, min(seconds.values(), default=elsewhere_s)) >= choice.cost_s:
        return None
    assert group.view is not None
    most_s = choice.cost_s
    cheaper = [
        (cost_s, site.name, site)
        for site in group.view.first
        if site.running and (cost_s := seconds.get(site.filesystem, elsewhere_s)) < most_s
    ]
    heapify(cheaper)
    best: Busy | None = None
    examined = 0
    while cheaper and examined < BUSY_EXAMINED:
        cost_s, _, site = heappop(cheaper)
        if best is not None and worth_s(cost_s) >= best.wait_s + worth_s(best.cost_s):
            break
        if site.fits(group.request):
            continue  # kept back by a cap, whose end nobody can estimate
        examined += 1
        # As long as nobody knows how long jobs take there, they may take as long as the data does to move.
        unknown = site.mean_s is None
        if unknown and entry.hoped:
            continue
        wait_s = most_s - cost_s if unknown else site.wait_s(group.request, now, entry.behind(site))
        if wait_s is not None and (best is None or wait_s + worth_s(cost_s) < best.wait_s + worth_s(best.cost_s)):
            best = Busy(site, wait_s, cost_s, unknown)
    return best

"""How fast bytes move between filesystems, as far as it was observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RATE_B_S = 100e6
LATENCY_S = 0.05
WEIGHT = 0.3
"""Share of a new observation in the mean."""
BULK_B = 1_000_000
"""A transfer of at least this size tells about the rate, a smaller one about the latency."""


@dataclass(frozen=True, slots=True)
class Link:
    """What is believed of one route."""

    rate_b_s: float = RATE_B_S
    latency_s: float = LATENCY_S

    def seconds(self, size_b: int) -> float:
        """Return how long a transfer should take."""
        return size_b / self.rate_b_s + self.latency_s


UNSEEN = Link()


class Bandwidths:
    """Exponential means of rate and latency per pair of filesystems."""

    def __init__(self) -> None:
        self._links: dict[str, dict[str, Link]] = {}
        self._extra: dict[str, dict[str, tuple[float, float]]] = {}
        self._seen: set[tuple[str, str, bool]] = set()

    def observe(self, source: str, target: str, size_b: int, seconds: float) -> None:
        """Learn from one transfer. Times that cannot be (zero, negative) and moves within a filesystem are ignored."""
        if source == target or seconds <= 0:
            return
        link = self.link(source, target)
        bulk = size_b >= BULK_B
        weight = WEIGHT if (source, target, bulk) in self._seen else 1.0
        self._seen.add((source, target, bulk))
        rate, latency = link.rate_b_s, link.latency_s
        if bulk:
            # The latency is a guess too: it never explains more than half of what was measured.
            sample = size_b / max(seconds - latency, seconds / 2)
            rate += weight * (sample - rate)
        else:
            sample = max(seconds - size_b / rate, seconds / 2)
            latency += weight * (sample - latency)
        self._links.setdefault(source, {})[target] = Link(rate, latency)
        self._extra.setdefault(source, {})[target] = (1 / rate - 1 / RATE_B_S, latency - LATENCY_S)

    def link(self, source: str, target: str) -> Link:
        """Return what is believed of the route."""
        return self._links.get(source, {}).get(target, UNSEEN)

    def leaving(self, source: str) -> Mapping[str, Link]:
        """Return the observed routes from a filesystem, by target."""
        return self._links.get(source, {})

    def extra(self, source: str) -> Mapping[str, tuple[float, float]]:
        """Return `{target: (seconds per byte, latency)}` of `leaving`, beyond those of a route that was never used."""
        return self._extra.get(source, {})

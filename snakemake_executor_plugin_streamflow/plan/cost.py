"""What it costs to bring the inputs of a task to each filesystem."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..model import CONTROLLER
from .bandwidth import LATENCY_S, RATE_B_S, Bandwidths
from .ledger import Ledger

Inputs = Sequence[tuple[str, int]]
SHORTCUTS = 300
"""Routes that are compared for one decision, to find a quicker source."""


@dataclass(frozen=True, slots=True)
class Costs:
    """The cost by filesystem.

    Attributes:
        elsewhere_s: the cost at a filesystem that has nothing and that no observed route leads to.
        seconds: `{filesystem: cost}` of all others.
        total_b: bytes of all inputs.
        held: `{filesystem: bytes that are there already}`.
    """

    elsewhere_s: float
    seconds: dict[str, float]
    total_b: int
    held: dict[str, int]

    def at(self, filesystem: str) -> float:
        """Return the cost there in seconds."""
        return self.seconds.get(filesystem, self.elsewhere_s)

    def missing_b(self, filesystem: str) -> int:
        """Return the bytes to bring there."""
        return self.total_b - self.held.get(filesystem, 0)


def held(inputs: Inputs, ledger: Ledger) -> dict[str, int]:
    """Return `{filesystem: bytes of the inputs there}`. An input that the ledger does not know is at the controller."""
    there: dict[str, int] = {}
    for path, size_b in inputs:
        for filesystem in ledger.holders(path) or (CONTROLLER,):
            there[filesystem] = there.get(filesystem, 0) + size_b
    return there


def transfer_costs(inputs: Inputs, ledger: Ledger, bandwidths: Bandwidths) -> Costs:
    """Price every filesystem at once: O(inputs x replicas + observed routes), whatever the number of locations.

    Inputs on the same filesystems move together. They come from the one of them whose routes are known best, or, where
    that is observed to be quicker, from another; a route not yet observed counts with the defaults. The latency is paid
    once for each route that is used.
    """
    together: dict[Collection[str], int] = {}
    for path, size_b in inputs:
        filesystems = ledger.holders(path) or (CONTROLLER,)
        key = frozenset(filesystems) if len(filesystems) > 1 else tuple(filesystems)
        together[key] = together.get(key, 0) + size_b

    leaving: dict[str, _Leaving] = {}
    choices: list[tuple[int, str, list[str], Collection[str]]] = []
    for group, size_b in together.items():
        observed = [name for name in group if bandwidths.leaving(name)]
        source = _source(observed or group, bandwidths)
        of = leaving.get(source)
        if of is None:
            of = leaving[source] = _Leaving()
        of.add(group, size_b)
        if len(observed) > 1:
            choices.append((size_b, source, observed, group))

    # Bytes and routes are counted, and turned into seconds once, so that equal costs are equal numbers.
    total_b = sum(together.values())
    elsewhere_s = total_b / RATE_B_S + len(leaving) * LATENCY_S
    there: dict[str, int] = {}
    spared: dict[str, int] = {}
    for of in leaving.values():
        for filesystem, size_b in of.spared_b.items():
            there[filesystem] = there.get(filesystem, 0) + size_b
            if of.spared[filesystem] == of.groups:
                spared[filesystem] = spared.get(filesystem, 0) + 1
    used = [(of, extra) for source, of in leaving.items() if (extra := bandwidths.extra(source))]
    seconds: dict[str, float] = {}
    for of, extra in used:
        if seconds:
            for filesystem, (more_s_b, more_s) in extra.items():
                seconds[filesystem] = seconds.get(filesystem, elsewhere_s) + of.size_b * more_s_b + more_s
        else:
            load_b = of.size_b
            seconds = {name: elsewhere_s + load_b * more_s_b + more_s for name, (more_s_b, more_s) in extra.items()}
    for filesystem, here_b in there.items():
        cost_s = (total_b - here_b) / RATE_B_S + (len(leaving) - spared.get(filesystem, 0)) * LATENCY_S
        for of, extra in used:
            if filesystem in extra and of.spared.get(filesystem, 0) < of.groups:
                more_s_b, more_s = extra[filesystem]
                cost_s += (of.size_b - of.spared_b.get(filesystem, 0)) * more_s_b + more_s
        seconds[filesystem] = cost_s
    for filesystem, saved_s in _quicker(choices, bandwidths).items():
        seconds[filesystem] = max(0.0, seconds.get(filesystem, elsewhere_s) - saved_s)
    return Costs(elsewhere_s, seconds, total_b, there)


class _Leaving:
    """What one filesystem is to send: bytes and groups in all, and those of them that need not move to others."""

    __slots__ = ("groups", "size_b", "spared", "spared_b")

    def __init__(self) -> None:
        self.size_b = self.groups = 0
        self.spared_b: dict[str, int] = {}
        self.spared: dict[str, int] = {}

    def add(self, group: Collection[str], size_b: int) -> None:
        """Add inputs that lie on the filesystems of a group."""
        self.size_b += size_b
        self.groups += 1
        spared_b, spared = self.spared_b, self.spared
        for filesystem in group:
            spared_b[filesystem] = spared_b.get(filesystem, 0) + size_b
            spared[filesystem] = spared.get(filesystem, 0) + 1


def _source(group: Collection[str], bandwidths: Bandwidths) -> str:
    """Return the filesystem with the most observed routes; of equals the controller, then the first by name."""
    if len(group) == 1:
        return next(iter(group))
    most = max(len(bandwidths.leaving(name)) for name in group)
    best = [name for name in group if len(bandwidths.leaving(name)) == most] if most else group
    return CONTROLLER if CONTROLLER in best else min(best)


def _quicker(choices: list[tuple[int, str, list[str], Collection[str]]], bandwidths: Bandwidths) -> dict[str, float]:
    """Return `{filesystem: seconds saved}` where observed routes from other holders beat those from the source.

    The most bytes come first, until `SHORTCUTS` routes have been compared.
    """
    quicker: dict[str, float] = {}
    compared = 0
    for size_b, source, observed, group in sorted(choices, key=lambda choice: -choice[0]):
        saved: dict[str, float] = {}
        for other in observed:
            if other == source:
                continue
            links = bandwidths.leaving(other)
            compared += len(links)
            if compared > SHORTCUTS:
                return quicker
            for filesystem, link in links.items():
                if filesystem not in group:
                    gain = bandwidths.link(source, filesystem).seconds(size_b) - link.seconds(size_b)
                    if gain > saved.get(filesystem, 0.0):
                        saved[filesystem] = gain
        for filesystem, saved_s in saved.items():
            quicker[filesystem] = quicker.get(filesystem, 0.0) + saved_s
    return quicker

"""What it costs to bring the inputs of a task to each filesystem."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..model import CONTROLLER
from .bandwidth import LATENCY_S, RATE_B_S, Bandwidths
from .ledger import Ledger

Inputs = Sequence[tuple[str, int]]


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

    loads: dict[str, list[int]] = {}  # source: bytes, number of groups
    spared: dict[str, dict[str, list[int]]] = {}  # filesystem: source: bytes, groups that need not move there
    quicker: dict[str, float] = {}
    known = _Known(bandwidths)
    for group, size_b in together.items():
        source = min(group, key=known.__getitem__)
        _add(loads, source, size_b)
        for filesystem in group:
            row = spared.get(filesystem)
            if row is None:
                spared[filesystem] = {source: [size_b, 1]}
            else:
                _add(row, source, size_b)
        others = [name for name in group if name != source and known[name][0]]
        if others:
            for filesystem, saved_s in _shortcuts(group, source, others, size_b, bandwidths).items():
                quicker[filesystem] = quicker.get(filesystem, 0.0) + saved_s

    # Bytes and routes are counted, and turned into seconds once, so that equal costs are equal numbers.
    total_b = sum(together.values())
    elsewhere_s = total_b / RATE_B_S + len(loads) * LATENCY_S
    there: dict[str, int] = {}
    seconds: dict[str, float] = {}
    used = [
        (source, size_b, groups, bandwidths.extra(source))
        for source, (size_b, groups) in loads.items()
        if bandwidths.extra(source)
    ]
    for _, load_b, _, extra in used:
        if seconds:
            for filesystem, (more_s_b, more_s) in extra.items():
                seconds[filesystem] = seconds.get(filesystem, elsewhere_s) + load_b * more_s_b + more_s
        else:
            seconds = {name: elsewhere_s + load_b * more_s_b + more_s for name, (more_s_b, more_s) in extra.items()}
    for filesystem, sources in spared.items():
        here_b, routes = 0, len(loads)
        for source, (size_b, groups) in sources.items():
            here_b += size_b
            routes -= groups == loads[source][1]
        cost_s = (total_b - here_b) / RATE_B_S + routes * LATENCY_S
        for source, load_b, count, extra in used:
            if filesystem in extra:
                size_b, groups = sources.get(source, (0, 0))
                if groups < count:
                    more_s_b, more_s = extra[filesystem]
                    cost_s += (load_b - size_b) * more_s_b + more_s
        there[filesystem] = here_b
        seconds[filesystem] = cost_s
    for filesystem, saved_s in quicker.items():
        seconds[filesystem] = max(0.0, seconds.get(filesystem, elsewhere_s) - saved_s)
    return Costs(elsewhere_s, seconds, total_b, there)


class _Known(dict[str, tuple[int, bool, str]]):
    """Sort keys of filesystems: those with the most observed routes first, then the controller."""

    def __init__(self, bandwidths: Bandwidths) -> None:
        self._bandwidths = bandwidths

    def __missing__(self, name: str) -> tuple[int, bool, str]:
        key = self[name] = (-len(self._bandwidths.leaving(name)), name != CONTROLLER, name)
        return key


def _add(table: dict[str, list[int]], key: str, size_b: int) -> None:
    row = table.get(key)
    if row is None:
        table[key] = [size_b, 1]
    else:
        row[0] += size_b
        row[1] += 1


def _shortcuts(
    group: Collection[str], source: str, others: Sequence[str], size_b: int, bandwidths: Bandwidths
) -> dict[str, float]:
    """Return `{filesystem: seconds saved}` where an observed route from another holder beats the one from `source`."""
    saved: dict[str, float] = {}
    for other in others:
        for filesystem, link in bandwidths.leaving(other).items():
            if filesystem not in group:
                gain = bandwidths.link(source, filesystem).seconds(size_b) - link.seconds(size_b)
                if gain > saved.get(filesystem, 0.0):
                    saved[filesystem] = gain
    return saved

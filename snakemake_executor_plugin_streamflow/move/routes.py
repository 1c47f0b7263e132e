"""Which way bytes go from one location to another.

In this order: a pipe at the place that both locations are entered from (one host, one engine's host); a pipe at a
location that sees the files of the other; a pipe through ssh between the two; the relay, in memory here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..connect.peers import HasPeers, gate
from ..errors import Differs, SiteError
from ..remote.quote import quote
from .direct import carry
from .entry import Item
from .pipe import End, Pipe, at_gate, by_ssh
from .store import Store
from .there import There

COPY, RELAY = "copy", "relay"
"""Names of the routes that are none of these: within this machine, and through it."""
DIRECT_B = 4 << 20
"""From here a direct route is worth its preparations: several small requests."""
MEAN_B = 256 << 10
"""Files that are smaller on average are sooner there in one archive through here: each costs some processes."""
OWN_B = 64 << 20
"""From here it is worth to try whether a host has keys of its own for another: in vain, that takes up to 5 s."""
REST_S = 600.0
"""How long a route that has failed is not tried again."""

Make = Callable[[], Awaitable[Pipe]]


@dataclass(frozen=True, slots=True)
class Carried:
    """How items travelled: the name of the route, and the digests of all their files; none when nobody made them."""

    route: str
    digests: Sequence[str]


class Routes:
    """The direct routes between locations.

    Args:
        log: for one line about each route that is taken or fails.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._failed: dict[tuple[str, str, str], float] = {}
        self._seen: dict[tuple[str, str], bool] = {}

    def promising(self, source: Store, target: Store, items: Sequence[Item]) -> bool:
        """Whether a direct route may be taken for these items."""
        return bool(self._ways(source, target, items))

    async def carry(self, source: Store, items: Sequence[Item], target: Store) -> Carried | None:
        """Copy items by the first direct route that works; None: there is none.

        Raises:
            Differs: no other route would help.
        """
        for name, make in self._ways(source, target, items):
            assert isinstance(source, There)
            assert isinstance(target, There)
            try:
                if name == "seen" and not await self._sees(source, target):
                    continue
                digests = await carry(await make(), source, items, target)
            except Differs:
                raise
            except SiteError as error:
                self._failed[source.name, target.name, name] = time.monotonic()
                self._log(f"{source.name} -> {target.name}: the route {name!r} does not work: {error}")
            else:
                self._log(f"{source.name} -> {target.name}: took the route {name!r}")
                return Carried(name, digests)
        return None

    def _ways(self, source: Store, target: Store, items: Sequence[Item]) -> list[tuple[str, Make]]:
        """All routes that may exist and be worth it, the best one first."""
        size_b, files = sum(item.size_b for item in items), sum(len(item.files()) for item in items)
        if not isinstance(source, There) or not isinstance(target, There) or size_b < max(DIRECT_B, MEAN_B * files):
            return []
        ways = [way for way in _ways(source, target, size_b) if not self._rests(source, target, way[0])]
        return [way for way in ways if way[0] != "seen" or self._seen.get((source.name, target.name), True)]

    def _rests(self, source: Store, target: Store, name: str) -> bool:
        failed = self._failed.get((source.name, target.name, name))
        return failed is not None and time.monotonic() - failed < REST_S

    async def _sees(self, source: There, target: There) -> bool:
        """Whether the target sees the files of the source under the same names: asked once, with a file for it."""
        key = (source.name, target.name)
        if key not in self._seen:
            token = secrets.token_hex(16)
            file = f"{source.workdir}/.streamflow/in/{token}"
            made = await source.ask(f"mkdir -p .streamflow/in && echo {token} >{quote(file)}")
            try:
                seen = await target.ask(f"cat {quote(file)}")
            finally:
                await source.discard(file, twice=False)
            self._seen[key] = made.code == 0 and seen.text.strip() == token
        return self._seen[key]


def _ways(source: There, target: There, size_b: int) -> list[tuple[str, Make]]:
    if source.place is None or target.place is None:
        return []
    a, b, place = gate(*source.place), gate(*target.place), target.place
    if a.connector is b.connector and a.location.host == b.location.host:

        async def at_host() -> Pipe:
            return at_gate(a, b)

        return [("host", at_host)]

    async def by_sight() -> Pipe:
        return Pipe(*place, End(), End())

    ways: list[tuple[str, Make]] = [("seen", by_sight)]
    if isinstance(a.connector, HasPeers) and isinstance(b.connector, HasPeers):
        modes = {True: a.connector.direct, False: b.connector.direct}
        if "no" not in modes.values():
            for at_giver in sorted(modes, key=lambda at: (modes[at] != "agent", not at)):
                if modes[at_giver] == "agent" or size_b >= OWN_B:
                    ways.append(("ssh" if at_giver else "ssh back", partial(by_ssh, a, b, at_giver=at_giver)))
    return ways

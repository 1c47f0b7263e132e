"""Has as many replicas of services as the tasks that wait can use."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

from .engine import Engine
from .errors import SiteError
from .model import Bounds, Deployment, Target, bounds_of
from .plan import Resize, Scale, Seen
from .site import Site

_LOOK_S = 0.5
_PAUSE_S = 30.0
"""After a change that was not possible."""
_SHARE = 20
"""A look that takes long is made less often: it takes one in so many parts of the time."""


class Scaling:
    """Runs on the engine's loop.

    Args:
        needed: what jobs that are left read, and the final targets, by canonical path; None: nobody knows.
        busy: whether copies are made in the background.
    """

    def __init__(self, engine: Engine, needed: Callable[[], Collection[str] | None], busy: Callable[[], bool]) -> None:
        self._engine, self._needed, self._busy = engine, needed, busy
        self._tasks: list[asyncio.Task[None]] | None = None
        self._held: Counter[tuple[str, str]] = Counter()
        self._shrinking = asyncio.Lock()

    @asynccontextmanager
    async def holding(self, target: Target) -> AsyncIterator[None]:
        """Let no replica go of the services that a job of a target needs: it is told where they are."""
        services = [(target.deployment, service) for service in target.needs]
        self._held.update(services)
        try:
            if services:
                async with self._shrinking:  # what is going now is gone before the job is told
                    pass
            yield
        finally:
            self._held.subtract(services)

    def start(self) -> None:
        """Begin; idempotent."""
        if self._tasks is None:
            self._tasks = [
                self._engine.spawn(self._follow(deployment, service, bounds))
                for deployment in self._engine.companion.deployments.values()
                for service, bounds in bounds_of(deployment.options).items()
            ]

    def stop(self) -> None:
        """Change nothing any more."""
        for task in self._tasks or ():
            task.cancel()
        self._tasks = []

    async def _follow(self, deployment: Deployment, service: str, bounds: Bounds) -> None:
        engine, told, pause_s = self._engine, "", _LOOK_S
        connector, scale = None, Scale(bounds, in_order=False)
        while True:
            await asyncio.sleep(pause_s)
            pause_s = _LOOK_S
            up = engine.lifecycle.connectors().get(deployment.name)
            mine = {site.location.name: site for site in engine.sites if _is_of(site, deployment.name, service)}
            if up is None or not mine:
                continue
            what = f"deployment {deployment.name}" + (f", service {service}" if service else "")
            try:
                if up is not connector:
                    connector, scale = up, Scale(bounds, in_order=await up.scales_in_order(service))
            except SiteError as error:
                if told != str(error):
                    told = str(error)
                    engine.log.warning(f"{what}: {error}")
                pause_s = _PAUSE_S
                continue
            begin = engine.loop.time()
            resize = self._decide(scale, sorted(mine.values(), key=_place), bounds, begin)
            pause_s = max(_LOOK_S, _SHARE * (engine.loop.time() - begin))
            if resize is None:
                continue
            gone = [site for name, site in mine.items() if name not in resize.spare]
            if gone and self._shrinking.locked():
                continue
            try:
                if gone:
                    names = ", ".join(site.location.name for site in gone)
                    engine.log.info(f"{what}: {names} no longer needed: {resize.count} left")
                    async with self._shrinking:
                        await engine.sites.retire(gone)
                        await engine.lifecycle.scale(up, service, resize.count, spare=resize.spare)
                else:
                    engine.log.info(f"{what}: jobs wait: {resize.count} instead of {len(mine)}")
                    await engine.lifecycle.scale(up, service, resize.count, spare=resize.spare)
                    await engine.sites.look(deployment.name, service)
            except SiteError as error:
                if told != str(error):
                    told = str(error)
                    engine.log.warning(f"{what}: there are not {resize.count} replicas: {error}")
                pause_s = _PAUSE_S
                with suppress(SiteError):  # some may have come
                    await engine.sites.look(deployment.name, service)

    def _decide(self, scale: Scale, mine: Sequence[Site], bounds: Bounds, now: float) -> Resize | None:
        """Return what to change. What is needed is asked for only when something would go: that takes long."""
        placement, names = self._engine.placement, [site.location.name for site in mine]
        connectors = self._engine.lifecycle.connectors().values()
        entered = {one.inner.location.name for one in connectors if one.inner is not None}
        location = mine[0].location
        held = self._held[(location.deployment, location.service)] > 0
        busy = {name for name in names if held or name in entered or not placement.is_idle(name)}
        room = bounds.max - len(mine)
        wanted = placement.wanted(names[0], max(room, 1))
        resize = scale.decide(Seen(names, busy, wanted), now)
        if resize is None or resize.count >= len(mine):
            return resize
        if self._busy() or self._engine.transferring:
            return None
        return scale.decide(Seen(names, busy, wanted, [*self._holders(mine)]), now)

    def _holders(self, mine: Sequence[Site]) -> Iterator[Collection[str]]:
        """For each path that is needed and nowhere but at these locations, their names."""
        ledger, needed = self._engine.ledger, self._needed()
        own = {site.location.filesystem: site.location.name for site in mine}
        for site in self._engine.sites:
            if own.get(site.location.filesystem, site.location.name) != site.location.name:
                del own[site.location.filesystem]  # several see it: it does not go with one of them
        for path in {replica.path for filesystem in own for replica in ledger.on(filesystem)}:
            on = {replica.filesystem for replica in ledger.replicas(path)}
            if (needed is None or path in needed) and on <= own.keys():
                yield {own[filesystem] for filesystem in on}


def _is_of(site: Site, deployment: str, service: str) -> bool:
    return (site.location.deployment, site.location.service) == (deployment, service)


def _place(site: Site) -> tuple[str, int]:
    """Order locations by the number at the end of their names."""
    found = re.fullmatch(r"(.*?)(\d*)", site.location.name, re.DOTALL)
    assert found is not None
    return found[1], int(found[2] or 0)

"""Files that are removed at sites in the background, and never under the hands of who makes them anew."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any

from .connect.base import Log
from .errors import SiteError
from .locate import Locator
from .sites import Sites

_GATHER_S = 0.02
"""How long a removal waits for others at the same location."""


class Removals:
    """Runs on the engine's loop. Paths are canonical."""

    def __init__(
        self, locator: Locator, sites: Sites, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]], log: Log
    ) -> None:
        self._locator, self._sites = locator, sites
        self._spawn, self._log = spawn, log
        self._doomed: defaultdict[str, set[str]] = defaultdict(set)
        self._going: dict[str, set[str]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def remove(self, path: str, filesystem: str) -> None:
        """Remove a file or directory soon, with others on the same filesystem."""
        self._doomed[filesystem].add(path)
        self._start(filesystem)

    def _start(self, filesystem: str) -> None:
        if self._doomed[filesystem] and filesystem not in self._running:
            task = self._running[filesystem] = self._spawn(self._run(filesystem))
            task.add_done_callback(partial(self._ended, filesystem))

    def _ended(self, filesystem: str, task: asyncio.Task[None]) -> None:
        del self._running[filesystem]
        if task.cancelled() or task.exception() is not None:
            self._doomed.pop(filesystem, None)  # it would fail again
        self._start(filesystem)

    async def spare(self, paths: Collection[str], filesystem: str) -> None:
        """Keep files that are about to be made anew; waits for a removal of them that has begun."""
        self._doomed[filesystem].difference_update(paths)
        while not self._going.get(filesystem, set()).isdisjoint(paths):
            await asyncio.wait([self._running[filesystem]])

    async def done(self, filesystem: str) -> None:
        """Wait until what was to be removed on a filesystem is removed."""
        if (running := self._running.get(filesystem)) is not None:
            await asyncio.wait([running])

    async def settled(self) -> None:
        """Wait until what was to be removed is removed."""
        while self._running:
            await asyncio.wait(set(self._running.values()))

    async def _run(self, filesystem: str) -> None:
        await asyncio.sleep(_GATHER_S)
        while self._doomed[filesystem]:
            site = await self._sites.on(filesystem)
            going = self._going[filesystem] = self._doomed.pop(filesystem)
            try:
                if site is not None:
                    store, paths = self._locator.side(site).store, sorted(going)
                    await store.remove([self._locator.path_at(site, path) for path in paths])
            except (SiteError, OSError) as error:
                self._log.warning(f"{', '.join(sorted(going))} could not be removed on {filesystem}: {error}")
            finally:
                del self._going[filesystem]

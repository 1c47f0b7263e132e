"""What earlier runs of a workflow have left at locations is ended, at each of them once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from .connect.base import Log
from .errors import SiteError
from .site import Site

CLOSE_S = 4.0
"""How long closing a location may take."""


class Sweeping:
    """Does nothing before `begin` has said what to spare."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._spare: frozenset[str] | None = None
        self._done: Mapping[str, Sequence[str]] = {}
        self._alive: Sequence[str] = ()
        self._deep = False
        self._swept: set[str] = set()
        self._searched: set[tuple[str, object]] = set()
        self._turns: defaultdict[tuple[str, object], asyncio.Lock] = defaultdict(asyncio.Lock)

    def begin(
        self, spare: Iterable[str], done: Mapping[str, Sequence[str]], *, alive: Sequence[str], deep: bool
    ) -> None:
        """From now on, end jobs of other runs; see `Sites.take_over`."""
        self._spare, self._done, self._alive, self._deep = frozenset(spare), done, alive, deep

    async def opened(self, site: Site) -> None:
        """End the jobs there that nobody may go on with."""
        name, folder = site.location.name, (site.location.filesystem, site.location.workdir)
        if self._spare is not None and name not in self._swept:
            self._swept.add(name)
            try:
                async with self._turns[folder]:
                    deep = self._deep and folder not in self._searched  # later, transfers of this run are on their way
                    ended = await site.sweep(self._spare, self._done.get(name, ()), alive=self._alive, deep=deep)
                    self._searched.add(folder)
            except BaseException:
                self._swept.discard(name)  # whoever opens it next does that
                raise
            if ended:
                self._log.warning(f"{name}: ended {len(ended)} jobs that an earlier run had left: {', '.join(ended)}")

    async def give_up(self, job: str, site: Site | None) -> None:
        """Spare a job no longer: it is ended at its site, or, without one, when its location is opened.

        Raises:
            Unreachable: the site does not answer.
        """
        self._spare = (self._spare or frozenset()) - {job}
        if site is not None:
            await site.sweep(self._spare, alive=self._alive)

    async def close(self, site: Site, running: Iterable[str]) -> list[str]:
        """Close a location, and end the jobs there that were spared; return a message for whatever may still run.

        Args:
            running: jobs that somebody goes on with, here or at a location that shares the folder.
        """
        try:
            async with asyncio.timeout(CLOSE_S):
                if self._spare:
                    with suppress(SiteError):
                        await site.sweep(running, alive=self._alive)
                return await site.close()
        except (SiteError, TimeoutError):
            where = f"{site.facts.workdir}/.streamflow/jobs"
            return [f"{site.location.name} did not answer: jobs may still run there; their process ids are in {where}"]

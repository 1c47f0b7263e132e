"""What earlier runs of a workflow have left at locations is ended, at each of them once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .connect.base import Log
from .site import Site


class Sweeping:
    """Does nothing before `begin` has said what to spare."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._spare: frozenset[str] | None = None
        self._done: Mapping[str, Sequence[str]] = {}
        self._alive: Sequence[str] = ()
        self._deep = False
        self._swept: set[str] = set()

    def begin(
        self, spare: Iterable[str], done: Mapping[str, Sequence[str]], *, alive: Sequence[str], deep: bool
    ) -> None:
        """From now on, end jobs of other runs; see `Sites.take_over`."""
        self._spare, self._done, self._alive, self._deep = frozenset(spare), done, alive, deep

    async def opened(self, site: Site) -> None:
        """End the jobs there that nobody may go on with."""
        name = site.location.name
        if self._spare is not None and name not in self._swept:
            self._swept.add(name)
            try:
                ended = await site.sweep(self._spare, self._done.get(name, ()), alive=self._alive, deep=self._deep)
            except BaseException:
                self._swept.discard(name)  # whoever opens it next does that
                raise
            if ended:
                self._log.warning(f"{name}: ended {len(ended)} jobs that an earlier run had left: {', '.join(ended)}")

    async def closing(self, site: Site) -> None:
        """End the jobs there that were spared: nobody went on with them."""
        if self._spare:
            await site.sweep(alive=self._alive)

"""Locations that keep failing are set aside, and asked from time to time until they do simple things again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from .connect.base import Log
from .errors import CapacityError, JobInterrupted, NoSpace, SiteError, Unsendable
from .plan import Placement
from .returning import Returning
from .site import Site

_STRIKES = 3
"""Failures in a row after which a location is set aside."""
_ANSWER_S = 30.0


def blames(site: Site, error: SiteError) -> bool:
    """Whether a location is to blame for a failure, and not a job, or another place."""
    elsewhere = isinstance(error, NoSpace) and error.store != site.location.name
    return not (elsewhere or isinstance(error, CapacityError | JobInterrupted | Unsendable))


class Aside:
    """The locations that get no more jobs for now; what runs there goes on.

    Args:
        up: whether a site is in use.
    """

    def __init__(self, placement: Placement, returning: Returning, up: Callable[[Site], bool], log: Log) -> None:
        self._placement, self._returning, self._up, self._log = placement, returning, up, log
        self._names: set[str] = set()

    def __contains__(self, location: str) -> bool:
        return location in self._names

    def strike(self, site: Site, error: SiteError) -> bool:
        """Note one more failure; return whether the location is set aside now."""
        name = site.location.name
        if site.strikes < _STRIKES or name in self._names:
            return False
        self._names.add(name)
        self._placement.set_aside(name)
        self._log.warning(f"{name} is set aside: {error}")
        self._returning.wait_for(site, partial(self._answers, site))
        return True

    def restore(self, site: Site) -> None:
        """Use a location again, if it was set aside."""
        if site.location.name in self._names:
            self._names.discard(site.location.name)
            site.strikes = 0
            self._placement.restore(site.location.name)

    def forget(self, location: str) -> None:
        """Note that a location is used no more; what comes up under its name may be new."""
        self._names.discard(location)

    async def _answers(self, site: Site) -> bool:
        """Whether it does simple things; when it is gone, there is nothing to wait for."""
        name = site.location.name
        if self._up(site) and name in self._names:
            async with asyncio.timeout(_ANSWER_S):
                done = await site.shells.ask("f=.streamflow/in/probe-$$; echo x >$f && rm $f")
            if done.code:
                return False
            self.restore(site)
            self._log.info(f"{name} is used again")
        return True

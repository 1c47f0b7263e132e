"""What does not answer is asked again from time to time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from .errors import SiteError

_RETURN_S = (15.0, 300.0)
"""Before what does not answer is asked again: at first, and at most."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Returning:
    """Waits for what has gone, as long as the run lasts.

    Args:
        spawn: starts a task that the run owns.
        returned: called when something is back.
    """

    def __init__(self, spawn: Spawn, returned: Callable[[], None]) -> None:
        self._spawn, self._returned = spawn, returned
        self._awaited: set[object] = set()
        self._closed = False

    def __contains__(self, what: object) -> bool:
        return what in self._awaited

    def close(self) -> None:
        """Wait for nothing more."""
        self._closed = True

    def wait_for(self, what: object, attempt: Callable[[], Awaitable[bool]]) -> None:
        """Make an attempt again and again, until it returns True; a second call for the same thing changes nothing."""
        if what not in self._awaited and not self._closed:
            self._awaited.add(what)
            self._spawn(self._repeat(what, attempt))

    async def _repeat(self, what: object, attempt: Callable[[], Awaitable[bool]]) -> None:
        delay, longest = _RETURN_S
        try:
            while True:
                await asyncio.sleep(delay)
                delay = min(2 * delay, longest)
                with suppress(SiteError, TimeoutError):
                    if await attempt():
                        break
        finally:
            self._awaited.discard(what)
        self._returned()

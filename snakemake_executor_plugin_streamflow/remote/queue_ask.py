"""What a queue says of jobs: many in one call."""

from __future__ import annotations

from collections.abc import Sequence

from ..connect.queue import Queue, Seen
from ..errors import SiteError, quote_tail
from .lane import Lane


class Asking:
    """Asks one queue, one question at a time. `status_calls` counts."""

    def __init__(self, location: str, lane: Lane, queue: Queue) -> None:
        self._location, self._lane, self._queue = location, lane, queue
        self.status_calls = 0

    async def states(self, ids: Sequence[str], timeout_s: float) -> dict[str, Seen]:
        """Ask for states. Raises SiteError: no answer, or not a sound one."""
        queue, found = self._queue, dict[str, Seen]()
        for start in range(0, len(ids), queue.at_once):
            self.status_calls += 1
            done = await self._lane.ask(queue.status(ids[start : start + queue.at_once]), timeout_s)
            states = queue.states(done.text)
            if done.code and not states and not queue.knows_none(done.text):
                raise SiteError(f"{self._location}: the queue's status command failed:\n{quote_tail(done.output)}")
            found |= states
        return found

    async def past(self, ids: Sequence[str], timeout_s: float) -> dict[str, Seen]:
        """Ask what the queue remembers of jobs that it no longer lists. Raises Unreachable."""
        text = self._queue.history(ids[: self._queue.at_once])
        return {} if text is None else self._queue.past((await self._lane.ask(text, timeout_s)).text)

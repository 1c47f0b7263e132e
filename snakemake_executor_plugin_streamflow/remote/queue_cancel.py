"""Cancelling in a queue: many jobs per command, tried again, and what is left named."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from ..connect.queue import Queue
from ..errors import SiteError
from .lane import Lane
from .queue_text import answers

TRIES = 3
AGAIN_S = 1.0
ANSWER_S = 60.0


@dataclass(slots=True)
class Wanted:
    """A job to be cancelled; its id is None as long as its submission has not been answered."""

    id: str | None
    tries: int = 0


class Cancels:
    """The cancellations of one location."""

    def __init__(self, location: str, lane: Lane, queue: Queue, log: Callable[[str], None]) -> None:
        self._location, self._lane, self._queue, self._log = location, lane, queue, log
        self._wanted: dict[str, Wanted] = {}
        self._given_up: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()

    def add(self, job: str, id: str | None) -> None:
        """Cancel a job; `known` gives the id of one that is being submitted."""
        self._wanted.setdefault(job, Wanted(id))
        self._quiet.clear()
        self._wake.set()

    def known(self, job: str, id: str) -> bool:
        """Note the id of a job; return whether it is to be cancelled."""
        wanted = self._wanted.get(job)
        if wanted is not None:
            wanted.id = id
            self._wake.set()
        return wanted is not None

    def drop(self, job: str) -> None:
        """Forget a job: it never came into the queue, or has ended."""
        self._wanted.pop(job, None)
        if not self._wanted:
            self._quiet.set()

    async def serve(self) -> None:
        """Cancel what is wanted, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(0.02)  # a stop of the run cancels many at once
            jobs = {w.id: job for job, w in self._wanted.items() if w.id is not None}
            ids = list(jobs)
            for start in range(0, len(ids), self._queue.at_once):
                chunk = ids[start : start + self._queue.at_once]
                refused = await self._cancel(chunk)
                for one in chunk:
                    self._result(jobs[one], refused.get(one))
            if any(wanted.tries for wanted in self._wanted.values()):
                await asyncio.sleep(AGAIN_S)
                self._wake.set()

    async def settle(self, grace_s: float) -> None:
        """Wait until nothing is to be cancelled any more."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), grace_s)

    def left(self) -> dict[str, str]:
        """Return the command that cancels each job that could not be cancelled."""
        ids = self._given_up | {job: wanted.id or "" for job, wanted in self._wanted.items()}
        return {job: self._queue.cancel([id]) if id else "" for job, id in sorted(ids.items())}

    async def close(self) -> None:
        """End the shell."""
        await self._lane.close()

    async def _cancel(self, ids: list[str]) -> dict[str, str]:
        """Try to cancel jobs; return what was said of those for which it failed."""
        lines = [f"if ! e=$({self._queue.cancel(ids)} 2>&1); then"]
        lines += [f"e=$({self._queue.cancel([one])} 2>&1) || printf '=K %s\\n%s\\n=\\n' '{one}' \"$e\"" for one in ids]
        try:
            done = await self._lane.ask("\n".join([*lines, "fi"]), ANSWER_S)
        except SiteError as error:
            return dict.fromkeys(ids, str(error))
        said = {answer.job: "\n".join(answer.lines) for answer in answers(done.text)}
        return {id: text for id, text in said.items() if not self._queue.knows_none(text)}

    def _result(self, job: str, said: str | None) -> None:
        wanted = self._wanted.get(job)
        if wanted is None:
            return
        if said is not None:
            wanted.tries += 1
            if wanted.tries < TRIES:
                return
            self._given_up[job] = wanted.id or ""
            self._log(f"{self._location}: job {job} ({wanted.id} in the queue) could not be cancelled: {said.strip()}")
        self.drop(job)

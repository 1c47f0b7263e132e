"""Files that nobody has any more are made again by the jobs that made them, as far back as needed and no further."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from .connect.base import Log
from .errors import DataLost
from .files import Files
from .jobs import Task

Maker = Callable[[str], Task | None]
"""The task that makes a file, by its canonical path; None: no rule does."""


class Remaker:
    """Runs on the engine's loop.

    Args:
        run: runs a task with all its retries, and what it lacks in turn.
        remove: removes files everywhere.
        needed: tells how many tasks that wait or run read or write a file.
    """

    def __init__(
        self,
        files: Files,
        maker: Maker,
        run: Callable[[Task], Awaitable[None]],
        remove: Callable[[str], Awaitable[None]],
        needed: Callable[[str], int],
        log: Log,
    ) -> None:
        self._files, self._maker, self._run, self._remove, self._log = files, maker, run, remove, log
        self._needed = needed
        self._making: dict[tuple[str, ...], asyncio.Task[None]] = {}

    @property
    def making(self) -> frozenset[asyncio.Task[None]]:
        """What goes on now."""
        return frozenset(self._making.values())

    async def remake(self, lost: DataLost) -> None:
        """Make lost files again, each job once however many ask; temporary files of theirs stay until `tidy`.

        Raises:
            DataLost: no rule makes one of them.
            JobFailed, SiteError: a job that makes one of them has failed now.
        """
        tasks = {}
        for path in lost.paths:
            task = self._maker(path)
            if task is None:
                raise DataLost(f"{lost}\n{self._no_maker(path)}", path)
            tasks[tuple(output.path for output in task.outputs())] = task
            if path in self._temporary(task) and not self._files.ledger.made_before(path):
                self._files.removed.add(path)  # by an earlier run
        self._log.warning(f"{lost}\nMaking {', '.join(lost.paths)} again; this does not count as a retry of any rule.")
        for outputs, task in tasks.items():
            if outputs not in self._making:
                making = asyncio.ensure_future(self._run(replace(task, again=True)))
                self._making[outputs] = making
                making.add_done_callback(partial(self._made, outputs))
        for outputs in tasks:
            if outputs in self._making:
                await asyncio.shield(self._making[outputs])

    def _no_maker(self, path: str) -> str:
        """Say what to do; a job of a checkpoint that has ended in an earlier run is not among the jobs of this one."""
        if (folder := self._files.listed_folder(path)) is None:
            return "No rule of this workflow makes it."
        return f"It is in {folder}, which an earlier run has made: --forcerun {folder} makes it anew."

    def _temporary(self, task: Task) -> set[str]:
        return {self._files.canonical(output.path) for output in task.outputs() if output.temp}

    def _made(self, outputs: tuple[str, ...], making: asyncio.Task[None]) -> None:
        del self._making[outputs]
        if not making.cancelled():
            making.exception()  # those who wait are told

    async def tidy(self, task: Task) -> None:
        """Remove inputs of a task that ran because Snakemake had removed them before: temporary files.

        The last of those who need one does it.
        """
        for path in map(self._files.canonical, task.inputs):
            if path in self._files.removed and self._needed(path) <= 1:
                await self._remove(path)

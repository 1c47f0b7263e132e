"""A shell for requests that may hang: one at a time, with a time limit, opened anew after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..connect.base import Channel
from ..errors import Unreachable
from .shell import Completed, Shell


class Lane:
    """One shell at a location, opened when it is first used."""

    def __init__(self, location: str, open_shell: Callable[[], Awaitable[Channel]]) -> None:
        self._location = location
        self._open_shell = open_shell
        self._shell: Shell | None = None
        self._turn = asyncio.Lock()

    async def ask(self, text: str, timeout_s: float) -> Completed:
        """Run shell text. Raises Unreachable: the connection broke, or there was no answer in time."""
        async with self._turn:
            try:
                async with asyncio.timeout(timeout_s):
                    if self._shell is None:
                        self._shell = await Shell.open(self._location, self._open_shell)
                    return await self._shell.ask(text)
            except BaseException as error:
                await self.close()
                if isinstance(error, TimeoutError):
                    raise Unreachable(f"{self._location}: no answer within {timeout_s:.0f} s") from error
                raise

    async def close(self) -> None:
        """End the shell. Idempotent."""
        shell, self._shell = self._shell, None
        if shell is not None:
            await shell.close()

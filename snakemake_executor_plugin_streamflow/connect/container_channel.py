"""What channels into containers have in common: one connection carries all streams of a process."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque

from ..errors import Unreachable
from .base import Channel

HIGH_WATER_B, LOW_WATER_B = 4 * 1024 * 1024, 1024 * 1024
ERRORS_B = 64 * 1024


class ContainerChannel(Channel):
    """A process in a container, behind one connection that carries all its streams.

    `kill` closes the connection: the process gets the end of its input and no reader for its output, and what heeds
    neither goes on until it ends by itself. Output beyond 4 MiB that nobody reads holds the process back.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._out: deque[bytes] = deque()
        self._buffered_b = 0
        self._errors = bytearray()
        self._news, self._ended = asyncio.Event(), asyncio.Event()
        self._result: int | Unreachable | None = None
        self._judging = asyncio.Lock()
        self._stdin_open = True

    @abstractmethod
    async def _judge(self) -> int | Unreachable:
        """Tell how the process ended: a stream that breaks looks like one that ends. Asked once."""

    @abstractmethod
    async def _close(self) -> None:
        """Close the connection."""

    @abstractmethod
    def _go_on(self) -> None:
        """Take more output: what was held has been read. May be called when none was held back."""

    @property
    def errors(self) -> bytes:
        return bytes(self._errors)

    async def read(self) -> bytes:
        while not self._out:
            if self._ended.is_set():
                await self._code()
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._out.popleft()
        self._buffered_b -= len(data)
        if self._buffered_b < LOW_WATER_B:
            self._go_on()
        return data

    async def wait(self) -> int:
        await self._ended.wait()
        return await self._code()

    async def kill(self) -> None:
        if self._result is None:
            self._result = Unreachable(f"{self._name}: the channel was closed before the process ended")
        self._over()
        await self._close()

    def _keep(self, data: bytes) -> bool:
        """Keep output until it is read; return whether no more should be taken until then."""
        self._out.append(data)
        self._buffered_b += len(data)
        self._news.set()
        return self._buffered_b > HIGH_WATER_B

    def _over(self) -> None:
        """Note that the stream has ended."""
        self._ended.set()
        self._news.set()

    def _check_input(self) -> None:
        if self._ended.is_set() or not self._stdin_open:
            raise Unreachable(f"{self._name}: the process has ended, or its input was closed")

    async def _code(self) -> int:
        async with self._judging:
            if self._result is None:
                self._result = await self._judge()
                await self._close()
        if isinstance(self._result, Unreachable):
            raise Unreachable(str(self._result))
        return self._result

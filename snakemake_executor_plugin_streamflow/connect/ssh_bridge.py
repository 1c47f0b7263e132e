"""Connections that are made here, led to a socket of a host, with little memory whoever is slow.

asyncssh's own forwarding has no bound: after each pause it grants a whole window with the first packet that it passes
on (SSHChannel._deliver_data), although the rest of the window before still waits. So here a pause ends only when all
that waits can be passed on at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import asyncssh

WINDOW_B = 1024 * 1024
PACKET_B = 64 * 1024
LOW_WATER_B = 256 * 1024
HIGH_WATER_B = LOW_WATER_B + WINDOW_B

FarChannel = asyncssh.SSHTCPChannel[bytes] | asyncssh.SSHUNIXChannel[bytes]


class Bridges:
    """Leads connections to one socket of a host.

    Args:
        target: an absolute path, or HOST:PORT as the host sees it.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection, target: str) -> None:
        self.connection = connection
        self._target = target
        self._opening: set[asyncio.Task[None]] = set()

    async def probe(self) -> None:
        """Connect once, and close again.

        Raises:
            OSError, ValueError, asyncssh.Error: nothing listens there, or we are not let through.
        """
        (await self._open(_Far(None))).close()

    def accept(self) -> asyncio.Protocol:
        """Return the protocol of one connection that is made here, closed when the host does not let it through."""
        return _Near(self)

    def close(self) -> None:
        """Give up what is about to be connected."""
        for task in self._opening:
            task.cancel()

    def lead(self, near: _Near) -> None:
        """Connect what was accepted."""
        task = asyncio.ensure_future(self._lead(near))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _lead(self, near: _Near) -> None:
        try:
            await self._open(_Far(near))
        except (OSError, asyncssh.Error):
            near.transport.abort()
        except asyncio.CancelledError:
            near.transport.abort()
            raise

    async def _open(self, far: _Far) -> FarChannel:
        sizes: dict[str, Any] = {"window": WINDOW_B, "max_pktsize": PACKET_B}
        if self._target.startswith("/"):
            unix, _ = await self.connection.create_unix_connection(lambda: far, self._target, **sizes)
            return unix
        host, _, port = self._target.rpartition(":")
        tcp, _ = await self.connection.create_connection(lambda: far, host, int(port), **sizes)
        return tcp


class _Near(asyncio.Protocol):
    """The end that is here. Nothing is read from it until the far end is there."""

    def __init__(self, bridges: Bridges) -> None:
        self._bridges = bridges
        self.far: FarChannel | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(HIGH_WATER_B, LOW_WATER_B)
        self.transport.pause_reading()
        self._bridges.lead(self)

    def data_received(self, data: bytes) -> None:
        assert self.far is not None
        with contextlib.suppress(OSError):  # the far end has closed; it says so itself
            self.far.write(data)

    def eof_received(self) -> bool:
        if self.far is not None:
            with contextlib.suppress(OSError):
                self.far.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.far is not None:
            self.far.pause_reading()

    def resume_writing(self) -> None:
        if self.far is not None:
            self.far.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.far is not None:
            self.far.close()


class _Far(asyncssh.SSHTCPSession[bytes], asyncssh.SSHUNIXSession[bytes]):
    """The end at the host."""

    def __init__(self, near: _Near | None) -> None:
        self._near = near

    def connection_made(self, chan: FarChannel) -> None:
        if self._near is not None:
            self._near.far = chan
            self._near.transport.resume_reading()
            if self._near.transport.is_closing():
                chan.abort()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._near is not None:
            self._near.transport.write(data)

    def eof_received(self) -> bool:
        if self._near is not None and not self._near.transport.is_closing():
            self._near.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._near is not None:
            self._near.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._near is not None:
            self._near.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._near is not None:
            self._near.transport.close()

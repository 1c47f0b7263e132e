"""A port of this machine that leads to an API server as an inner location sees it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from ..errors import SiteError
from ..model import Location
from .forwards import ForwardsSockets

PIECE_B = 256 * 1024


class Tunnel:
    """A listener on the loopback interface: clients of HTTP know ports, where ssh gives a unix socket.

    Other users of this machine can reach the port; the API server asks them for credentials as it does everywhere.
    """

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self.port: int = server.sockets[0].getsockname()[1]

    @classmethod
    async def open(cls, connector: ForwardsSockets, location: Location, target: str) -> Tunnel:
        """Listen. Raises Unreachable when the location does not lead to the target."""
        await connector.forward_socket(location, target)

        async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:  # asked each time: a forwarded socket that is gone is forwarded anew
                path: Path = await connector.forward_socket(location, target)
                far_reader, far_writer = await asyncio.open_unix_connection(path)
            except (SiteError, OSError):  # who waits at the other end sees the connection end, and says so
                writer.close()
                return
            await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))

        return cls(await asyncio.start_server(lead, "127.0.0.1", 0))

    def close(self) -> None:
        """Stop listening."""
        self._server.close()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(PIECE_B):
            target.write(data)
            await target.drain()
    target.close()

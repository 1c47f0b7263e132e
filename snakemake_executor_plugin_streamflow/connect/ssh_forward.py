"""Sockets of a host, brought here as unix sockets."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from ..errors import Unreachable
from .ssh_bridge import Bridges


@dataclass(frozen=True, slots=True)
class Forward:
    """A listening unix socket in a folder that only this user can enter."""

    folder: Path
    path: Path
    bridges: Bridges
    listener: asyncio.Server

    def close(self) -> None:
        """Stop listening and remove the folder."""
        self.listener.close()
        self.bridges.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Forwards:
    """The forwarded sockets of one connector, by location and target."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Forward] = {}
        self._making = asyncio.Lock()

    async def path(self, connection: asyncssh.SSHClientConnection, target: str, name: str, timeout_s: float) -> Path:
        """Return the socket for a target of location `name`, made anew when its connection is gone.

        Raises:
            Unreachable: the host does not let us through to the target.
        """
        async with self._making:
            old = self._made.get((name, target))
            if old is not None and not old.bridges.connection.is_closed():
                return old.path
            if old is not None:
                old.close()
                del self._made[name, target]
            made = await _forward(connection, target, name, timeout_s)
            self._made[name, target] = made
            return made.path

    def close(self) -> None:
        """Close them all."""
        for forward in self._made.values():
            forward.close()
        self._made.clear()


async def _forward(connection: asyncssh.SSHClientConnection, target: str, name: str, timeout_s: float) -> Forward:
    folder = Path(tempfile.mkdtemp(prefix="streamflow-"))
    path = folder / "socket"
    bridges = Bridges(connection, target)
    try:
        async with asyncio.timeout(timeout_s):
            await bridges.probe()  # a forwarded socket says nothing when the far end is missing
        listener = await asyncio.get_running_loop().create_unix_server(bridges.accept, path)
        return Forward(folder, path, bridges, listener)
    except (OSError, ValueError, TimeoutError, asyncssh.Error) as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = getattr(error, "reason", None) or str(error) or f"no answer within {timeout_s:g} s"
        raise Unreachable(f"{name}: no way to {target}: {reason}; check that something listens there") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise

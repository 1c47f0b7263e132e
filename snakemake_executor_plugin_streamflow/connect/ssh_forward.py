"""Sockets of a host, brought here as unix sockets."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from ..errors import Unreachable


@dataclass(frozen=True, slots=True)
class Forward:
    """A listening unix socket in a folder that only this user can enter."""

    folder: Path
    path: Path
    connection: asyncssh.SSHClientConnection
    listener: asyncssh.SSHListener

    def close(self) -> None:
        """Stop listening and remove the folder."""
        self.listener.close()
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
            if old is not None and not old.connection.is_closed():
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
    host, _, port = target.rpartition(":")
    is_path = target.startswith("/")
    folder = Path(tempfile.mkdtemp(prefix="streamflow-"))
    path = folder / "socket"
    try:
        async with asyncio.timeout(timeout_s):
            # A forwarded socket says nothing when the far end is missing: ask once, by name.
            if is_path:
                _, writer = await connection.open_unix_connection(target)
            else:
                _, writer = await connection.open_connection(host, int(port))
            writer.close()
            if is_path:
                listener = await connection.forward_local_path(str(path), target)
            else:
                listener = await connection.forward_local_path_to_port(str(path), host, int(port))
        return Forward(folder, path, connection, listener)
    except (OSError, ValueError, TimeoutError, asyncssh.Error) as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = getattr(error, "reason", None) or str(error) or f"no answer within {timeout_s:g} s"
        raise Unreachable(f"{name}: no way to {target}: {reason}; check that something listens there") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise

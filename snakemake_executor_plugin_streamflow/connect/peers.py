"""What locations have to do with each other: who is entered from where, and who can log in to whom."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..model import Location
from .base import Connector


@dataclass(frozen=True, slots=True)
class Gate:
    """The outermost place that a location is entered from.

    Attributes:
        argv: what runs there and starts the command that follows it at the location; empty: the location itself.
    """

    connector: Connector
    location: Location
    argv: tuple[str, ...] = ()


def gate(connector: Connector, location: Location) -> Gate:
    """Return the gate of a location."""
    argv: tuple[str, ...] = ()
    while (entrance := connector.entrance(location)) is not None:
        argv = (*entrance.argv, *argv)
        connector, location = entrance.inner.connector, entrance.inner.location
    return Gate(connector, location, argv)


@dataclass(frozen=True, slots=True)
class Peer:
    """How others log in to a host. Nothing of it is secret.

    Attributes:
        host_key: type and base64 text, as in a known hosts file.
    """

    host: str
    port: int
    user: str
    host_key: str


@runtime_checkable
class HasPeers(Protocol):
    """A connector whose hosts may log in to hosts of others, and can be logged in to."""

    @property
    def direct(self) -> str:
        """How its hosts log in to others: "own" keys, with an "agent" that we lend them, or "no"."""
        ...

    async def peer(self, location: Location) -> Peer:
        """Return how to log in to a location. Raises Unreachable."""
        ...

    async def keys(self, location: Location) -> Sequence[Any]:
        """Return the keys that we log in to a location with. Raises Unreachable."""
        ...

    def lend(self, location: Location, path: str, keys: Sequence[Any], user: str) -> AbstractAsyncContextManager[None]:
        """Serve an agent at the unix socket `path` of a location, which signs logins of `user` with these keys.

        Nothing is stored there; the agent ends with the context.

        Raises:
            Unreachable: the host does not let us.
        """
        ...

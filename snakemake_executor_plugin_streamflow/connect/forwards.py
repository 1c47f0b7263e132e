"""Connectors that bring sockets of their locations here."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from ..model import Location


@runtime_checkable
class ForwardsSockets(Protocol):
    """An inner connector that can bring a socket of a location here."""

    async def forward_socket(self, location: Location, target: str) -> Path:
        """Return a local unix socket that leads to `target` (a path, or HOST:PORT) as the location sees it."""
        ...

"""The contract of a place that holds files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence

from ..remote.job import Found
from .entry import Entry, Item

Pieces = AsyncIterator[tuple[Entry, bytes]]
"""Contents of the files of some items, in order; an empty file has one empty piece."""


class Store(ABC):
    """A filesystem, or a folder of one, that files are read from and written to."""

    name: str

    @abstractmethod
    async def stat(self, paths: Sequence[str]) -> list[Found]:
        """Look at paths (following links), in order. One round trip. Raises Unreachable."""

    @abstractmethod
    async def list(self, paths: Mapping[str, str]) -> list[Item]:
        """List files and whole directories as items; `paths` maps source to target path.

        Raises:
            TransferError: something is missing, unreadable, or of a kind that does not travel.
        """

    @abstractmethod
    def stream(self, items: Sequence[Item]) -> Pieces:
        """Read the contents of all files of the items, in order, once.

        Raises:
            TransferError: a file changed, vanished or could not be read; or what arrived is not what was sent.
        """

    @abstractmethod
    async def receive(self, items: Sequence[Item], pieces: Pieces) -> None:
        """Write the items. Each appears under its target name only when complete, replacing what was there.

        Raises:
            TransferError: it could not be written, or differs. Nothing is left behind.
        """

    @abstractmethod
    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files and directories; what is missing is no error."""

"""The contract of a place that holds files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from typing import Self

from ..errors import TransferError
from ..remote.job import Found
from .entry import Entry, Item

Pieces = AsyncIterator[tuple[Entry, bytes]]
"""Contents of files, in order; an empty file has one empty piece."""


class Contents:
    """Contents of all files of some items, read once.

    Attributes:
        digests: SHA-1 (for integrity, not security) of each file, made where it was read; complete at the end.
    """

    def __init__(self, pieces: Pieces, digests: Sequence[str]) -> None:
        self.digests = digests
        self._pieces = pieces

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[tuple[Entry, bytes]]:
        return self._pieces.__anext__()

    async def end(self, where: str) -> None:
        """Wait for the checks that the sender makes after its last byte.

        Raises:
            TransferError: they failed, or more bytes came.
        """
        async for _ in self._pieces:
            raise TransferError(f"{where}: more bytes than expected")

    async def aclose(self) -> None:
        """Stop reading. Idempotent."""
        if isinstance(self._pieces, AsyncGenerator):
            await self._pieces.aclose()


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
    async def listings(self, paths: Sequence[str]) -> Sequence[str]:
        """Return the digest of each directory's listing (see `listing`), "" where there is none. One round trip."""

    @abstractmethod
    async def sums(self, paths: Sequence[str]) -> Sequence[str]:
        """Return the SHA-1 of the content of each file, "" where it cannot be read. Reads all of them."""

    @abstractmethod
    def stream(self, items: Sequence[Item]) -> Contents:
        """Read the contents of all files of the items, in order, once.

        Raises, while it is read:
            TransferError: a file changed its size, vanished or could not be read.
            Differs: the digest of a file is not that of its entry.
        """

    @abstractmethod
    async def receive(self, items: Sequence[Item], contents: Contents) -> None:
        """Write the items. Each appears under its target name only when complete, replacing what was there.

        Raises:
            TransferError: it could not be written, or its digests differ. Nothing is left behind.
        """

    @abstractmethod
    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files and directories; what is missing is no error."""

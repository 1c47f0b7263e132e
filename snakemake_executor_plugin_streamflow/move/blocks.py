"""Files of this machine: large ones are read, written and hashed in a thread, one block ahead of the loop."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

BLOCK_B = 1 << 20
INLINE_B = 1 << 16
"""Up to here a thread costs more than it saves."""

_HOLE_B = 1 << 15
"""So many zeros, at least, are left out."""
_ZEROS = bytes(BLOCK_B)

T = TypeVar("T")


class Beside(Generic[T]):
    """Blocking calls in a thread, one at a time, while their caller goes on."""

    def __init__(self) -> None:
        self._call: asyncio.Future[T] | None = None

    def start(self, function: Callable[[], T]) -> None:
        """Start a call; the result of the one before must have been taken."""
        assert self._call is None
        self._call = asyncio.get_running_loop().run_in_executor(None, function)

    async def result(self) -> T | None:
        """Wait for the call that runs and return, or raise, what it gives; None when there is none."""
        await self.settled()
        call, self._call = self._call, None
        return call.result() if call is not None else None

    async def settled(self) -> None:
        """Wait until no call runs; a thread cannot be cancelled, so what it works on must stay open until then."""
        if self._call is not None:
            await asyncio.wait([self._call])


def whole(path: str, size_b: int) -> bytes:
    """Return the content of a small file of a known size. A file object would take twice the time.

    Raises:
        EOFError: the file is shorter.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        content = os.read(fd, size_b)
    finally:
        os.close(fd)
    if len(content) < size_b:
        raise EOFError
    return content


def put(path: str, content: bytes, mode: int, mtime_ns: int) -> str:
    """Write a small file, and return its SHA-1. Raises OSError."""
    fd = _new(path)
    try:
        _write(fd, content)
        os.fchmod(fd, mode)
        os.utime(fd, ns=(mtime_ns, mtime_ns))
    finally:
        os.close(fd)
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _new(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


async def read(fd: int, size_b: int, done: Callable[[str], object]) -> AsyncGenerator[bytes, None]:
    """Yield the content of an open file of a known size in blocks, and tell its SHA-1 when all is read.

    Raises:
        EOFError: the file is shorter.
    """
    digest = hashlib.sha1(usedforsecurity=False)

    def take() -> bytes:
        block = os.read(fd, min(left, BLOCK_B))
        digest.update(block)
        return block

    left, beside = size_b, Beside[bytes]()
    try:
        beside.start(take)
        while left:
            block = await beside.result()
            if not block:
                raise EOFError
            left -= len(block)
            if left:
                beside.start(take)
            else:
                done(digest.hexdigest())
            yield block
    finally:
        await beside.settled()


class Writer:
    """Writes one file as its pieces come; zeros take no room. Usable once, as a context that closes it."""

    def __init__(self, path: str) -> None:
        self._fd = _new(path)
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._beside = Beside[None]()
        self._hole = False

    async def __aenter__(self) -> Writer:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._beside.settled()
        finally:
            os.close(self._fd)

    async def write(self, piece: bytes) -> None:
        """Write a piece; a large one may be on its way for a while yet. Raises OSError, also of the piece before."""
        await self._beside.result()
        if len(piece) > INLINE_B:
            self._beside.start(lambda: self._put(piece))
        else:
            self._put(piece)

    async def finish(self, mode: int) -> str:
        """Set the mode, and return the SHA-1 of what was written. Raises OSError."""
        await self._beside.result()
        if self._hole:
            os.ftruncate(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR))
        os.fchmod(self._fd, mode)
        return self._digest.hexdigest()

    def _put(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._hole = len(piece) >= _HOLE_B and not piece[0] and piece == _ZEROS[: len(piece)]
        if self._hole:
            os.lseek(self._fd, len(piece), os.SEEK_CUR)
        else:
            _write(self._fd, piece)

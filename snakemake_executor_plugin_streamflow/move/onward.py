"""Contents of large files of a location, over one connection after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, MutableSequence, Sequence
from contextlib import AbstractAsyncContextManager

from ..errors import TransferError, Unreachable
from ..remote.shell import Shell
from .text import found_digests, reading

_PROGRESS_B = 1 << 20
_STALLED = 2
"""Tries that bring less, one after another, before a broken connection is an error."""
_PAUSE_S = 0.1


async def contents(
    where: str,
    shells: Callable[[], AbstractAsyncContextManager[Shell]],
    names: Sequence[str],
    sizes_b: Sequence[int],
    digests: MutableSequence[str],
) -> AsyncGenerator[bytes, None]:
    """Yield the contents of files, and add their digests; where a connection breaks, go on from there over another.

    The digests are of whole files, made in the end: a file that changed meanwhile is seen by them.

    Raises:
        TransferError: a file could not be read whole.
        Unreachable: nothing had come yet, or nothing more comes.
    """
    total, sent, stalled = sum(sizes_b), 0, 0
    while True:
        before = sent
        try:
            async with shells() as shell:
                async for piece in shell.fetch(reading(names, sizes_b, sent), total - sent):
                    sent += len(piece)
                    yield piece
                done = shell.last
            break
        except Unreachable:
            stalled = 0 if sent - before >= _PROGRESS_B else stalled + 1
            if sent < _PROGRESS_B or stalled > _STALLED:
                raise
        await asyncio.sleep(_PAUSE_S * 2**stalled)
    digests.extend(found_digests(done.text))
    if done.code or len(digests) != len(names):
        raise TransferError(f"{where}: {names[0]} could not be read whole", transient=True)

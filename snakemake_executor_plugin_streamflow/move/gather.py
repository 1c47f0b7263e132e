"""Many small files of a location as one stream: each is read once, and what is read is hashed as it flows.

The form is that of `tail -v`: a line with the name before each content. So a file that grew or shrank after it was
listed is seen where it ends. The digests of the files are made here, of bytes that the stream's digest vouches for.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, MutableSequence, Sequence

from ..errors import TransferError
from ..remote.quote import encode
from ..remote.shell import Shell
from .entry import Entry
from .store import Pieces
from .text import BATCH, SMALL_B, batched

MEAN_B = 256 << 10
"""Files that are smaller on average are many small ones."""


def worth(files: int, total: int) -> bool:
    """Whether files of so many bytes in all are many small ones."""
    return SMALL_B < total < files * MEAN_B


def text(names: Sequence[str]) -> str:
    """Shell text that prints the stream, then its digest.

    GNU `cat` makes a buffer of 128 KiB for each file, `tail` does not. `dd` gathers what would be a packet or a frame
    for each write.
    """
    files = "\n".join(batched("each", names))
    return f"""each() {{ tail -v -c +1 -- "$@"; }}
[ "$(each /dev/null 2>/dev/null)" = '==> /dev/null <==' ] ||
each() {{ n=; for f; do printf "$n==> %s <==\\n" "$f"; cat -- "$f" || return; n='\\n'; done; }}
exec 4>&1; d=$({{ {{ {files}
}} | tee /dev/fd/3 | dd ibs=65536 obs=262144 2>/dev/null >&4; }} 3>&1 | sha1sum); echo "${{d%% *}}" """


async def apart(shell: Shell, names: Sequence[str], entries: Sequence[Entry], digests: MutableSequence[str]) -> Pieces:
    """Read files, and add the digest of each when all have been read.

    Raises:
        TransferError: a file is not what was listed, or bytes were lost.
    """
    heads = [b"%s==> %s <==\n" % (b"\n" if at % BATCH else b"", encode(name)) for at, name in enumerate(names)]
    size_b = sum(map(len, heads)) + sum(entry.size_b for entry in entries)
    whole, own = hashlib.sha1(usedforsecurity=False), list[str]()
    pieces = _hashed(shell.fetch(text(names), size_b), whole)
    data, at = b"", 0
    for name, head, entry in zip(names, heads, entries, strict=True):
        while len(data) - at < len(head):
            data, at = data[at:] + await anext(pieces), 0
        if not data.startswith(head, at):
            raise TransferError(f"{shell.location}: files changed while they were sent, before {name}", transient=True)
        at += len(head)
        digest, left = hashlib.sha1(usedforsecurity=False), entry.size_b
        while True:
            if left and at == len(data):
                data, at = await anext(pieces), 0
            piece = data[at : at + left]
            at, left = at + len(piece), left - len(piece)
            digest.update(piece)
            yield entry, piece
            if not left:
                break
        own.append(digest.hexdigest())
    async for _ in pieces:
        raise AssertionError("fetch gives what was asked for")
    if shell.last.text.split() != [whole.hexdigest()]:
        raise TransferError(f"{shell.location}: {names[0]} and others could not be read whole", transient=True)
    digests.extend(own)


async def _hashed(pieces: AsyncIterator[bytes], digest: hashlib._Hash) -> AsyncIterator[bytes]:
    async for piece in pieces:
        digest.update(piece)
        yield piece

"""A digest of what is in a directory: all names below it, and of files their sizes and times.

Whoever makes it, from an item or at a location, gets the same. Times are whole seconds, and those of directories do not
count; neither does Snakemake's time stamp. Of links only the names do.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence

from ..remote.quote import encode, words
from .entry import Entry, Item

STAMP = ".snakemake_timestamp"
"""What Snakemake puts into directories that rules make: its time is theirs."""


def of_item(item: Item) -> str:
    """Return the digest of a directory that is a copy of an item."""
    return _digest(item.entries)


def of_folder(top: str) -> str:
    """Return the digest of a directory of this machine; "" when it cannot be read. Blocks."""
    try:
        return _digest(_entries(top, ""))
    except OSError:
        return ""


def text(folders: Sequence[str]) -> str:
    """Return shell text that prints the digest of each directory, or an empty line."""
    return f"""for f in {words(folders)}; do d=$(cd "$f" && find . ! -name {STAMP} -print0 |
xargs -0 stat -c '%f %s %Y %n' | sed 's/^8... /f /;s/^4... [0-9]* [0-9-]* /d /;s/^a... [0-9]* [0-9-]* /l /' |
LC_ALL=C sort | sha1sum) 2>/dev/null && echo "${{d%% *}}" || echo; done"""


def _digest(entries: Iterable[Entry]) -> str:
    lines = "\n".join(_line(entry) for entry in entries if posixpath.basename(entry.name) != STAMP)
    ordered = b"".join(line + b"\n" for line in sorted(encode(lines).split(b"\n")))
    return hashlib.sha1(ordered, usedforsecurity=False).hexdigest()


def _line(entry: Entry) -> str:
    name = f"./{entry.name}" if entry.name else "."
    return f"f {entry.size_b} {entry.mtime_ns // 10**9} {name}" if entry.kind == "f" else f"{entry.kind} {name}"


def _entries(top: str, name: str) -> Iterator[Entry]:
    yield Entry(name, "d")
    with os.scandir(os.path.join(top, name)) as found:
        for one in found:
            info, below = one.stat(follow_symlinks=False), posixpath.join(name, one.name)
            if stat.S_ISDIR(info.st_mode):
                yield from _entries(top, below)
            else:
                kind = "l" if stat.S_ISLNK(info.st_mode) else "f"
                yield Entry(below, kind, info.st_size, info.st_mtime_ns)

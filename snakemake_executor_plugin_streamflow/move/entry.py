"""What travels: items (files or whole directories) and the entries they consist of."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Differs, TransferError, Unsendable

_STRANGE = frozenset(("", ".", ".."))


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or link of an item.

    Attributes:
        name: path below the item; "" is the item itself.
        kind: "f", "d" or "l".
        target: of a link.
        digest: SHA-1 that a file must have when it is read; "" when that is not known.
    """

    name: str
    kind: str
    size_b: int = 0
    mtime_ns: int = 0
    mode: int = 0o644
    target: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A file or directory to copy: `source` and `target` are paths in the two stores; `entries` parents first."""

    source: str
    target: str
    entries: tuple[Entry, ...]

    @property
    def size_b(self) -> int:
        """Bytes of content."""
        return sum(entry.size_b for entry in self.entries if entry.kind == "f")

    @property
    def directory(self) -> bool:
        """Whether it is a directory."""
        return self.entries[0].kind == "d"

    def files(self) -> list[Entry]:
        """The entries that have content, in order."""
        return [entry for entry in self.entries if entry.kind == "f"]


def from_stat(name: str, line: str) -> Entry:
    """Return the entry of what `stat -c '%f %s %Y'` says; links, and what does not travel, without a size."""
    mode, size, when = line.split()
    bits = int(mode, 16)
    kind = "f" if stat.S_ISREG(bits) else "d" if stat.S_ISDIR(bits) else "l" if stat.S_ISLNK(bits) else "?"
    return Entry(name, kind, int(size) if kind == "f" else 0, int(when) * 10**9, stat.S_IMODE(bits))


def join(path: str, name: str) -> str:
    """Path of an entry of an item at `path`."""
    return f"{path}/{name}" if name else path


def compare(items: Sequence[Item], digests: Sequence[str], where: str) -> None:
    """Compare what was read of items with what their entries say.

    Args:
        digests: of all their files, in order.

    Raises:
        Differs: a file is another one.
    """
    read = iter(digests)
    for item in items:
        for entry in item.files():
            digest = next(read, "")
            if entry.digest and entry.digest != digest:
                name = join(item.source, entry.name)
                raise Differs(f"{where}: {name} has changed: its digest is not what it was", item.source)


def checked(item: Item, where: str) -> Item:
    """Return the item if none of its names can lead outside of it.

    Raises:
        TransferError: an absolute name, `..`, a name that is there twice, an entry below a link, or an unknown kind.
    """
    links, seen = set[str](), set[str]()
    for entry in item.entries:
        if entry.name in seen:
            raise TransferError(f"{where}: refused {item.source}: the name {entry.name!r} is there twice")
        seen.add(entry.name)
        parts = entry.name.split("/")
        below_link = bool(links) and any("/".join(parts[:n]) in links for n in range(1, len(parts)))
        if entry.name and (below_link or not _STRANGE.isdisjoint(parts)):
            raise TransferError(f"{where}: refused the name {entry.name!r} in {item.source}: it leads outside")
        if entry.kind == "l":
            links.add(entry.name)
        elif entry.kind not in ("f", "d"):
            raise Unsendable(
                f"{where}: refused {join(item.source, entry.name)}: only files, directories and links travel"
            )
    return item


def inside(name: str, target: str, top: str) -> str | None:
    """Return the relative form of a link's target if it stays below the item at `top`, else None."""
    if target.startswith("/"):
        if target != top and not target.startswith(top.rstrip("/") + "/"):
            return None
        return posixpath.relpath(target, posixpath.dirname(posixpath.join(top, name)))
    resolved = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return None if resolved == ".." or resolved.startswith("../") else target

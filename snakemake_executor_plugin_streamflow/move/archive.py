"""A tar archive of items, made as it is sent, and the shell text that verifies what arrived and puts it in place."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import AsyncIterator, Callable, Sequence
from functools import lru_cache

from ..remote.quote import encode, quote, words
from .entry import Entry, Item, join
from .store import Contents

_PART_FILES = 1000
_PART_B = 8 << 20

# `cat`: a command that busybox's xargs runs may, when it ends, move the position of an input that is a file.
_HASH = r"""digest() { k=0 all=; while kill -0 $$ 2>/dev/null; do
if [ -e .e$k ]; then
cat .n$k | xargs -0 sha1sum | LC_ALL=C sed -n 's/^\\\{0,1\}\([0-9a-f]\{40\}\)  .*/\1/p'; k=$((k+1))
elif [ "$all" ]; then return
elif [ -e .d ]; then all=1
else sleep 0.05 2>/dev/null || sleep 1; fi; done; } >.h"""
"""`digest` makes the digests of the files that `tar` has written; it ends when it has seen the end of the archive.

What is in part K is listed in `.nK`, which is complete when `.eK` is there.
"""


def unpacking(stage: str, *, beside: bool) -> str:
    """Shell text that unpacks an archive into `stage` and verifies its files, a part while the next is unpacked.

    Without `beside` they are hashed afterwards: that is sooner when there are few of them.
    """
    unpack = "tar -xopf - && digest || exit 1"
    if beside:
        unpack = """digest 2>/dev/null </dev/null & h=$!
tar -xopf - && wait $h || { kill $h; exit 1; } 2>/dev/null"""
    return f"""s={quote(stage)}; mkdir -p "$s" && cd "$s" || exit 1
{_HASH}
{unpack}
[ "$(cat .h)" = "$(cat .d)" ] || {{ echo 'digests differ: bytes were lost'; exit 1; }}"""


def pouring(stage: str) -> str:
    """Shell text that unpacks an archive into `stage`, and prints the digest of the archive.

    To read many small files again, for digests of their own, would take longer than to unpack them.
    """
    return f"""s={quote(stage)}; mkdir -p "$s" && cd "$s" || exit 1
exec 4>&1; {{ tee /dev/fd/3 | {{ tar -xopf - && : >.ok; }} >&4; }} 3>&1 | sha1sum && [ -e .ok ]"""


def stage_names(items: Sequence[Item]) -> list[str]:
    """Where each item lies in the staging folder: its number, or, for files, `gN/BASE` with one N for each parent."""
    groups: dict[str, int] = {}
    names = []
    for number, item in enumerate(items):
        parent, base = posixpath.split(item.target)
        names.append(str(number) if item.directory else f"g{groups.setdefault(parent, len(groups))}/{base}")
    return names


def placing(stage: str, items: Sequence[Item], path: Callable[[str], str]) -> str:
    """Shell text that moves what lies in `stage` to its place.

    Across filesystems `mv` copies: there everything first goes beside its place, under another name.
    """
    lines = [
        f"""s={quote(stage)}; cd "$s" || exit 1""",
        f"""put() {{ t=$2/.{posixpath.basename(stage)}
{{ mv -f "$1" "$t" && if [ -d "$3" ] || [ -L "$3" ]; then rm -rf "$3"; fi && mv -f "$t" "$3"
}} || {{ rm -rf "$t"; exit 1; }}; }}""",
    ]
    near, far = list[str](), list[str]()
    groups: dict[str, list[str]] = {}
    parents = dict.fromkeys(posixpath.dirname(path(item.target)) for item in items)
    for parent in map(quote, parents):
        lines.append(f"[ -d {parent} ] || mkdir -p {parent} || exit 1")
    for item, name in zip(items, stage_names(items), strict=True):
        parent, final = quote(posixpath.dirname(path(item.target))), quote(path(item.target))
        if item.directory:
            near.append(f"rm -rf {final} && mv -f {name} {final} || exit 1")
            far.append(f"put {name} {parent} {final}")
        else:
            groups.setdefault(parent, []).append(name)
    for parent, names in groups.items():
        for start in range(0, len(names), 500):
            some = words(names[start : start + 500])
            near.append(f"for f in {some}; do f={parent}/${{f#*/}}")
            near.append('[ ! -d "$f" ] || [ -L "$f" ] || rm -rf "$f" || exit 1; done')
            near.append(f"mv -f {some} {parent}/ || exit 1")
            far.append(f'for f in {some}; do put "$f" {parent} {parent}/"${{f#*/}}"; done')
    work = posixpath.dirname(posixpath.dirname(posixpath.dirname(stage)))
    if all(parent == work or parent.startswith(f"{work}/") for parent in parents):
        lines.append('w=$(cd ../../.. && pwd -P); near=1; set -- "$(stat -c %d .)"')
        for start in range(0, len(parents), 500):
            some = words(list(parents)[start : start + 500])
            lines.append(f"""for x in $(stat -L -c %d -- {some}); do [ "$x" = "$1" ] || near=; done""")
        # A bind mount can have the same device.
        lines.append('while read -r _ _ _ _ x _; do case $x in "$w"/*) near=;; esac')
        lines.append("done 2>/dev/null </proc/self/mountinfo")
        lines += ['if [ "$near" ]; then', *near, "else", *far, "fi"]
    else:
        lines += far
    lines.append('cd / && rm -rf "$s"')
    return "\n".join(lines)


async def archive(items: Sequence[Item], contents: Contents, *, told: bool = True) -> AsyncIterator[bytes]:
    """Yield a tar archive of the items, each below its staging name; with `told`, also what `unpacking` checks."""
    names: list[str] = []
    parts, left_b = 0, _PART_B
    pending = bytearray()
    for item, top in zip(items, stage_names(items), strict=True):
        for entry in item.entries:
            name = join(top, entry.name)
            pending += _header(name, entry)
            if entry.kind == "f":
                names.append(name)
                left = entry.size_b
                while True:
                    _, piece = await anext(contents)
                    left -= len(piece)
                    if len(piece) < 65536:
                        pending += piece
                    else:
                        yield bytes(pending)
                        yield piece
                        pending.clear()
                    if len(pending) >= 262144:
                        yield bytes(pending)
                        pending.clear()
                    if not left:
                        break
                pending += bytes(-entry.size_b % 512)
                left_b -= entry.size_b
                if told and (left_b <= 0 or len(names) >= _PART_FILES):
                    pending += _part(parts, names)
                    parts, left_b, names = parts + 1, _PART_B, []
    if told and names:
        pending += _part(parts, names)
    await contents.end(items[0].target)
    if told:
        pending += _member(".d", "\n".join(contents.digests).encode())
    pending += bytes(1024)
    yield bytes(pending)


def _part(number: int, names: Sequence[str]) -> bytes:
    listed = "".join(f"./{name}\0" for name in names)
    return _member(f".n{number}", encode(listed)) + _member(f".e{number}", b"")


def _member(name: str, content: bytes) -> bytes:
    return _header(name, Entry("", "f", len(content), 0, 0o600)) + content + bytes(-len(content) % 512)


def _header(name: str, entry: Entry) -> bytes:
    """One header of a GNU archive; what does not fit the plain form is left to `tarfile`, which is ten times slower."""
    path = encode(name)
    when = entry.mtime_ns // 10**9
    if entry.kind == "f" and len(path) <= 100 and entry.size_b < 8**11 and 0 <= when < 8**11:
        fields, total = _plain(entry.mode, entry.size_b, when)
        return path.ljust(100, b"\0") + fields + b"%06o\0 " % (total + sum(path)) + _PLAIN_END
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = entry.mode, entry.mtime_ns // 10**9
    if entry.kind == "d":
        info.type, info.mode = tarfile.DIRTYPE, entry.mode | 0o700
    elif entry.kind == "l":
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    else:
        info.size = entry.size_b
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


_PLAIN_END = b"0" + bytes(100) + b"ustar  ".ljust(255, b"\0")


@lru_cache
def _plain(mode: int, size_b: int, when: int) -> tuple[bytes, int]:
    """What follows the name in a header, and the sum of all bytes but those of the name."""
    fields = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size_b, when)
    return fields, sum(fields) + 8 * ord(" ") + sum(_PLAIN_END)

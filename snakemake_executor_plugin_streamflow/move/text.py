"""Shell text that reads files at a location, and that writes them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

from ..remote.quote import quote, words
from .entry import Item, join

SMALL_B = 4 << 20
"""Up to here a transfer goes through a shell that stays; above, through a channel of its own."""

_PART_MIB = 64
BATCH = 500
"""Names in one command."""

_PUT = rf"""take() {{ q=$(($1/262144)) r=$(($1%262144))
[ $q = 0 ] || dd bs=262144 count=$q iflag=fullblock 2>/dev/null || return
[ $r = 0 ] || dd bs=$r count=1 iflag=fullblock 2>/dev/null; }}
put() {{ left=$2; i=0; while part=$((left<{_PART_MIB << 20}?left:{_PART_MIB << 20})); take $part >>"$1"; do
echo $i; i=$((i+1)); left=$((left-part)); [ $left != 0 ] || break; done |
while read -r i; do dd if="$1" bs=1048576 skip=$((i*{_PART_MIB})) count={_PART_MIB} 2>/dev/null; done |
sha1sum | sed 's/ .*//'; [ "$(stat -c %s "$1")" = $2 ]; }}"""
"""`put NAME SIZE` takes that many bytes of its input, and not one more, for a new file; it prints the digest.

A part is hashed, from the page cache, while the next one is written. `tee` would do the same in blocks of 8 KiB, which
makes everybody before it slower.
"""

_HAS_BLOCKS = "dd iflag=fullblock count=0 </dev/null 2>/dev/null"


_DIGEST = re.compile(r"^\\?([0-9a-f]{40})  ", re.MULTILINE)


def contents(names: Sequence[str]) -> str:
    """Text that prints the contents of files, one after another."""
    return "\n".join(batched("cat --", names))


def digests(names: Sequence[str]) -> str:
    """Text that prints a digest of each file; `found_digests` reads it."""
    return "\n".join(batched("sha1sum --", names))


def sums(names: Sequence[str]) -> str:
    """Text that prints the digest of each file, or an empty line."""
    return (
        f"""for f in {words(names)}; do d=$(sha1sum 2>/dev/null <"$f") 2>/dev/null && echo "${{d%% *}}" || echo; done"""
    )


def found_digests(text: str) -> list[str]:
    """Return the digests that `digests` printed."""
    return _DIGEST.findall(text)


def reading(names: Sequence[str], sizes_b: Sequence[int], start_b: int = 0) -> str:
    """Text that prints the contents of files and then a digest of each; large ones are hashed meanwhile.

    With `start_b`, so many bytes of all the contents are left out; the digests are those of whole files.
    What cannot be read is seen by its digest. Many small ones: see `gather`.
    """
    if not names:
        return ":"
    printed = contents(names)
    if start_b:
        at, left_b = 0, start_b
        while at < len(names) and left_b >= sizes_b[at]:
            at, left_b = at + 1, left_b - sizes_b[at]
        cut = [f"tail -c +{left_b + 1} <{quote(name)} || exit 1" for name in names[at : at + 1]]
        printed = "\n".join([*cut, contents(names[at + 1 :])])
    if sum(sizes_b) <= SMALL_B:
        return f"{printed}\n{digests(names)}"
    return f"""t=$(mktemp) || exit 1; trap 'rm -f "$t"' EXIT
{{ {digests(names)}
}} >"$t" & {printed}
wait; cat "$t" """


def writing(name: str, size_b: int) -> str:
    """Text that writes its standard input to a new file and prints its digest; it fails when the size is not right."""
    return f"""{_PUT}
{_HAS_BLOCKS} || take() {{ head -c $1; }}
put {quote(name)} {size_b}"""


def filling(items: Sequence[Item], names: Sequence[str]) -> str:
    """Text that makes items below the present folder, under these names; contents come one after another.

    The contents are those of all files, without anything between them. The digests go to the file `.d`.
    """
    folders, files, links = list[str](), list[str](), list[str]()
    modes, times, closed = dict[int, list[str]](), dict[int, list[str]](), list[str]()
    for item, top in zip(items, names, strict=True):
        if not item.directory:
            folders.append(posixpath.dirname(top))
        for entry in item.entries:
            name = join(top, entry.name)
            if entry.kind == "l":
                links.append(f"ln -s -- {quote(entry.target)} {quote(name)} || exit 1")
            elif entry.kind == "d":
                folders.append(name)
                when = f"touch -d @{entry.mtime_ns // 10**9} {quote(name)}"
                closed.append(f"chmod {entry.mode | 0o700:o} {quote(name)} && {when} || exit 1")
            else:
                files.append(f"put {quote(name)} {entry.size_b} || exit 1")
                modes.setdefault(entry.mode, []).append(name)
                times.setdefault(entry.mtime_ns // 10**9, []).append(name)
    return "\n".join(
        [
            f"{_HAS_BLOCKS} || {{ echo 'dd has no fullblock'; exit 1; }}",
            _PUT,
            *batched("mkdir -p", dict.fromkeys(folders)),
            f"{{ {chr(10).join(files)}\n}} >.d",
            *links,
            *(line for mode, group in modes.items() for line in batched(f"chmod {mode:o}", group)),
            *(line for when, group in times.items() for line in batched(f"touch -d @{when}", group)),
            *reversed(closed),
        ]
    )


def batched(command: str, names: Iterable[str]) -> list[str]:
    """Lines that each run a command with some of the names."""
    names = list(names)
    return [f"{command} {words(names[at : at + BATCH])} || exit 1" for at in range(0, len(names), BATCH)]

"""Shell text that reads files at a location, and that writes one."""

from __future__ import annotations

from collections.abc import Sequence

from ..remote.quote import quote, words

SMALL_B = 4 << 20
"""Up to here a transfer goes through a shell that stays; above, through a channel of its own."""

_PART_MIB = 64


def reading(names: Sequence[str], total: int) -> str:
    """Text that prints the contents of files and then a digest of each; large ones are hashed meanwhile."""
    if not names:
        return ":"
    if len(names) == 1 and total > SMALL_B:
        one = quote(names[0])
        return f"""t=$(mktemp) || exit 1; trap 'rm -f "$t"' EXIT
sha1sum <{one} >"$t" & cat <{one} || exit 1; wait; cat "$t" """
    chunks = [words(names[start : start + 500]) for start in range(0, len(names), 500)]
    cats = "\n".join(f"cat -- {chunk} || exit 1" for chunk in chunks)
    sums = "\n".join(f"sha1sum -- {chunk} || exit 1" for chunk in chunks)
    if total <= SMALL_B:
        return f"{cats}\n{sums}"
    return f"""t=$(mktemp) || exit 1; trap 'rm -f "$t"' EXIT
{{ {sums}
}} >"$t" & {cats}
wait; cat "$t" """


def writing(name: str, size_b: int) -> str:
    """Text that writes its standard input to a new file and prints its digest; it fails when the size is not right.

    A part is hashed, from the page cache, while the next one is written. `tee` would do the same in blocks of 8 KiB,
    which makes everybody before it slower.
    """
    parts = -(-size_b // (_PART_MIB << 20))
    return f"""f={quote(name)}
take() {{ dd bs=256k count={_PART_MIB * 4} iflag=fullblock 2>/dev/null; }}
dd iflag=fullblock count=0 </dev/null 2>/dev/null || take() {{ head -c {_PART_MIB << 20}; }}
i=0; while [ $i -lt {parts} ]; do take >>"$f" || break; echo $i; i=$((i+1)); done |
while read -r i; do dd if="$f" bs=1024k skip=$((i*{_PART_MIB})) count={_PART_MIB} 2>/dev/null; done |
sha1sum | sed 's/ .*//'; [ "$(stat -c %s "$f")" = {size_b} ]"""

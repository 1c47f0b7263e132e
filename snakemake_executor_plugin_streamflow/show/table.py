"""Plain text tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_NARROW = 8
"""Columns are not cut below this."""
_NUMBER = re.compile(r"[\d.]+( [kMGT]?B)?")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return rows under their heads, in aligned columns; those that are all numbers or sizes to the right.

    Args:
        width: cut the widest columns in the middle so that lines have at most so many characters; None: never.
    """
    cells = [[_plain(cell) for cell in row] for row in (head, *rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(_width, column)) for column in columns]
    while width is not None and sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _NARROW:
        widths[widths.index(max(widths))] -= 1
    right = [bool(rows) and all(_NUMBER.fullmatch(cell) for cell in column[1:] if cell) for column in columns]
    lines = []
    for row in cells:
        padded = []
        for cell, room, to_right in zip(row, widths, right, strict=True):
            text = _cut(cell, room)
            space = " " * (room - _width(text))
            padded.append(space + text if to_right else text + space)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _plain(text: str) -> str:
    """The text without what would break a line or a terminal."""
    if text.isprintable():
        return text
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in safe)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _cut(text: str, room: int) -> str:
    """Cut the middle: paths differ at their ends."""
    if _width(text) <= room:
        return text
    head = text[: (room - 1) // 2]
    while _width(head) > (room - 1) // 2:
        head = head[:-1]
    tail = text[len(head) :]
    while _width(head) + 1 + _width(tail) > room:
        tail = tail[1:]
    return f"{head}…{tail}"

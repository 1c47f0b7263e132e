"""Values as `helm --set` takes them, `a.b=1,c[0]={x,y}`: read here, so that they need not be on a command line.

https://helm.sh/docs/intro/using_helm/#the-format-and-limitations-of---set
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Step = str | int

INDEX = re.compile(r"\[(\d+)\]")
MAX_INDEX = 65536
"""Helm's own."""


def set_values(into: Json, text: str, value: Callable[[str], Any]) -> None:
    """Put `key=value,key=value` into a tree of values; `value` makes a value of its text. An empty text has none.

    Raises:
        ValueError: the text is no such list; nothing of a value is in the message.
    """
    for piece in _split(text, ",") if text else ():
        key, equals, written = _cut(piece)
        if not equals or not key:
            raise ValueError(f"expected key=value after {key!r}" if key else "expected key=value")
        if written.startswith("{") and written.endswith("}"):
            put(into, steps(key), [value(_plain(one)) for one in _split(written[1:-1], ",")])
        else:
            put(into, steps(key), value(_plain(written)))


def set_one(into: Json, text: str, value: Callable[[str], Any]) -> None:
    """Put one `key=value` into a tree of values; the value is taken as it is written.

    Raises:
        ValueError: it has no key, or `value` refuses it.
    """
    key, equals, written = _cut(text)
    if not equals or not key:
        raise ValueError("expected key=value")
    put(into, steps(key), value(written))


def typed(text: str) -> Any:
    """Return what `--set` makes of a text: true, false, null, whole numbers without leading zeros, else the text."""
    if text in ("true", "false", "null"):
        return json.loads(text)
    return int(text) if re.fullmatch(r"0|-?[1-9]\d{0,18}", text) else text


def content(path: str) -> str:
    """Return the content of a file.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return Path(path).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def steps(key: str) -> list[Step]:
    """Return the names and numbers of `a.b[0]`; a dot after a backslash is part of a name.

    Raises:
        ValueError: the key is not of this form.
    """
    found: list[Step] = []
    for part in _split(key, "."):
        name, *_ = part.partition("[")
        numbers = INDEX.findall(part)
        if not name or part != name + "".join(f"[{number}]" for number in numbers):
            raise ValueError(f"expected a key such as a.b or a[0].b, got {key!r}")
        if any(int(number) > MAX_INDEX for number in numbers):
            raise ValueError(f"the index in {key!r} is too large")
        found += [_plain(name), *map(int, numbers)]
    return found


def put(into: Json, path: list[Step], value: Any) -> None:
    """Put a value into a tree, with all that is missing on the way to it."""
    owner: Any = into
    for number, step in enumerate(path):
        if isinstance(step, int):
            owner += [None] * (step + 1 - len(owner))
        if number == len(path) - 1:
            owner[step] = value
            return
        kind: type = list if isinstance(path[number + 1], int) else dict
        there = owner[step] if isinstance(step, int) else owner.get(step)
        if not isinstance(there, kind):
            owner[step] = there = kind()
        owner = there


def _cut(text: str) -> tuple[str, str, str]:
    """Return what stands before and after the first `=` without a backslash."""
    for at, _ in _bare(text, "="):
        return text[:at], "=", text[at + 1 :]
    return text, "", ""


def _split(text: str, separator: str) -> list[str]:
    """Split where the separator stands outside of braces and without a backslash."""
    found, start = [], 0
    for at, depth in _bare(text, separator):
        if depth == 0:
            found.append(text[start:at])
            start = at + 1
    return [*found, text[start:]]


def _bare(text: str, wanted: str) -> Iterator[tuple[int, int]]:
    """Give the places of a character that has no backslash before it, each with the depth of braces there."""
    depth, escaped = 0, False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
            continue
        escaped = character == "\\"
        if character == "{" and text[at - 1 : at] == "=":
            depth = 1
        elif character == "}":
            depth = 0
        elif character == wanted:
            yield at, depth


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)

"""Quoting for POSIX shells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath


def quote(word: str | PurePath) -> str:
    """Quote one word so that any POSIX shell reads it back byte for byte."""
    text = str(word)
    if "\0" in text:
        raise ValueError("a shell word cannot hold a NUL byte")
    return "'" + text.replace("'", "'\\''") + "'"


def words(items: Iterable[str | PurePath]) -> str:
    """Quote several words."""
    return " ".join(quote(item) for item in items)


def exports(env: Mapping[str, str]) -> str:
    """Return shell text that exports variables. Nothing in the values is evaluated."""
    return "".join(f"export {name}={quote(value)}\n" for name, value in env.items())


def encode(text: str) -> bytes:
    """Turn shell text into bytes; file names that are not UTF-8 survive."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """The inverse of `encode`."""
    return data.decode("utf-8", "surrogateescape")

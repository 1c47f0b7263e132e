"""Read any dataclass from a YAML mapping, by its type hints and the metadata of its fields.

Metadata that is understood, beyond `help`:

    alias       name in the YAML (default: camelCase of the field's name); the field's own name is accepted too
    required    must be given, and not empty
    size        a number of bytes, also written as 4GB
    path        a path on the controller: `~` is expanded, relative ones start at the companion file's folder
    absolute    an absolute POSIX path at the location
    choices     the texts that are allowed
    minimum     smallest number (default 0); above: the number must be larger than this
    one         a list may be given as its only element
    duration    a number of seconds, also written as 5m or 1h30m
    words       texts that stand for true or false
    reference   a path, as with `path`, where it is one: it starts with `.`, `/` or `~`, or is there; else left as it is
    tree        a mapping of anything, with variables replaced
    pairs       a mapping may be given as a list of NAME=VALUE
    variables   the keys are names of environment variables
    items       what the elements are, for messages
"""

from __future__ import annotations

import math
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .duration import seconds
from .foreign import IGNORED_OPTIONS, NOT_HERE, OPTIONS_NOT_YET
from .nearest import did_you_mean
from .nodes import Kind, Node, Place, Scalar

T = TypeVar("T")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
Meta = Mapping[str, Any]

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGTP])(i)?)?B", re.IGNORECASE | re.ASCII)
LARGEST = 2**63 - 1


class _Bad(Enum):
    """A value that was wrong; the mistake has been noted."""

    BAD = 0


BAD = _Bad.BAD


@dataclass(frozen=True, slots=True)
class Key:
    """One field of a section: its name in the YAML, its type without None, its metadata."""

    field: Field[Any]
    name: str
    hint: Any
    meta: Meta


_KEYS: dict[type, tuple[Key, ...]] = {}


def keys(cls: type) -> tuple[Key, ...]:
    """Return what a section may hold, in the order of its fields."""
    if cls not in _KEYS:
        hints = get_type_hints(cls)
        _KEYS[cls] = tuple(
            Key(f, f.metadata.get("alias", camel_case(f.name)), without_none(hints[f.name]), f.metadata)
            for f in fields(cls)
        )
    return _KEYS[cls]


def camel_case(name: str) -> str:
    """Return ssh_key as sshKey."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def members(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def without_none(hint: Any) -> Any:
    """Return `X` for `X | None`."""
    rest = tuple(member for member in members(hint) if member is not type(None))
    return Union[rest]  # noqa: UP007 - built from a tuple


class Reader:
    """Reads sections of one document, and remembers where each field of each section stands."""

    def __init__(self, folder: Path, home: Path | None) -> None:
        self._folder = folder
        self._home = home or Path.home()
        self._origin: dict[int, tuple[object, Node, frozenset[str]]] = {}
        self._open: set[int] = set()
        self.files: list[tuple[Place, str]] = []  # those that are read at this machine, and where they are named

    def section(self, node: Node, cls: type[T]) -> T | None:
        """Read a dataclass. Fields that are wrong get their default; None when `node` is no mapping."""
        if node.kind not in (Kind.MAPPING, Kind.NOTHING):
            self._expected(node, f"a mapping ({keys(cls)[0].name}: ...)")
            return None
        with self._entered(node) as entered:
            return self._fields(node, cls) if entered else None

    def place(self, section: object) -> Place:
        """Return where a section starts."""
        return self._origin[id(section)][1].place

    def problem(self, section: object, name: str, message: str) -> None:
        """Note a mistake at a field's value."""
        self._origin[id(section)][1].document.problem(self.origin(section, name), message)

    def report(self, section: object, message: str) -> None:
        """Note a mistake of a whole section."""
        self._origin[id(section)][1].problem(message)

    def origin(self, section: object, name: str) -> Place:
        """Return where a field's value stands; where the section starts when it is not given."""
        _, node, _ = self._origin[id(section)]
        key = self._key(section, name)
        given = node.entries.get(key.name) or node.entries.get(name)
        return given.place if given else node.key_place(key.name)

    def node(self, section: object, name: str) -> Node | None:
        """Return the node of a field's value; None when it is not given."""
        _, node, _ = self._origin[id(section)]
        return node.entries.get(self._key(section, name).name) or node.entries.get(name)

    def node_or_empty(self, section: object, name: str) -> Node:
        """Return the node of a field's value, or an empty mapping in its place."""
        return self.node(section, name) or self._origin[id(section)][1].empty(self._key(section, name).name)

    def all_sound(self, section: object) -> bool:
        """Whether every field was read without a mistake."""
        return not self._origin[id(section)][2]

    def hint(self, section: object, name: str, valid: Iterable[str], otherwise: str = "known") -> str:
        """Return `got VALUE; did you mean ...` for a field; a variable's value is not compared with anything."""
        node = self.node(section, name)
        if node is None or node.scalar is None:
            return "got nothing"
        end = did_you_mean(node.scalar.text, valid, otherwise) if node.scalar.literal else ""
        return f"got {node.scalar.shown}{end}"

    def sound(self, section: object, name: str) -> bool:
        """Whether a field was read without a mistake."""
        return name not in self._origin[id(section)][2]

    def _key(self, section: object, name: str) -> Key:
        return next(key for key in keys(type(section)) if key.field.name == name)

    def _fields(self, node: Node, cls: type[T]) -> T:
        values: dict[str, Any] = {}
        wrong: set[str] = set()
        self._report_unknown(node, cls)
        for key in keys(cls):
            given = [name for name in dict.fromkeys((key.name, key.field.name)) if name in node.entries]
            if len(given) == 2:
                node.document.problem(node.key_place(given[1]), f"given twice, also as {given[0]}")
                wrong.add(key.field.name)
            child = node.entries[given[0]] if given else None
            value: Any = None
            if child is not None and child.kind is not Kind.NOTHING:
                value = self.value(child, key.hint, key.meta)
            if value is BAD:
                wrong.add(key.field.name)
            elif key.meta.get("required") and (value is None or value in ((), {})):
                place = child.place if child else node.key_place(key.name)
                node.document.problem(place, f"expected {describe(key.hint, key.meta)}, got nothing")
                wrong.add(key.field.name)
            elif value is not None:
                values[key.field.name] = value
        section = cls(**values)
        self._origin[id(section)] = section, node, frozenset(wrong)
        return section

    def _report_unknown(self, node: Node, cls: type) -> None:
        names = [key.name for key in keys(cls)]
        known = {*names, *(key.field.name for key in keys(cls)), *IGNORED_OPTIONS.get(cls, ())}
        for name in node.entries:
            if name in known or (name.startswith("x-") and not node.path):
                continue
            if name in OPTIONS_NOT_YET.get(cls, ()):
                message = "StreamFlow's option is not supported yet: remove it"
            elif reason := NOT_HERE.get(cls, {}).get(name):
                message = f"not for this type: {reason}"
            else:
                message = f"unknown key {name[:60]!r}" + did_you_mean(name, names)
            node.document.problem(node.key_place(name), message)

    def value(self, node: Node, hint: Any, meta: Meta) -> Any:
        """Read a value of any type that options use; BAD when it is wrong, which has been noted."""
        if node.kind is None:
            return BAD
        if hint is Any:
            return self._tree(node) if meta.get("tree") else node.scalar.value if node.scalar else None  # not looked at
        if len(members(hint)) > 1:
            section, other = sorted(members(hint), key=is_dataclass, reverse=True)
            return self.value(node, section if node.kind is Kind.MAPPING else other, meta)
        if isinstance(hint, type) and is_dataclass(hint):
            found = self.section(node, hint)
            return BAD if found is None else found
        origin = get_origin(hint)
        if origin is tuple:
            return self._tuple(node, hint, meta)
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(node, hint, meta)
        if node.scalar is None:
            return self._expected(node, describe(hint, meta))
        return self._scalar(node, node.scalar, hint, meta)

    def _tuple(self, node: Node, hint: Any, meta: Meta) -> Any:
        element = get_args(hint)[0]
        if node.kind is Kind.LIST:
            nodes = node.items
        elif meta.get("one"):
            nodes = [node]
        else:
            return self._expected(node, describe(hint, meta))
        inner = {key: value for key, value in meta.items() if key not in ("one", "items", "single")}
        found: list[Any] = [self.value(child, element, inner) for child in nodes]
        return _without_bad(found, element)

    def _mapping(self, node: Node, hint: Any, meta: Meta) -> Any:
        element = get_args(hint)[1]
        if meta.get("pairs") and node.kind is Kind.LIST:
            texts = self._tuple(node, tuple[str, ...], {})
            if texts is BAD or any(not text.partition("=")[0] or "=" not in text for text in texts):
                return self._expected(node, "a mapping, or a list of NAME=VALUE") if texts is not BAD else BAD
            return self._named(node, {text.partition("=")[0]: text.partition("=")[2] for text in texts}, meta)
        if node.kind is not Kind.MAPPING:
            return self._expected(node, describe(hint, meta))
        found: dict[str, Any] = {}
        for name, child in node.entries.items():
            scalar = child.scalar
            if element is str and scalar:
                found[name] = scalar.text
            else:
                found[name] = self.value(child, element, meta)
        if meta.get("tree"):
            return BAD if BAD in found.values() else found
        kept = _without_bad(list(found.values()), element)
        return BAD if kept is BAD else self._named(node, {n: v for n, v in found.items() if v is not BAD}, meta)

    def _named(self, node: Node, found: dict[str, Any], meta: Meta) -> Any:
        """Refuse names that a shell cannot export, where the mapping is an environment."""
        wrong = [name for name in found if meta.get("variables") and not _VARIABLE.fullmatch(name)]
        return self._expected(node, f"names of variables (letters, digits and _), not {wrong[0]!r}") if wrong else found

    def _tree(self, node: Node) -> Any:
        """Return plain YAML values; BAD when a part of it is wrong."""
        if node.kind not in (Kind.MAPPING, Kind.LIST):
            return node.scalar.value if node.scalar else BAD
        with self._entered(node) as entered:
            if not entered:
                return BAD
            if node.kind is Kind.LIST:
                items = [self._tree(child) for child in node.items]
                return BAD if BAD in items else items
            found = {name: self._tree(child) for name, child in node.entries.items()}
            return BAD if BAD in found.values() else found

    def _scalar(self, node: Node, scalar: Scalar, hint: Any, meta: Meta) -> Any:
        if meta.get("size"):
            return self._size(node, scalar, meta)
        if meta.get("duration") and scalar.kind is Kind.TEXT:
            number = seconds(scalar.text)
            return number if number else self._expected(node, describe(hint, meta), scalar.shown)
        if hint is bool and scalar.text in meta.get("words", ()):
            return meta["words"][scalar.text]
        if hint is bool:
            return scalar.value if scalar.kind is Kind.BOOLEAN else self._expected(node, describe(hint, meta))
        if hint in (int, float):
            return self._number(node, scalar, hint, meta)
        return self._text(node, scalar, hint, meta)

    def _number(self, node: Node, scalar: Scalar, hint: type, meta: Meta) -> Any:
        number = scalar.value
        if scalar.kind is not Kind.NUMBER or not isinstance(number, (int, float)):
            return self._expected(node, describe(hint, meta))
        if isinstance(number, float) and (hint is int or not math.isfinite(number)):
            return self._expected(node, describe(hint, meta), scalar.shown)
        minimum, above = meta.get("minimum", 0), meta.get("above", -1)
        if number < minimum or number <= above or number > LARGEST:
            return self._expected(node, describe(hint, meta), scalar.shown)
        return hint(number)

    def _size(self, node: Node, scalar: Scalar, meta: Meta) -> Any:
        if scalar.kind is Kind.NUMBER:
            return self._number(node, scalar, int, meta)
        match = SIZE.fullmatch(scalar.text.strip())
        if not match or scalar.kind is not Kind.TEXT or len(scalar.text) > 40:
            return self._expected(node, describe(int, meta), scalar.shown)
        number, unit, binary = match.groups()
        factor = (1024 if binary else 1000) ** ("KMGTP".index(unit.upper()) + 1 if unit else 0)
        size = int(number) * factor if number.isdigit() else int(float(number) * factor)
        if size > LARGEST or size < meta.get("minimum", 0):
            return self._expected(node, describe(int, meta), scalar.shown)
        return size

    def _text(self, node: Node, scalar: Scalar, hint: Any, meta: Meta) -> Any:
        if scalar.kind in (Kind.BOOLEAN, Kind.NOTHING) and scalar.literal:
            quoted = f"{scalar.kind}: put {scalar.written} in quotes" if scalar.written else scalar.kind
            return self._expected(node, describe(hint, meta), quoted)
        if scalar.kind is Kind.NUMBER and scalar.literal and meta.get("quoted"):
            return self._expected(node, describe(hint, meta), f"the number {scalar.written}: put it in quotes")
        text = scalar.text
        choices = meta.get("choices") or (tuple(hint) if issubclass(hint, Enum) else ())
        if choices and text not in choices:
            end = did_you_mean(text, choices, "allowed") if scalar.literal and len(choices) > 1 else ""
            return self._expected(node, describe(hint, meta), scalar.shown + end)
        if meta.get("absolute") or hint is PurePosixPath:
            path = PurePosixPath(text)
            if not path.is_absolute() or ".." in path.parts or _CONTROL.search(text):
                return self._expected(node, describe(hint, meta), scalar.shown)
            return hint(text)
        if meta.get("reference") and not (text[:1] in ("", ".", "/", "~") or (self._folder / text).exists()):
            return text
        if meta.get("path") or meta.get("reference"):
            path = self._path(node, scalar)
            if meta.get("read") and path is not BAD:
                self.files.append((node.place, path))
            return path
        if not text and (meta.get("required") or meta.get("name")):
            return self._expected(node, describe(hint, meta), "an empty one" if scalar.literal else None)
        return hint(text)

    def _path(self, node: Node, scalar: Scalar) -> Any:
        text = scalar.text
        if text == "~" or text.startswith("~/"):
            return str(self._home / text[2:])
        if not text or text.startswith("~") or _CONTROL.search(text):
            return self._expected(node, "a path: absolute, below ~/, or relative to this file's folder", scalar.shown)
        return os.path.normpath(self._folder / text)

    @contextmanager
    def _entered(self, node: Node) -> Iterator[bool]:
        """Guard against a YAML alias inside of its own anchor."""
        if id(node.yaml) in self._open:
            node.problem("expected a value that does not contain itself")
            yield False
            return
        self._open.add(id(node.yaml))
        try:
            yield True
        finally:
            self._open.remove(id(node.yaml))

    def _expected(self, node: Node, what: str, got: str | None = None) -> _Bad:
        if node.kind is not None:
            variable = node.scalar is not None and not node.scalar.literal and node.scalar.shown
            node.problem(f"expected {what}, got {got or variable or node.kind}")
        return BAD


def _without_bad(values: list[Any], element: Any) -> Any:
    """Return the sections that could be read, so that what names them is not called a mistake too; else all or BAD."""
    kept = tuple(value for value in values if value is not BAD)
    if len(kept) == len(values) or (kept and is_dataclass(element)):
        return kept
    return BAD


def describe(hint: Any, meta: Meta) -> str:
    """Return what a value must be, in words."""
    if get_origin(hint) is tuple:
        items = meta.get("items") or describe(get_args(hint)[0], {})
        return f"{meta['single']} or a list" if "single" in meta else f"a list of {items}"
    if meta.get("size"):
        return "a size such as 4GB, 500MB, 1GiB or a number of bytes"
    if meta.get("duration"):
        return "a number of seconds above 0, or a time such as 90s, 5m, 1h30m"
    if hint is bool:
        return " or ".join(("true", "false", *meta.get("words", ())))
    if hint in (int, float):
        number = "a whole number" if hint is int else "a number"
        return f"{number} above {meta['above']}" if "above" in meta else f"{number} of {meta.get('minimum', 0)} or more"
    if hint is PurePosixPath or meta.get("absolute"):
        return "an absolute path without '..' and line breaks"
    choices = meta.get("choices") or (tuple(hint) if isinstance(hint, type) and issubclass(hint, Enum) else ())
    if choices:
        return " or ".join([", ".join(choices[:-1]), choices[-1]]) if len(choices) > 1 else str(choices[0])
    if "what" in meta:
        return str(meta["what"])
    texts = [member for member in members(hint) if member is str]
    return "text" if texts and len(members(hint)) == 1 else "text or a mapping" if texts else "a mapping"

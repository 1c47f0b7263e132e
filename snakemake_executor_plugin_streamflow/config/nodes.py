"""YAML as a tree that remembers where each value stands, and that collects every mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import yaml

from ..errors import ConfigError, at

_TAG = "tag:yaml.org,2002:"
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<malformed>\{))", re.ASCII)
_MOST_VALUES = 100_000
_PLAIN_KEY = re.compile(r"[\w*?/.-]+")

Pairs = dict[str, tuple[yaml.ScalarNode, yaml.Node]]


class Kind(StrEnum):
    """What a value is, in the words of the messages."""

    MAPPING = "a mapping"
    LIST = "a list"
    TEXT = "text"
    NUMBER = "a number"
    BOOLEAN = "a boolean"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the file, line and column from 1, and the path of the value there."""

    line: int
    column: int
    path: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. `written` is what the file says: the only form that may be shown."""

    kind: Kind
    value: str | int | float | bool | None
    text: str = field(repr=False)
    written: str

    @property
    def shown(self) -> str:
        """Return the value for a message: as written, variables by name, cut to a readable length."""
        text = self.written if len(self.written) <= 60 else self.written[:57] + "..."
        return repr(text)

    @property
    def literal(self) -> bool:
        """Whether the file holds the value itself, without a variable."""
        return _VARIABLE.search(self.written) is None


class Document:
    """One file: its variables, and the mistakes found so far."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self.file = file
        self.environ = environ
        self._problems: dict[tuple[int, int, str], None] = {}
        self._pairs: dict[int, Pairs | None] = {}

    def problem(self, place: Place, message: str) -> None:
        """Note one mistake; the same one is noted once."""
        line = at(self.shown, place.line, place.column, place.path, message)
        self._problems[place.line, place.column, " ".join(line.splitlines())] = None

    @cached_property
    def shown(self) -> Path:
        """The file's name in messages: relative when it is below the present directory."""
        here = Path.cwd()
        return self.file.relative_to(here) if self.file.is_relative_to(here) else self.file

    def raise_problems(self) -> None:
        """Raise a ConfigError with all mistakes in the order of the file, if there are any."""
        if self._problems:
            raise ConfigError([line for _, _, line in sorted(self._problems, key=lambda key: key[:2])]) from None

    def root(self, text: str) -> Node | None:
        """Parse `text`; None when it holds nothing.

        Raises:
            ConfigError: the text is no YAML.
        """
        loader = yaml.SafeLoader("")
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"), "yaml")
            self.problem(place, f"the character U+{_code_point(error.character):04X} is not allowed in YAML")
        except yaml.MarkedYAMLError as error:
            self.problem(_mark_place(error.problem_mark or error.context_mark), _syntax_message(error, text))
        except RecursionError:
            self.problem(Place(1, 1, "yaml"), "nested too deeply")
        except (ValueError, OverflowError):
            # PyYAML turns "\U00110000" into a ValueError of chr().
            self.problem(_mark_place(loader.get_mark()), "not a valid YAML value")
        else:
            # The parser's types say Node, yet an empty stream gives None.
            if isinstance(node, yaml.Node) and _expanded(node, {}) > _MOST_VALUES:
                self.problem(Place(1, 1, "yaml"), f"holds more than {_MOST_VALUES} values, aliases written out")
                self.raise_problems()
            return Node(self, node, "") if isinstance(node, yaml.Node) else None
        self.raise_problems()
        return None

    def pairs(self, node: yaml.MappingNode, path: str) -> Pairs:
        """Return the entries of a mapping: its own, then what `<<` adds."""
        if id(node) in self._pairs:
            known = self._pairs[id(node)]
            if known is None:
                place = _mark_place(node.start_mark, path or "file")
                self.problem(place, "expected a mapping that does not contain itself")
            return known or {}
        self._pairs[id(node)] = None
        found: Pairs = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif not isinstance(key, yaml.ScalarNode):
                self.problem(_mark_place(key.start_mark, path or "file"), "expected a name before the colon")
            elif key.value in found:
                first = found[key.value][0].start_mark.line + 1
                self.problem(_mark_place(key.start_mark, child(path, key.value)), f"given twice, first in line {first}")
            else:
                found[key.value] = key, value
        for source in merged:
            if isinstance(source, yaml.MappingNode):
                for name, pair in self.pairs(source, path).items():
                    found.setdefault(name, pair)
            else:
                self.problem(_mark_place(source.start_mark, child(path, "<<")), "expected a mapping to merge")
        self._pairs[id(node)] = found
        return found


class Node:
    """One value of the file and the path that led to it. Nothing below it is looked at before it is asked for."""

    def __init__(self, document: Document, node: yaml.Node, path: str) -> None:
        self.document = document
        self.yaml = node
        self.path = path
        self.place = _mark_place(node.start_mark, path or "file")

    def problem(self, message: str) -> None:
        """Note a mistake at this value."""
        self.document.problem(self.place, message)

    @cached_property
    def kind(self) -> Kind | None:
        """What the value is; None when it is broken, which has been noted."""
        if not isinstance(self.yaml, yaml.CollectionNode):
            return self.scalar.kind if self.scalar else None
        expected = "map" if isinstance(self.yaml, yaml.MappingNode) else "seq"
        if self.yaml.tag != _TAG + expected:
            self.problem(f"the YAML tag {_tag_name(self.yaml.tag)} has no meaning here")
            return None
        return Kind.MAPPING if expected == "map" else Kind.LIST

    @cached_property
    def scalar(self) -> Scalar | None:
        """The single value with variables replaced; None when it is broken, which has been noted."""
        if not isinstance(self.yaml, yaml.ScalarNode):
            return None
        tag, written = self.yaml.tag.removeprefix(_TAG), self.yaml.value
        if tag not in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value"):
            self.problem(f"the YAML tag {_tag_name(self.yaml.tag)} has no meaning here")
            return None
        text = self._replaced(written)
        if text is None:
            return None
        if text != written:  # quoted too: inside of { } a variable must be in quotes
            resolver = yaml.resolver.Resolver()
            tag = str(resolver.resolve(yaml.ScalarNode, text, (True, False))).removeprefix(_TAG)  # type: ignore[no-untyped-call]
            tag = "str" if tag == "null" else tag
        return _scalar(tag, text, written)

    @cached_property
    def entries(self) -> dict[str, Node]:
        """The values of a mapping by name; empty for anything else."""
        if not isinstance(self.yaml, yaml.MappingNode) or self.kind is None:
            return {}
        pairs = self.document.pairs(self.yaml, self.path)
        return {name: Node(self.document, value, child(self.path, name)) for name, (_, value) in pairs.items()}

    @cached_property
    def items(self) -> list[Node]:
        """The values of a list; empty for anything else."""
        if not isinstance(self.yaml, yaml.SequenceNode) or self.kind is None:
            return []
        return [Node(self.document, value, f"{self.path}[{i}]") for i, value in enumerate(self.yaml.value)]

    def empty(self, name: str) -> Node:
        """Return an empty mapping that stands where an entry is missing."""
        node = yaml.MappingNode(_TAG + "map", [], self.yaml.start_mark, self.yaml.end_mark)
        return Node(self.document, node, child(self.path, name))

    def key_place(self, name: str) -> Place:
        """Return where the name of an entry stands; where the mapping starts when there is no such entry."""
        path = child(self.path, name)
        if isinstance(self.yaml, yaml.MappingNode):
            pair = self.document.pairs(self.yaml, self.path).get(name)
            if pair:
                return _mark_place(pair[0].start_mark, path)
        return Place(self.place.line, self.place.column, path)

    def _replaced(self, written: str) -> str | None:
        """Replace variables; None when one is not set. A value never gets into a message."""
        broken = False

        def value(match: re.Match[str]) -> str:
            nonlocal broken
            name = match["name"]
            if match["malformed"]:
                broken = True
                self.problem("expected ${NAME} for an environment variable, or $${ for the characters ${")
            elif name and name not in self.document.environ:
                broken = True
                self.problem(f"the environment variable {name} is not set")
            return self.document.environ.get(name, "") if name else "$"

        text = _VARIABLE.sub(value, written)
        return None if broken else text


def child(path: str, name: str) -> str:
    """Return the path of an entry."""
    shown = name if _PLAIN_KEY.fullmatch(name) else repr(name)
    return f"{path}.{shown}" if path else shown


def _scalar(tag: str, text: str, written: str) -> Scalar:
    if tag == "null":
        return Scalar(Kind.NOTHING, None, text, written)
    node = yaml.ScalarNode(_TAG + tag, text)
    build = yaml.constructor.SafeConstructor()
    try:
        if tag == "bool":
            return Scalar(Kind.BOOLEAN, bool(build.construct_yaml_bool(node)), text, written)
        # YAML 1.1 reads 22:22 as a number in base 60; in this file it is a pair of ports.
        if tag in ("int", "float") and ":" not in text:
            number = build.construct_yaml_int(node) if tag == "int" else build.construct_yaml_float(node)
            return Scalar(Kind.NUMBER, number, text, written)
    except (ValueError, KeyError, IndexError):
        pass  # `!!int abc`, `0x_`: text, and then not what is expected
    return Scalar(Kind.TEXT, text, text, written)


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for when its aliases are written out; those inside of themselves count 1."""
    if id(node) not in known:
        known[id(node)] = 1
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                merged = key.tag == _TAG + "merge" and isinstance(value, yaml.SequenceNode)
                parts += {id(one): one for one in value.value}.values() if merged else (key, value)
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        known[id(node)] += sum(_expanded(part, known) for part in parts)
    return known[id(node)]


def _mark_place(mark: yaml.Mark | None, path: str = "yaml") -> Place:
    return Place(mark.line + 1, mark.column + 1, path) if mark else Place(1, 1, path)


def _code_point(character: str | bytes | int) -> int:
    return character if isinstance(character, int) else ord(character)


def _tag_name(tag: str) -> str:
    return tag.replace(_TAG, "!!")


def _syntax_message(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark
    if mark and (mark.index < len(text) and text[mark.index] == "\t"):
        return "a tab cannot indent in YAML: use spaces"
    if mark and text[max(mark.index - 1, 0) : mark.index + 1] == "${":
        return 'inside of { } or [ ] a variable must be in quotes: "${NAME}"'
    if error.context in ("while scanning an alias", "while scanning an anchor"):
        return 'a text that begins with * or & must be in quotes: "*"'
    return ": ".join(part for part in (error.context, error.problem) if part) or "not valid YAML"

"""The JSON Schema of companion files, for editors: `python -m snakemake_executor_plugin_streamflow.config.schema`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, is_dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any, get_args, get_origin

from ..model import CONTROLLER, OPTIONS
from .deployments import NAME
from .duration import DURATION
from .foreign import IGNORED_OPTIONS, IGNORED_SECTIONS
from .reader import SIZE, Key, Meta, keys, members
from .sections import (
    WORKFLOW_TYPE,
    BindingSection,
    CompanionSection,
    DeploymentSection,
    StepSection,
    TargetSection,
    WorkflowSection,
)

FILE = Path("docs/streamflow.schema.json")
VARIABLE = r"\$\{"
Schema = dict[str, Any]


def json_schema() -> Schema:
    """Return the schema. What it accepts may still be wrong (names of deployments); what it refuses is."""
    definitions: Schema = {}
    root = _section(CompanionSection, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamflow.yml",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _section(cls: type, definitions: Schema) -> Schema:
    properties, others, required = {}, {}, []
    for key in keys(cls):
        properties[key.name] = _property(key, definitions)
        if key.field.name != key.name:
            others[f"^{key.field.name}$"] = {"$ref": f"#/$defs/{cls.__name__}/properties/{key.name}"}
        if key.meta.get("required"):
            required.append(key.name)
    for name in sorted(IGNORED_OPTIONS.get(cls, ())):
        properties[name] = {"description": f"accepted, not used: {IGNORED_SECTIONS.get(name, 'StreamFlow only')}"}
    if cls is CompanionSection:
        others["^x-"] = {"description": "ignored: a place for YAML anchors"}
    schema: Schema = {
        "type": "object",
        "description": " ".join((cls.__doc__ or "").split()),
        "properties": properties,
        **({"patternProperties": others} if others else {}),
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }
    return _together(cls, schema, definitions)


def _together(cls: type, schema: Schema, definitions: Schema) -> Schema:
    """Add what one key says about another."""
    if cls is DeploymentSection:
        schema["properties"]["type"]["enum"] = sorted(OPTIONS)
        schema["allOf"] = [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"properties": {"config": _reference(options, definitions)}},
            }
            for name, options in sorted(OPTIONS.items())
        ]
    elif cls is WorkflowSection:
        schema["properties"]["type"] = {**schema["properties"]["type"], "enum": [WORKFLOW_TYPE]}
    elif cls is BindingSection:
        schema["anyOf"] = [{"required": ["rule"]}, {"required": ["group"]}]
    elif cls is TargetSection:
        schema["oneOf"] = [{"required": ["deployment"]}, {"required": ["model"]}]
    elif cls is StepSection:
        schema["required"] = ["step", "target"]
    return schema


def _reference(cls: type, definitions: Schema) -> Schema:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # a hop's tunnel is a hop
        definitions[cls.__name__] = _section(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _property(key: Key, definitions: Schema) -> Schema:
    schema = {**_value(key.hint, key.meta, definitions), "description": key.meta["help"]}
    default = key.field.default
    if default is not MISSING and default is not None and default != ():
        schema["default"] = default.value if isinstance(default, Enum) else default
    if key.meta.get("deprecated"):
        schema["deprecated"] = True
    return schema


def _value(hint: Any, meta: Meta, definitions: Schema) -> Schema:
    if hint is Any:
        return {}
    if len(members(hint)) > 1:
        section, other = sorted(members(hint), key=is_dataclass, reverse=True)
        return {"anyOf": [_value(other, meta, definitions), _value(section, {}, definitions)]}
    if isinstance(hint, type) and is_dataclass(hint):
        return _reference(hint, definitions)
    origin = get_origin(hint)
    if origin is tuple:
        return _list(hint, meta, definitions)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(hint, meta, definitions)
    return _scalar(hint, meta)


def _list(hint: Any, meta: Meta, definitions: Schema) -> Schema:
    element = _value(get_args(hint)[0], {key: value for key, value in meta.items() if key != "one"}, definitions)
    schema: Schema = {"type": "array", "items": element}
    if meta.get("required") or meta.get("name"):
        schema["minItems"] = 1
    return {"anyOf": [element, schema]} if meta.get("one") else schema


def _mapping(hint: Any, meta: Meta, definitions: Schema) -> Schema:
    element = get_args(hint)[1]
    schema: Schema = {"type": "object"}
    if element is str:
        schema["additionalProperties"] = {"type": ["string", "number", "boolean", "null"]}
    else:
        schema["additionalProperties"] = _value(element, {}, definitions)
    if element is DeploymentSection:
        schema["propertyNames"] = {"pattern": f"^{NAME.pattern}$", "not": {"const": CONTROLLER}}
    pairs = {"type": "array", "items": {"type": "string", "pattern": "="}}
    return {"anyOf": [schema, pairs]} if meta.get("pairs") else schema


def _scalar(hint: Any, meta: Meta) -> Schema:
    variable = {"type": "string", "pattern": VARIABLE}
    if hint in (int, float):
        number: Schema = {"type": "integer" if hint is int else "number"}
        if meta.get("duration"):
            return {
                "anyOf": [
                    number | {"minimum": 1},
                    {"type": "string", "pattern": rf"^\s*{DURATION.pattern}\s*$|{VARIABLE}"},
                ]
            }
        number |= {"exclusiveMinimum": meta["above"]} if "above" in meta else {"minimum": meta.get("minimum", 0)}
        pattern = rf"^\s*{_any_case(SIZE)}\s*$|{VARIABLE}" if meta.get("size") else VARIABLE
        return {"anyOf": [number, {"type": "string", "pattern": pattern}]}
    if hint is bool:
        words = [{"enum": list(meta["words"])}] if "words" in meta else []
        return {"anyOf": [{"type": "boolean"}, *words, variable]}
    choices = meta.get("choices") or (tuple(hint) if issubclass(hint, Enum) else ())
    if choices:
        return {"anyOf": [{"enum": [str(choice) for choice in choices]}, variable]}
    if hint is PurePosixPath or meta.get("absolute"):
        return {"type": "string", "pattern": rf"^/|{VARIABLE}"}
    if meta.get("name"):
        return {"type": ["string", "number"], "minLength": 1}
    return {"type": ["string", "number"]}


def _any_case(pattern: re.Pattern[str]) -> str:
    """Return a pattern without flags, which JSON Schema does not have."""
    return pattern.pattern.replace("[KMGTP]", "[KMGTPkmgtp]").replace("(i)", "([iI])").replace("B", "[bB]")


def text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_text(text(), encoding="utf-8")

"""The values that a chart gets, put together from all options that give some."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..config.helm_set import Json, content, set_one, set_values, typed
from ..errors import DeployError
from ..model import HelmOptions


def own_values(options: HelmOptions) -> Json:
    """Return what the options themselves say, in Helm's order: it goes on top of the files in `yamlValues`.

    Raises:
        DeployError: one of them is not of its form, or names a file that cannot be read.
    """
    found: Json = copy.deepcopy(dict(options.values))
    try:
        for text in options.set_json:
            set_one(found, text, json.loads)
        set_values(found, options.command_line_values or "", typed)
        set_values(found, options.string_values or "", str)
        set_values(found, options.file_values or "", content)
        for text in options.set_literal:
            set_one(found, text, str)
    except ValueError as error:
        raise DeployError(f"values: {error}") from error
    return found


def all_values(options: HelmOptions) -> Json:
    """Return the options' values on top of those in files.

    Raises:
        DeployError: a file cannot be read, or an option is not of its form.
    """
    found: Json = {}
    for file in options.yaml_values:
        try:
            read = yaml.safe_load(Path(file).read_text("utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DeployError(f"cannot read the values in {file}: {error}") from error
        if not isinstance(read, dict):
            raise DeployError(f"{file} holds no values: expected a mapping")
        found = over(found, read)
    return over(found, own_values(options))


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Json:
    """Return two trees of values as one, as Helm does: mappings are merged, all else is replaced."""
    found = dict(below)
    for key, value in above.items():
        there = found.get(key)
        found[key] = over(there, value) if isinstance(there, Mapping) and isinstance(value, Mapping) else value
    return found

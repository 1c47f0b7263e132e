"""The companion file, `streamflow.yml`, to the values of `model`."""

from typing import Any

from .companion import read_companion
from .find import find_companion
from .needed import check_files
from .rules import binding_for, check_devices, check_rules

__all__ = [
    "binding_for",
    "check_devices",
    "check_files",
    "check_rules",
    "find_companion",
    "json_schema",
    "read_companion",
]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of companion files."""
    from .schema import json_schema as build  # `python -m ...config.schema` must be the first to import it

    return build()

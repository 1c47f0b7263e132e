"""Names and values of Snakemake's job objects that stand for others."""

from __future__ import annotations

from typing import Any


def floats(f: Any) -> bool:
    """Whether a file is one of our storage plugin's, so that its bytes need not be at the controller."""
    return bool(f.is_storage) and hasattr(f.storage_object, "engine_path")


def name_of(f: Any) -> str:
    """The name by which the engine knows a file."""
    return str(f.storage_object.engine_path) if floats(f) else str(f)


def is_tbd(value: Any) -> bool:
    """Whether a resource is Snakemake's "to be determined"."""
    return type(value).__name__ == "TBDString" or value == "<TBD>"

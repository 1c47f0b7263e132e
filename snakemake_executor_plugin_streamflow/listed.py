"""What input functions list or open: what checkpoints make. It is kept here as well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path


class Listed:
    """Their names, as the engine knows them; kept in a file, one JSON string a line. From any thread."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._paths))

    def __bool__(self) -> bool:
        return bool(self._paths)

    def __contains__(self, path: str) -> bool:
        return path in self._paths

    def add(self, path: str) -> None:
        """Note a directory or file."""
        if path not in self._paths:
            self._paths.add(path)
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "a") as file:
                file.write(f"{json.dumps(path)}\n")

    @cached_property
    def _paths(self) -> set[str]:
        try:
            return {json.loads(line) for line in self._file.read_text().splitlines()}
        except FileNotFoundError:
            return set()

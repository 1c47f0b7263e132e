"""What input functions list or open: what checkpoints make. It is kept here as well."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cached_property
from pathlib import Path


class Listed:
    """Their names, as the engine knows them; kept in a file, one JSON string a line. From any thread."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @cached_property
    def paths(self) -> set[str]:
        """All of them."""
        try:
            lines = self._file.read_text().splitlines()
        except FileNotFoundError:
            return set()
        found = set()
        for line in lines:
            with suppress(ValueError):  # the end of a line that was not written whole
                found.add(json.loads(line))
        return found

    def add(self, path: str) -> None:
        """Note a directory or file."""
        if path not in self.paths:
            self.paths.add(path)
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "a") as file:
                file.write(f"{json.dumps(path)}\n")

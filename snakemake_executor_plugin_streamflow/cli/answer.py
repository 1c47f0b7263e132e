"""What a command found or did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """For machines, for people, and as an exit code: 0 when all is well, 1 when something is not."""

    data: dict[str, Any]
    text: str
    code: int = 0

    def json(self) -> str:
        """The data as JSON."""
        import json

        return json.dumps(self.data, indent=2)

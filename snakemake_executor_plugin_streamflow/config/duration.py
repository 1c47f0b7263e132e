"""Times as people write them: 90s, 5m, 1h30m."""

from __future__ import annotations

import math
import re

DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)


def seconds(text: str) -> int | None:
    """Return how many seconds 90s, 5m or 1h30m are; None when it is none of these. A part of a second counts as one."""
    found = DURATION.fullmatch(text.strip())
    if not found or not text.strip():
        return None
    hours, minutes, rest = (float(part or 0) for part in found.groups())
    return math.ceil(hours * 3600 + minutes * 60 + rest)

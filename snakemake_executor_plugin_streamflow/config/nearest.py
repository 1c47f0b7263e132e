"""The valid name that a user probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that is closest to `name`, whatever its case; None when none is close."""
    by_lower = {candidate.lower(): candidate for candidate in valid}
    found = get_close_matches(name.lower()[:100], by_lower, n=1)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, valid: Iterable[str], otherwise: str = "known") -> str:
    """Return the end of a message: the nearest valid name, or all of them."""
    names = [str(name) for name in valid]
    found = nearest(name, names)
    if found:
        return f"; did you mean {found!r}?"
    return f"; {otherwise}: {', '.join(sorted(names))}" if names else ""

"""Sizes and times as people read them."""

from __future__ import annotations

import time

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def size(bytes: int) -> str:
    """Return a size with three digits or so: `999 B`, `1.25 MB`."""
    if bytes < 1000:
        return f"{bytes} B"
    value = float(bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def counted(number: int, name: str) -> str:
    """Return a number of things: `1 path`, `2 paths`."""
    return f"{number} {name}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: `3.2 s`, `45 s`, `2 min 5 s`, `1 h 2 min`, `4 d 3 h`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    left = round(seconds)
    at = next(number for number, (_, unit_s) in enumerate(_UNITS) if left >= unit_s)
    parts = [f"{left // _UNITS[at][1]} {_UNITS[at][0]}"]
    for name, unit_s in _UNITS[at + 1 : at + 2]:
        parts += [f"{rest} {name}"] if (rest := left % _UNITS[at][1] // unit_s) else []
    return " ".join(parts)


def moment(when: float) -> str:
    """Return a time, given in seconds since 1970, as local date and time of day; "" for 0."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) if when else ""


def ago(when: float, now: float) -> str:
    """Return how long ago a time was."""
    return f"{duration(now - when)} ago"

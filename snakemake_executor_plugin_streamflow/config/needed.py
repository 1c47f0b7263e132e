"""Files of this machine without which a run cannot begin."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

from ..model import Companion
from .rules import applies


def check_files(companion: Companion, rules: Collection[str], groups: Collection[str]) -> list[str]:
    """Return an error, `file:line:column: path: text`, for each file that cannot be read and will have to be.

    Those of deployments that no binding of this workflow leads to are not looked at.
    """
    targets = (t for b in companion.bindings if applies(b, rules, groups) for t in b.targets)
    used = _with_inner(companion, (target.deployment for target in targets))
    wanted = (one for one in companion.files if one.deployment in used)
    return [f"{one.where}: expected a file that can be read, {why}" for one in wanted if (why := _unreadable(one.path))]


def _with_inner(companion: Companion, names: Iterable[str]) -> set[str]:
    """The deployments of these names and all that they go through."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        inner = companion.deployments[name].wraps
        if inner is not None:
            waiting.append(inner.deployment)
    return found


def _unreadable(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"got {path}: {error.strerror}"
    if stat.S_ISDIR(mode):
        return f"got the directory {path}"
    return None if os.access(path, os.R_OK) else f"got {path}: permission denied"

"""Which deployment may go through which, and what is wrong with a `wraps`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model.queue_options import QUEUE_OPTIONS

MAY_WRAP: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("apptainer", "singularity"), ("docker", "docker-compose", "local", "slurm", "ssh")),
    "docker": ("local", "ssh"),
    "docker-compose": ("local", "ssh"),
    **dict.fromkeys(("kubernetes", "kubernetes-job"), ("local", "ssh")),
    "podman": ("local", "ssh"),
    **dict.fromkeys(QUEUE_OPTIONS, ("docker", "docker-compose", "local", "ssh")),
}
"""type -> types that it can go through. A type that is not here cannot wrap."""


def refusal(outer: str, inner: str) -> str | None:
    """Return why a deployment of type `outer` cannot go through one of type `inner`; None when it can."""
    if inner in MAY_WRAP.get(outer, ()):
        return None
    able = " or ".join(sorted(name for name, inners in MAY_WRAP.items() if inner in inners))
    if outer in MAY_WRAP:
        return f"{outer} cannot wrap {inner}; it can wrap {' or '.join(MAY_WRAP[outer])}"
    return (
        f"{outer} cannot wrap another deployment; {able} can wrap {inner}" if able else f"{outer} cannot wrap {inner}"
    )


def not_held(type: str, options: Any, service: str | None) -> str | None:
    """Return why nothing can go through a queue of this type: only a held node can be entered. None when it can."""
    services = getattr(options, "services", {})
    chosen = [services[service]] if service in services else list(services.values())
    if type not in QUEUE_OPTIONS or (chosen and all(getattr(one, "pack", None) for one in chosen)):
        return None
    return f"expected a service of {type} with `pack`: a container is entered on a node that is held"


def cycle(start: str, wraps: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the names from `start` back to `start`, or None when following `{outer: inner}` does not return to it."""
    chain = [start]
    while (following := wraps.get(chain[-1])) is not None:
        if following == start:
            return (*chain, start)
        if following in chain:
            return None
        chain.append(following)
    return None

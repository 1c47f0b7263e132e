"""How many replicas of a service there may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .machine import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """As many replicas as the waiting jobs can use."""

    min: int = option("at least so many; they are there from the start", 1, minimum=1)
    max: int = option("at most so many", required=True, minimum=1)
    idle: int = option("seconds without a job after which a replica above `min` is removed", 60, minimum=1)


def least(number: int | Bounds) -> int:
    """Return how many replicas there are at the start."""
    return number if isinstance(number, int) else number.min


def bounds_of(options: Any) -> Mapping[str, Bounds]:
    """Return the services whose replicas follow the queue; "" is that of a type whose deployments have one service."""
    given = {"": getattr(options, "replicas", None), **getattr(options, "scale", {})}
    return {service: number for service, number in given.items() if isinstance(number, Bounds)}

"""How one of several free locations is chosen: one pure function per policy.

Each returns the rank of an offer; the offer with the smallest rank is taken.

    cost_s: time to bring the missing inputs there
    load: fraction in use, 0 to 1
    name: name of the location
    target: index of the target in the binding
    seed: a number that depends on the task alone
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

from ..model import Policy

Rank = Callable[[float, float, str, int, int], tuple[Any, ...]]


def locality(cost_s: float, load: float, name: str, target: int, seed: int) -> tuple[Any, ...]:
    """Prefer the location that is cheapest to feed, then the least loaded."""
    return cost_s, load, name


def spread(cost_s: float, load: float, name: str, target: int, seed: int) -> tuple[Any, ...]:
    """Prefer the least loaded location."""
    return load, cost_s, name


def pack(cost_s: float, load: float, name: str, target: int, seed: int) -> tuple[Any, ...]:
    """Prefer the most loaded location."""
    return -load, cost_s, name


def random(cost_s: float, load: float, name: str, target: int, seed: int) -> tuple[Any, ...]:
    """Prefer any location, the same one each time the same task is asked for."""
    mixed = ((crc32(name.encode()) ^ seed) * 0x9E3779B1) & 0xFFFFFFFF
    return (mixed ^ (mixed >> 15)) * 0x85EBCA6B & 0xFFFFFFFF, name


def order(cost_s: float, load: float, name: str, target: int, seed: int) -> tuple[Any, ...]:
    """Prefer the first target; in it, the location that is cheapest to feed."""
    return target, cost_s, load, name


RANKS: dict[Policy, Rank] = {
    Policy.LOCALITY: locality,
    Policy.SPREAD: spread,
    Policy.PACK: pack,
    Policy.RANDOM: random,
    Policy.ORDER: order,
}

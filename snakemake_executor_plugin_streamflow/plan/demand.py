"""Which deployments a run needs no more. Pure: what is up and what remains to be done in, names out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Up:
    """A deployment that is up.

    Attributes:
        wraps: the deployment that it goes through.
        stays: it is never taken down before the end: nothing was made for it, or it is not ours.
    """

    wraps: str | None = None
    stays: bool = False


def unneeded(up: Mapping[str, Up], used: Iterable[str], holders: Iterable[Collection[str]] = ()) -> list[str]:
    """Return what can be taken down, each before what it goes through.

    Args:
        used: deployments that jobs run in or may still go to.
        holders: for each thing that is needed and vanishes with those that hold it, the deployments that do: of
            each set one stays.
    """
    needed: set[str] = set()

    def need(name: str | None) -> None:
        while name is not None and name not in needed:
            needed.add(name)
            name = up[name].wraps if name in up else None

    for name in (*used, *(name for name, one in up.items() if one.stays)):
        need(name)
    for held_by in holders:
        if held_by and needed.isdisjoint(held_by):
            need(min(held_by))

    def depth(name: str | None) -> int:
        count = 0
        while name is not None and name in up and count <= len(up):
            name, count = up[name].wraps, count + 1
        return count

    return sorted(up.keys() - needed, key=lambda name: (-depth(name), name))

"""Whether a request can ever be met, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

from ..errors import CapacityError
from ..model import Limits, Request
from .queue import Wanted, belongs
from .site import SLACK, Site


def check_capacity(wanted: Wanted, sites: Sequence[Site], limits: Mapping[str, Limits]) -> None:
    """Raise when every target is known and none of them can ever do it.

    Raises:
        CapacityError: see `Placement.check`.
    """
    if not wanted.targets:
        raise CapacityError(f"{wanted.name} has no target to run on")
    candidates: dict[Site, None] = {}
    for target in wanted.targets:
        own = [site for site in sites if belongs(site, target)]
        if not own:
            return
        candidates.update({site: None for site in own if site.filesystem not in wanted.avoid})
    if not candidates:
        raise CapacityError(f"{wanted.name} cannot run on {', '.join(sorted(wanted.avoid))}, and there is no other")
    defined = {name for site in candidates for name in site.capacity.custom}
    custom = {name: amount for name, amount in wanted.request.custom.items() if amount > 0 and name in defined}
    request = Request(wanted.request.cores, wanted.request.memory_b, wanted.request.disk_b, custom)
    usable = [site for site in candidates if site.capacity.holds(request) and (site.jobs is None or site.jobs >= 1)]
    if not usable:
        raise CapacityError(f"{wanted.name} {_too_large(request, tuple(candidates))}")

    problems: list[str] = []
    for target in wanted.targets:
        hosts = {site.location.host for site in usable if belongs(site, target)}
        where = target.deployment + (f"/{target.service}" if target.service else "")
        if len(hosts) < target.locations:
            problems.append(
                f"{target.locations} locations of {where} at once, but only {len(hosts)} distinct hosts fit"
            )
            continue
        cap = _over_limit(request, target.locations, limits.get(target.deployment, Limits()))
        if cap is None:
            return
        problems.append(f"{cap} of deployment {target.deployment}")
    raise CapacityError(f"{wanted.name} asks for " + "; or ".join(problems))


def _over_limit(request: Request, locations: int, limits: Limits) -> str | None:
    if limits.jobs is not None and limits.jobs < 1:
        return f"1 job, more than the limit of {limits.jobs}"
    if limits.cores is not None and request.cores * locations > limits.cores + SLACK:
        return f"{request.cores * locations:g} cores, more than the limit of {limits.cores:g}"
    if limits.memory_b is not None and request.memory_b * locations > limits.memory_b:
        return f"{_size(request.memory_b * locations)} of memory, more than the limit of {_size(limits.memory_b)}"
    return None


def _too_large(request: Request, candidates: Sequence[Site]) -> str:
    """Say which resource is short; when it is none alone but their combination, say what each candidate has."""
    axes: list[tuple[str, float, Callable[[Site], float], Callable[[float], str]]] = [
        ("cores", request.cores, lambda site: _known(site.capacity.cores), lambda value: f"{value:g}"),
        ("memory", request.memory_b, lambda site: _known(site.capacity.memory_b), _size),
        ("disk", request.disk_b, lambda site: _known(site.capacity.disk_b), _size),
        ("jobs at once", 1, lambda site: _known(site.jobs), lambda value: f"{value:g}"),
    ]
    axes += [
        (name, amount, lambda site, name=name: site.capacity.custom.get(name, 0), lambda value: f"{value:g}")  # type: ignore[misc]
        for name, amount in sorted(request.custom.items())
    ]
    short = []
    for name, asked, of, show in axes:
        largest = min(candidates, key=lambda site: (-of(site), site.name))
        if of(largest) + SLACK < asked:
            short.append(f"{name}: {show(asked)}, but the largest candidate, {largest.name}, has {show(of(largest))}")
    if short:
        return (
            f"asks for more than any location of its targets has: {'; '.join(short)}. Lower what its rule asks for, or "
            "say what the deployment has"
        )
    asked_for = [(name, asked, of, show) for name, asked, of, show in axes if asked > 0 and name != "jobs at once"]
    wish = ", ".join(f"{name} {show(asked)}" for name, asked, _, show in asked_for)
    largest = min(candidates, key=lambda site: (-sum(of(site) + SLACK >= asked for _, asked, of, _ in axes), site.name))
    has = ", ".join(f"{name} {show(of(largest))}" for name, _, of, show in asked_for)
    return f"asks for {wish} at one location; none has all of it. The nearest candidate, {largest.name}, has {has}"


def _known(value: float | None) -> float:
    return inf if value is None else value


def _size(size_b: float) -> str:
    if size_b == inf:
        return "unknown"
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size_b >= factor:
            return f"{size_b / factor:.3g} {unit}"
    return f"{size_b:.0f} B"

"""What is in use of one location and of one deployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from ..model import Limits, Location, Request

SLACK = 1e-9
"""Cores are fractions; sums of them may be off by this much."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What jobs may use of one location; None is unknown, and then unlimited. `custom` names all it has so."""

    cores: float | None = None
    memory_b: int | None = None
    disk_b: int | None = None
    custom: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, location: Location) -> Capacity:
        """Return what the location says of itself."""
        return cls(location.cores, location.memory_b, location.disk_b, location.custom)

    def holds(self, request: Request) -> bool:
        """Tell whether the request fits when nothing else runs; every custom resource counts."""
        return (
            (self.cores is None or request.cores <= self.cores + SLACK)
            and (self.memory_b is None or request.memory_b <= self.memory_b)
            and (self.disk_b is None or request.disk_b <= self.disk_b)
            and all(self.custom.get(name, 0) >= amount for name, amount in request.custom.items())
        )


@dataclass(frozen=True, slots=True)
class Run:
    """One allocation at one location."""

    request: Request
    start: float


class Site:
    """The state of one location."""

    def __init__(self, location: Location, capacity: Capacity, jobs: int | None) -> None:
        self.location = location
        self.name = location.name
        self.filesystem = location.filesystem
        self.aside = False
        self.gone = False
        self.claims: set[int] = set()  # numbers of the tasks that wait for it
        self.mean_s: float | None = None
        self._samples = 0
        self.running: dict[str, Run] = {}
        self.capacity = capacity
        self.jobs = jobs
        self._reset()

    def resize(self, capacity: Capacity, jobs: int | None) -> None:
        """Change the capacity; what runs goes on, even when it is more than fits now."""
        self.capacity, self.jobs = capacity, jobs
        self._reset()
        for run in self.running.values():
            self._use(run.request, 1)

    def fits(self, request: Request, times: int = 1) -> bool:
        """Tell whether the request fits `times` times beside what runs."""
        return (
            self.free_jobs >= times
            and self.free_cores + SLACK >= request.cores * times
            and self.free_memory >= request.memory_b * times
            and self.free_disk >= request.disk_b * times
            and (
                not request.custom
                or all(self.free_custom.get(name, 0) >= amount * times for name, amount in request.custom.items())
            )
        )

    def allocate(self, task: str, request: Request, now: float) -> None:
        """Take the request; the caller has made sure that it fits."""
        self.running[task] = Run(request, now)
        self._use(request, 1)

    def free(self, task: str, seconds: float | None) -> None:
        """Give back what the task had, and learn from how long it took."""
        run = self.running.pop(task)
        if self.running:
            self._use(run.request, -1)
        else:
            self._reset()
        if seconds is not None:
            self._samples += 1
            before = seconds if self.mean_s is None else self.mean_s
            self.mean_s = before + max(1 / self._samples, 0.1) * (seconds - before)

    def wait_s(self, request: Request, now: float, behind: int) -> float | None:
        """Estimate when the request fits here if `behind` others like it come first; None when nothing is known.

        A job that has run for longer than the mean is expected to take as long again as it is late.
        """
        mean = self.mean_s
        if mean is None or not self.running or not self.capacity.holds(request):
            return None
        if len(self.running) == 1 and not behind:
            (run,) = self.running.values()
            return abs(mean - (now - run.start))
        empty = Site(self.location, self.capacity, self.jobs)
        at_once = 1
        while at_once <= behind and empty.fits(request, at_once + 1):
            at_once += 1
        rounds, rank = divmod(behind, at_once)
        ends = sorted((abs(mean - (now - run.start)), task) for task, run in self.running.items())
        left = Site(self.location, self.capacity, self.jobs)
        for task, run in self.running.items():
            left.allocate(task, run.request, run.start)
        wait = 0.0
        for end, task in ends:
            if left.fits(request, rank + 1):
                break
            left.free(task, None)
            wait = end
        return wait + rounds * mean if left.fits(request, rank + 1) else None

    def _reset(self) -> None:
        """Count as if nothing ran; exact, where many additions of fractions are not."""
        capacity = self.capacity
        self.free_jobs: float = inf if self.jobs is None else self.jobs
        self.free_cores: float = inf if capacity.cores is None else capacity.cores
        self.free_memory: float = inf if capacity.memory_b is None else capacity.memory_b
        self.free_disk: float = inf if capacity.disk_b is None else capacity.disk_b
        self.free_custom = dict(capacity.custom)
        self.load = 0.0

    def _use(self, request: Request, sign: int) -> None:
        self.free_jobs -= sign
        self.free_cores -= sign * request.cores
        self.free_memory -= sign * request.memory_b
        self.free_disk -= sign * request.disk_b
        for name, amount in request.custom.items():
            self.free_custom[name] = self.free_custom.get(name, 0) - sign * amount
        self.load = self._fraction()

    def _fraction(self) -> float:
        """Return the largest fraction in use; of a location of unknown size, one that grows with what runs there."""
        fractions = [
            1 - free / size
            for free, size in (
                (self.free_cores, self.capacity.cores),
                (self.free_memory, self.capacity.memory_b),
                (self.free_jobs, self.jobs),
            )
            if size
        ]
        if fractions:
            return round(max(fractions), 9)
        return 1 - 1 / (1 + len(self.running))


def fitting(sites: Iterable[Site], request: Request) -> list[Site]:
    """Return the locations that the request fits; `Site.fits` for many at once."""
    cores, memory_b, disk_b, custom = request.cores - SLACK, request.memory_b, request.disk_b, request.custom
    return [
        site
        for site in sites
        if site.free_cores >= cores
        and site.free_jobs >= 1
        and site.free_memory >= memory_b
        and site.free_disk >= disk_b
        and (not custom or site.fits(request))
    ]


class Share:
    """What is in use of one deployment, all its locations together. A task on several locations is one job."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.jobs = 0
        self.cores = 0.0
        self.memory_b = 0
        self.refused = False
        """Somebody was turned away since this was last cleared."""

    def fits(self, request: Request, locations: int) -> bool:
        """Tell whether the caps leave room."""
        limits = self.limits
        return (
            (limits.jobs is None or self.jobs < limits.jobs)
            and (limits.cores is None or self.cores + request.cores * locations <= limits.cores + SLACK)
            and (limits.memory_b is None or self.memory_b + request.memory_b * locations <= limits.memory_b)
        )

    def use(self, request: Request, locations: int, sign: int) -> None:
        """Take (`sign` 1) or give back (-1)."""
        self.jobs += sign
        self.cores = self.cores + sign * request.cores * locations if self.jobs else 0.0
        self.memory_b += sign * request.memory_b * locations

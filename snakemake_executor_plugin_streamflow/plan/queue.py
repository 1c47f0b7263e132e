"""Tasks that wait for a location, by class: those that ask for the same thing."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import inf

from ..model import Policy, Request, Target
from .cost import Costs, held
from .ledger import Ledger
from .site import Site

WINDOW = 32
"""How many tasks of a class are looked at to find one whose data is at a free location."""
PATIENCE = 64
"""How often the first task of a class may be overtaken by others of it."""
HINT_AGE = 64
"""Changes of the ledger after which it is looked up again where the data of a queued task is."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A task to place.

    Attributes:
        request: what it needs of each location.
        inputs: path and bytes of each.
        avoid: filesystems that it must not run on.
        name: for messages.
    """

    id: str
    request: Request
    targets: tuple[Target, ...]
    policy: Policy
    inputs: tuple[tuple[str, int], ...]
    avoid: frozenset[str] = frozenset()
    name: str = "task"


def worth_s(cost_s: float) -> float:
    """Return how long a wait is worth that saves moving data for so many seconds.

    What moves loads links and disks that others share, and room; so it is a little longer than the time alone.
    """
    return cost_s + min(4 * cost_s, 30)


class Entry:
    """One queued task.

    Attributes:
        number: its place in the order of submission.
        passed: how often it was overtaken as the first of its class.
        hoped: it has waited once for a location of which nobody knew how long jobs take there.
        wait: the busy location that it waits for; then `ready_at` says when its inputs should be there,
            `gives_up_at` when to think again, and `waiting_costs` what was known of the costs.
    """

    __slots__ = (
        "_homes",
        "_seen",
        "gives_up_at",
        "hoped",
        "number",
        "passed",
        "ready_at",
        "wait",
        "waiting_costs",
        "wanted",
    )

    def __init__(self, wanted: Wanted, number: int) -> None:
        self.wanted = wanted
        self.number = number
        self.passed = 0
        self.hoped = False
        self.wait: Site | None = None
        self.ready_at = self.gives_up_at = inf
        self.waiting_costs: Costs | None = None
        self._homes: frozenset[str] = frozenset()
        self._seen = -inf

    def homes(self, ledger: Ledger) -> frozenset[str]:
        """Return the filesystems that have most of the inputs; a hint, which may be a few changes old."""
        if ledger.revision - self._seen > HINT_AGE:
            there = held(self.wanted.inputs, ledger)
            most = max(there.values(), default=0)
            self._homes = frozenset(name for name, size_b in there.items() if size_b == most) if most else frozenset()
            self._seen = ledger.revision
        return self._homes

    def stop_waiting(self) -> None:
        """Give up the claim to a busy location, if there is one."""
        if self.wait is not None:
            self.wait.claims.discard(self.number)
            self.wait = self.waiting_costs = None
            self.gives_up_at = inf

    def wait_for(self, site: Site, ready_at: float, gives_up_at: float, costs: Costs) -> None:
        """Claim a busy location."""
        self.stop_waiting()
        site.claims.add(self.number)
        self.wait, self.ready_at, self.gives_up_at, self.waiting_costs = site, ready_at, gives_up_at, costs

    def keeps_waiting(self, fitting: Mapping[Site, int], filesystems: Iterable[str], now: float) -> bool:
        """Tell whether what is free now is no reason to think again."""
        costs = self.waiting_costs
        if costs is None or self.wait in fitting or now >= self.gives_up_at:
            return False
        return worth_s(min(map(costs.at, filesystems), default=inf)) >= self.ready_at - now

    def behind(self, site: Site) -> int:
        """Return how many older tasks wait for the location."""
        return sum(number < self.number for number in site.claims)


class View:
    """The locations that some targets can choose from. It holds until locations come, go or are set aside."""

    def __init__(self, targets: tuple[Target, ...], avoid: frozenset[str], sites: Iterable[Site]) -> None:
        self.by_target: list[list[Site]] = [[] for _ in targets]
        self.first: dict[Site, int] = {}
        self.customs: set[str] = set()
        deployments = {target.deployment for target in targets}
        for site in sites:
            if site.location.deployment not in deployments or site.filesystem in avoid:
                continue
            for index, target in enumerate(targets):
                if belongs(site, target):
                    self.customs.update(site.capacity.custom)
                    if not site.aside:
                        self.by_target[index].append(site)
                        self.first.setdefault(site, index)


def belongs(site: Site, target: Target) -> bool:
    """Tell whether a location is one of a target's."""
    return site.location.deployment == target.deployment and target.service in (None, site.location.service)


Key = tuple[tuple[Target, ...], Policy, float, int, int, tuple[tuple[str, int], ...], frozenset[str]]


def key_of(wanted: Wanted) -> Key:
    """Return what makes two tasks ask for the same thing."""
    request = wanted.request
    custom = tuple(sorted(request.custom.items())) if request.custom else ()
    return wanted.targets, wanted.policy, request.cores, request.memory_b, request.disk_b, custom, wanted.avoid


class Class:
    """The queue of one class, and what the last look at it found."""

    def __init__(self, key: Key, wanted: Wanted) -> None:
        self.key = key
        self.targets = wanted.targets
        self.avoid = wanted.avoid
        self.policy = wanted.policy
        self.many = any(target.locations > 1 for target in wanted.targets)
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.view: View | None = None
        self.request = wanted.request
        self._asked = wanted.request
        self.stuck = False
        """Nothing fitted at the last look: only a location that was freed since can."""
        self.fresh = True
        """There are tasks that were never looked at although something may fit."""
        self.look_at = inf
        """When to look again at tasks that wait for a busy location."""

    def see(self, view: View) -> None:
        """Use another view. Custom resources that no location of it defines are for Snakemake alone."""
        self.view = view
        self.stuck = False
        self.fresh = True
        for entry in self.window():
            entry.stop_waiting()
        asked = self._asked.custom
        custom = {name: amount for name, amount in asked.items() if amount > 0 and name in view.customs}
        self.request = replace(self._asked, custom=custom)

    @property
    def head(self) -> Entry:
        """The oldest task; the queue must not be empty."""
        return next(iter(self.entries.values()))

    def window(self) -> list[Entry]:
        """Return the tasks that may be placed next, oldest first. Only locality looks further than the first."""
        return list(islice(self.entries.values(), WINDOW if self.policy is Policy.LOCALITY else 1))


class Classes:
    """All queued tasks.

    Attributes:
        order: the classes with the numbers of their oldest tasks, by those numbers.
        alert: classes that are not known to be refused by everything.
        least: no queued task asks for less than this.
        wide: the classes whose tasks want several locations.
    """

    def __init__(self) -> None:
        self.order: list[tuple[int, Class]] = []
        self.alert: dict[Class, None] = {}
        self.wide: dict[Class, None] = {}
        self.least = Request(inf, 0)
        self._classes: dict[Key, Class] = {}
        self._number = 0
        self._deleted = 0

    def __iter__(self) -> Iterator[Class]:
        return iter(self._classes.values())

    def append(self, wanted: Wanted) -> Class:
        """Queue a task last, and return its class."""
        key = key_of(wanted)
        group = self._classes.get(key)
        self._number += 1
        if group is None:
            group = self._classes[key] = Class(key, wanted)
            self.order.append((self._number, group))
            if group.many:
                self.wide[group] = None
            self._lower(group)
        group.entries[wanted.id] = Entry(wanted, self._number)
        if len(group.entries) <= WINDOW:
            self.refresh(group)
        return group

    def take(self, group: Class, task: str) -> Entry:
        """Take a task out of its class; a class without tasks is forgotten."""
        number = group.head.number
        entry = group.entries.pop(task)
        if entry.number == number:
            del self.order[bisect_left(self.order, (number,))]
            if group.entries:
                insort(self.order, (group.head.number, group))
            else:
                del self._classes[group.key]
                self.alert.pop(group, None)
                self.wide.pop(group, None)
                self._deleted += 1
                if self._deleted > len(self._classes):
                    self._deleted = 0
                    self.least = Request(inf, 0)
                    for each in self._classes.values():
                        self._lower(each)
        return entry

    def refresh(self, group: Class) -> None:
        """Have a class looked at next time, unless it is known that nothing fits it."""
        if group.entries:
            group.fresh = True
            if not group.stuck:
                self.alert[group] = None

    def looked(self, group: Class, again_at: float) -> None:
        """Note that all that fits a class was handed out, or that its tasks wait until `again_at`."""
        group.stuck = again_at == inf
        group.fresh = False
        group.look_at = again_at
        if group.stuck:
            self.alert.pop(group, None)
        else:
            self.alert[group] = None

    def _lower(self, group: Class) -> None:
        cores, memory_b = group.request.cores, group.request.memory_b
        if self.least.cores == inf:
            self.least = Request(cores, memory_b)
        elif cores < self.least.cores or memory_b < self.least.memory_b:
            self.least = Request(min(cores, self.least.cores), min(memory_b, self.least.memory_b))

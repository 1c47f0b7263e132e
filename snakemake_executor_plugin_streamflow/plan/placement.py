"""Which location a task goes to: events in, decisions out. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from zlib import crc32

from ..model import Limits, Location, Policy, Request, Target
from .bandwidth import Bandwidths
from .capacity import check_capacity
from .cost import Costs, transfer_costs
from .hold import Hold
from .ledger import Ledger
from .policies import RANKS
from .queue import PATIENCE, Class, Classes, Entry, View, Wanted, worth_s
from .scale import asked, filled
from .scan import Choice, Look, Scan, choose
from .site import Capacity, Share, Site
from .wait import Busy, cheapest_busy


@dataclass(frozen=True, slots=True)
class Decision:
    """A task, and the locations that were reserved for it.

    Attributes:
        cost_s: the estimated time to bring the missing inputs to them.
        explanation: one line for people.
        target: the one of the task's targets that the locations belong to.
    """

    id: str
    locations: tuple[Location, ...]
    cost_s: float
    explanation: str
    target: Target


@dataclass(frozen=True, slots=True)
class _Allocation:
    sites: tuple[Site, ...]
    request: Request


class Placement:
    """The scheduler's core.

    Tasks that ask for the same thing form a class; a class is first in, first out, but for locality, where a task whose
    data is at a free location may overtake. Once nothing fits a class, only locations that are freed later are
    looked at for it. A large request is not helped against small ones: it waits until enough is free at once. A task
    that wants several locations is: once it was passed over often, they are kept free for it.

    All methods are idempotent where that makes sense: ids that are not known are ignored.
    """

    def __init__(self, ledger: Ledger, bandwidths: Bandwidths | None = None) -> None:
        self.bandwidths = bandwidths if bandwidths is not None else Bandwidths()
        self._ledger = ledger
        self._sites: dict[str, Site] = {}
        self._shares: dict[str, Share] = {}
        self._views: dict[tuple[tuple[Target, ...], frozenset[str]], View] = {}
        self._classes = Classes()
        self._stale = False
        self._queued: dict[str, Class] = {}
        self._running: dict[str, _Allocation] = {}
        self._freed: dict[Site, None] = {}
        self._hold = Hold()

    # Locations

    def add(self, location: Location, capacity: Capacity | Request | None = None, jobs: int | None = None) -> None:
        """Offer a location, or change the capacity of a known one. Without `capacity`: what the location says."""
        if capacity is None:
            capacity = Capacity.of(location)
        elif isinstance(capacity, Request):
            capacity = Capacity(capacity.cores, capacity.memory_b, capacity.disk_b, capacity.custom)
        site = self._sites.get(location.name)
        if site is not None and site.location == location:
            site.resize(capacity, jobs)
        else:
            self.remove(location.name)
            self._sites[location.name] = Site(location, capacity, jobs)
        self._shares.setdefault(location.deployment, Share())
        self._topology_changed()

    def remove(self, name: str) -> None:
        """Take a location out; what runs there keeps its share of the deployment's caps until it is released."""
        site = self._sites.pop(name, None)
        if site is not None:
            site.gone = True
            self._topology_changed()

    def set_aside(self, name: str) -> None:
        """Place nothing more there until it is restored; what runs there goes on."""
        if name in self._sites:
            self._sites[name].aside = True
            self._topology_changed()

    def restore(self, name: str) -> None:
        """Use a location again that was set aside."""
        if name in self._sites:
            self._sites[name].aside = False
            self._topology_changed()

    def limit(self, deployment: str, limits: Limits) -> None:
        """Cap what is used of all locations of a deployment together."""
        self._shares.setdefault(deployment, Share()).limits = limits
        self._topology_changed()

    def _topology_changed(self) -> None:
        self._views.clear()
        self._stale = True

    # Tasks

    def check(self, wanted: Wanted) -> None:
        """Raise when no known location could ever do it.

        A target of which no location is known yet may turn out to do, so nothing is raised then.

        Raises:
            CapacityError: names the resource, what was asked for, and the largest candidate.
        """
        limits = {name: share.limits for name, share in self._shares.items()}
        check_capacity(wanted, tuple(self._sites.values()), limits)

    def submit(self, wanted: Wanted) -> None:
        """Queue a task.

        Raises:
            ValueError: a task of that id is queued or has an allocation.
        """
        if wanted.id in self._queued or wanted.id in self._running:
            raise ValueError(f"task {wanted.id} was submitted before and is not released")
        group = self._classes.append(wanted)
        if group.view is None:
            group.see(self._view(group))
        self._queued[wanted.id] = group

    def adopt(self, task: str, locations: Sequence[str], request: Request, now: float) -> None:
        """Count a task that runs at locations of one deployment already, whether it fits or not."""
        sites = tuple(site for name in locations if (site := self._sites.get(name)) is not None)
        if sites and task not in self._running:
            for site in sites:
                site.allocate(task, request, now)
            self._shares[sites[0].location.deployment].use(request, len(sites), 1)
            self._running[task] = _Allocation(sites, request)

    def withdraw(self, task: str) -> None:
        """Take a task out of the queue; one that has an allocation keeps it until it is released."""
        group = self._queued.get(task)
        if group is not None:
            self._dequeue(group, task)
            self._classes.refresh(group)

    def release(self, task: str, seconds: float | None = None) -> None:
        """Give back an allocation. `seconds`, how long it was used, helps to estimate waits; None: do not learn."""
        allocation = self._running.pop(task, None)
        if allocation is None:
            return
        for site in allocation.sites:
            site.free(task, seconds)
            if not site.gone:
                self._freed[site] = None
        share = self._shares[allocation.sites[0].location.deployment]
        share.use(allocation.request, len(allocation.sites), -1)
        if share.refused:
            share.refused = False
            deployment = allocation.sites[0].location.deployment
            self._freed.update({site: None for site in self._sites.values() if site.location.deployment == deployment})

    def observe(self, source_filesystem: str, target_filesystem: str, size_b: int, seconds: float) -> None:
        """Learn from one transfer."""
        self.bandwidths.observe(source_filesystem, target_filesystem, size_b, seconds)

    @property
    def queued(self) -> int:
        """How many tasks have no location yet."""
        return len(self._queued)

    @property
    def running(self) -> Collection[str]:
        """The tasks that have an allocation."""
        return tuple(self._running)

    @property
    def loads(self) -> Mapping[str, float]:
        """The fraction of each location that is in use, by name."""
        return {name: site.load for name, site in self._sites.items()}

    def is_idle(self, name: str) -> bool:
        """Tell whether nothing runs at a location."""
        site = self._sites.get(name)
        return site is None or not site.running

    def wanted(self, name: str, most: int) -> int:
        """Return how many more locations like this one the queued tasks would fill; at most `most`."""
        like = self._sites.get(name)
        if like is None:
            return 0
        return filled(asked(self._classes, like, self._shares[like.location.deployment]), like, most)

    def look_again_at(self) -> float | None:
        """Return when `place` should be called even if nothing happens, because a task waits for a busy location."""
        at = min((group.look_at for group in self._classes.alert), default=inf)
        return None if at == inf else at

    # Decisions

    def place(self, now: float) -> list[Decision]:
        """Decide for all tasks that something fits, in the order in which they were submitted where that is possible.

        The same events give the same decisions. Each task is decided once; its locations are reserved from then on.
        """
        if self._stale:
            self._stale = False
            for group in self._classes:
                group.see(self._view(group))
                self._classes.refresh(group)
        for site in self._hold.renew(self._classes.wide, self._shares, now):
            if not site.gone:
                self._freed[site] = None
        look = Look(self._freed, self._classes.least)
        self._freed = {}
        decisions: list[Decision] = []
        for scan in self._due(look, now):
            scan.refresh(self._shares, look, self._hold.against(scan.group))
            decision = self._next(scan, now)
            if decision is None:
                look.end(scan)
            else:
                decisions.append(decision)
                look.took(self._running[decision.id].sites)
        return decisions

    def _due(self, look: Look, now: float) -> Iterator[Scan]:
        """Give the classes to be looked at, each again and again until its scan has ended, by the age of their heads.

        As long as freed locations have room, that may be any class; then only those that nothing is known to refuse.
        """
        position = number = 0
        order = self._classes.order
        while look.open and position < len(order):
            number, group = order[position]
            if group in look.scans or self._is_due(group, look, now):
                scan = look.scan(group)
                yield scan
                position += scan.ended
            else:
                position += 1
        rest = [
            (group.head.number, group)
            for group in self._classes.alert
            if group.head.number >= number and group not in look.ended and self._is_due(group, look, now)
        ]
        heapify(rest)
        while rest:
            _, group = heappop(rest)
            scan = look.scan(group)
            yield scan
            if not scan.ended and group.entries:
                heappush(rest, (group.head.number, group))

    def _view(self, group: Class) -> View:
        key = group.targets, group.avoid
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = View(group.targets, group.avoid, self._sites.values())
        return view

    def _is_due(self, group: Class, look: Look, now: float) -> bool:
        if not group.stuck and (group.fresh or now >= group.look_at):
            return True
        assert group.view is not None
        first, request = group.view.first, group.request
        return any(site in first and site.fits(request) for site in look.open)

    def _next(self, scan: Scan, now: float) -> Decision | None:
        """Decide for one task of a class; None when no more of it can be placed now."""
        group = scan.group
        if scan.fitting:
            window = group.window()
            for entry in self._in_turn(scan, window):
                if entry.wanted.id in scan.waits:
                    continue
                if entry.keeps_waiting(scan.fitting, scan.filesystems, now):
                    scan.waits.add(entry.wanted.id)
                    continue
                entry.stop_waiting()
                costs = transfer_costs(entry.wanted.inputs, self._ledger, self.bandwidths)
                seed = crc32(entry.wanted.id.encode())
                choice = choose(scan, costs, RANKS[group.policy], seed, self._shares)
                if choice is None:
                    break
                busy = cheapest_busy(scan, entry, costs, choice, now)
                if busy is None or busy.wait_s + worth_s(busy.cost_s) >= worth_s(choice.cost_s):
                    return self._allocate(group, entry, costs, choice, busy, now)
                # It gives up waiting when the wait, which grows once the job there is late, has cost what it saves.
                saved_s = worth_s(choice.cost_s) - worth_s(busy.cost_s)
                gives_up_at = now + max(saved_s + (-busy.wait_s if busy.guessed else busy.wait_s), 0.01)
                entry.hoped = entry.hoped or busy.guessed
                entry.wait_for(busy.site, now + busy.wait_s + worth_s(busy.cost_s), gives_up_at, costs)
                scan.waits.add(entry.wanted.id)
        again_at = min((entry.gives_up_at for entry in group.window()), default=inf)
        self._classes.looked(group, again_at)
        return None

    def _in_turn(self, scan: Scan, window: list[Entry]) -> list[Entry]:
        """Return the window, tasks whose data is at a free location first unless that was too often at others' cost."""
        if len(window) == 1 or scan.group.many or window[0].passed >= PATIENCE:
            return window
        free = scan.filesystems
        at_home = [entry for entry in window if not free.keys().isdisjoint(entry.homes(self._ledger))]
        if not at_home or at_home[0] is window[0]:
            return window
        chosen = set(map(id, at_home))
        return at_home + [entry for entry in window if id(entry) not in chosen]

    def _allocate(
        self, group: Class, entry: Entry, costs: Costs, choice: Choice, busy: Busy | None, now: float
    ) -> Decision:
        head = group.head
        if head is not entry and head.wait is None:
            head.passed += 1
        task = entry.wanted.id
        self._dequeue(group, task)
        self._hold.took(self._classes.wide, entry, choice.sites)
        for site in choice.sites:
            site.allocate(task, group.request, now)
        share = self._shares[choice.sites[0].location.deployment]
        share.use(group.request, len(choice.sites), 1)
        self._running[task] = _Allocation(choice.sites, group.request)
        return Decision(
            task,
            tuple(site.location for site in choice.sites),
            choice.cost_s,
            _explain(group.policy, costs, choice, busy),
            group.targets[choice.target],
        )

    def _dequeue(self, group: Class, task: str) -> None:
        self._classes.take(group, task).stop_waiting()
        del self._queued[task]


def _explain(policy: Policy, costs: Costs, choice: Choice, busy: Busy | None) -> str:
    """Say in one line what was chosen, what was the alternative, and why it was not waited for another."""
    chosen = ", ".join(site.name for site in choice.sites)
    move_mb = sum(costs.missing_b(name) for name in {site.filesystem for site in choice.sites}) / 1e6
    line = f"{chosen}: {choice.cost_s:.2f} s to bring {move_mb:.1f} MB ({policy})"
    if choice.second is not None:
        line += f"; next {choice.second}: {choice.second_s:.2f} s"
    else:
        line += "; no other is free"
    if policy is not Policy.LOCALITY:
        return line
    if choice.cost_s <= 0:
        return line + "; no wait: the data is there"
    if busy is None:
        return line + "; no wait: no busy location is known to be sooner"
    return line + f"; no wait: {busy.site.name} would need {busy.cost_s:.2f} s after about {busy.wait_s:.2f} s"

"""Replicas that are kept so that nothing is lost with a site, and those that go when a site is full."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from .engine import Engine
from .errors import DataLost, SiteError, Unreachable
from .jobs import Output, Task
from .locate import is_recorded
from .model import CONTROLLER, Binding, is_address
from .plan import copies, evict
from .site import Site

_TRIES = 3
"""How often a copy is tried before somebody is told that it was not made."""
_SPARE = 0.05
"""Share of a limit that is freed beyond what is needed, so that not each job has to free something."""
_ONE: tuple[int, frozenset[str]] = (1, frozenset())
"""What is kept of a file of which nothing was said: one replica, anywhere."""


Later = Callable[[], Collection[str]]
"""Tells what jobs that have not ended will read, and the final targets, by canonical path. Called on the loop."""


class Keeping:
    """Runs on the engine's loop.

    Args:
        sent_b, fetched_b: count the bytes that copies take, by location.
    """

    def __init__(self, engine: Engine, sent_b: Counter[str], fetched_b: Counter[str], later: Later) -> None:
        self._engine, self._later = engine, later
        self._sent_b, self._fetched_b = sent_b, fetched_b
        self._ledger, self._canonical = engine.ledger, engine.files.canonical
        self._needed: Counter[str] = Counter()
        self._sources: set[str] = set()
        """What tasks read besides their inputs: it is brought to a filesystem once in a run, so it stays there."""
        self._coming: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._leaving: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self._kept: dict[str, tuple[int, frozenset[str]]] = {}
        self._told: set[object] = set()

    @contextmanager
    def needing(self, task: Task) -> Iterator[None]:
        """Say that a task waits or runs: what it reads and writes is not given up meanwhile."""
        paths = [self._canonical(path) for path in (*task.inputs, *(output.path for output in task.outputs()))]
        self._needed.update(paths)
        self._sources.update(path for path in map(self._canonical, task.sources) if path not in paths)
        try:
            yield
        finally:
            self._needed.subtract(paths)
            self._needed = +self._needed

    def needed(self, path: str) -> int:
        """How many tasks that wait or run read or write a file; by its canonical path."""
        return self._needed[path]

    # Space

    def leave(self, site: Site, coming: asyncio.Task[None]) -> None:
        """Say that files are on their way home from a site: when they have arrived, it need not keep them."""
        leaving = self._leaving[site.location.filesystem]
        leaving.add(coming)
        coming.add_done_callback(leaving.discard)

    @asynccontextmanager
    async def room(self, site: Site, paths: Iterable[str]) -> AsyncIterator[None]:
        """Make room at a site for files that are brought there within; their use is noted."""
        limit_b, filesystem = self._limit_b(site), site.location.filesystem
        if limit_b is None:
            yield
            return
        coming = [self._canonical(path) for path in paths]
        await self._engine.locator.sizes(coming)
        self._coming[filesystem].update(coming)
        try:
            await self._keep_within(site, limit_b)
            await self._engine.removals.done(filesystem)  # also what others have begun to remove
            yield
        finally:
            self._coming[filesystem].subtract(coming)
        self._engine.journal.used([path for path in coming if self._ledger.get(path, filesystem)], filesystem)

    async def weigh(self, site: Site, task: Task) -> None:
        """Record what a task's directories hold, where that counts: known is the size of their own entries."""
        if self._limit_b(site) is None:
            return
        paths = [self._canonical(output.path) for output in task.outputs()]
        known = [r for path in paths if (r := self._ledger.get(path, site.location.filesystem)) and r.directory]
        if not known:
            return
        places = (self._engine.locator.path_at(site, replica.path) for replica in known)
        try:
            done = await site.shells.ask('for f; do set -- $(du -sk -- "$f" 2>/dev/null); echo $1; done', *places)
        except SiteError as error:
            self._engine.log.debug(f"{site.location.name}: the size of directories is not known: {error}")
            return
        for replica, size in zip(known, done.text.splitlines(), strict=False):
            if size.isdigit() and self._ledger.get(replica.path, replica.filesystem) is replica:
                self._ledger.put(replace(replica, size_b=int(size) * 1024))

    def _limit_b(self, site: Site) -> int | None:
        """The least of the limits of all deployments that name the filesystem."""
        if site.in_place:
            return None
        deployments = self._engine.companion.deployments
        own = deployments[site.location.deployment]
        others = (d for d in deployments.values() if own.filesystem and d.filesystem)
        same = [
            own,
            *(d for d in others if own.filesystem and d.filesystem and d.filesystem.name == own.filesystem.name),
        ]
        return min((d.limit_b for d in same if d.limit_b is not None), default=None)

    def _expected_b(self, filesystem: str) -> int:
        """Bytes on a filesystem when all that is on its way has arrived."""
        coming = [path for path, count in self._coming[filesystem].items() if count > 0]
        missing = (path for path in coming if self._ledger.get(path, filesystem) is None)
        return self._ledger.size_b(filesystem) + sum(map(self._size_b, missing))

    def _size_b(self, path: str) -> int:
        return max((replica.size_b for replica in self._ledger.replicas(path)), default=0)

    async def _keep_within(self, site: Site, limit_b: int) -> None:
        filesystem = site.location.filesystem
        while short_b := self._give_up(site, limit_b):
            if not (leaving := self._leaving[filesystem]):
                break
            await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
        if short_b and filesystem not in self._told:
            self._told.add(filesystem)
            self._engine.log.warning(
                f"{filesystem} needs {short_b / 1e6:.1f} MB more than its limit of {limit_b / 1e6:.1f} MB: "
                "what is there is in use, or is nowhere else. The run goes on."
            )

    def _give_up(self, site: Site, limit_b: int) -> int:
        """Begin to remove what a site has beyond its limit; return the bytes that it still has to keep beyond it."""
        engine, filesystem = self._engine, site.location.filesystem
        over_b = self._expected_b(filesystem) - limit_b
        if over_b <= 0:
            return 0
        engine.flush()
        eviction = evict(
            [r for r in self._ledger.on(filesystem) if self._is_ours(site, r.path)],
            engine.journal.least_used(filesystem),
            over_b,
            spare_b=int(limit_b * _SPARE),
            needed={*self._needed, *self._sources, *(+self._coming[filesystem]), *(+engine.locator.read_now)},
            later=self._later(),
            elsewhere=lambda path: self._elsewhere(path, filesystem),
            least=lambda path: self._kept.get(path, _ONE)[0],
        )
        if eviction.paths:
            engine.log.debug(f"{filesystem}: over its limit of {limit_b} bytes: removing {', '.join(eviction.paths)}")
        for path in eviction.paths:
            # Who wants it there from now on brings it anew, after `Removals.spare`.
            self._ledger.drop(path, filesystem)
            for one in engine.sites:
                if one.location.filesystem == filesystem:
                    one.checked.discard(path)
            engine.removals.remove(path, filesystem)
        return eviction.short_b

    def _is_ours(self, site: Site, path: str) -> bool:
        """Whether a replica lies below the site's working directory, and need not stay there."""
        _, on = self._kept.get(path, _ONE)
        return site.location.filesystem not in on and not self._engine.locator.path_at(site, path).startswith("/")

    def _elsewhere(self, path: str, filesystem: str) -> int:
        """How many other filesystems have a path for certain: it was seen there in this run, and will last."""
        files, others = self._engine.files, [r for r in self._ledger.replicas(path) if r.filesystem != filesystem]
        seen = {s.location.filesystem for s in self._engine.sites if path in s.checked and not s.connector.ephemeral}
        return sum(
            is_recorded(replica, files.home.found(path))
            if replica.filesystem == CONTROLLER
            else replica.filesystem in seen
            for replica in others
        )

    # Replicas

    async def after(self, site: Site, task: Task, binding: Binding) -> None:
        """Make the replicas of a task's outputs that its binding asks for, and bring the site within its limit."""
        if (limit_b := self._limit_b(site)) is not None:
            await self._keep_within(site, limit_b)
        outputs = [output for output in task.outputs() if not is_address(output.path) and not output.log]
        wanted = [output for output in outputs if not (output.home or output.temp or output.passing)]
        if wanted and (binding.keep.replicas > 1 or binding.keep.on):
            await self._keep(site, wanted, binding)

    async def _keep(self, site: Site, outputs: Sequence[Output], binding: Binding) -> None:
        avoid: set[str] = set()
        errors: list[SiteError] = []
        coming_home = {self._canonical(output.path) for output in outputs if output.target}
        paths = [self._canonical(output.path) for output in outputs]
        for attempt in range(_TRIES):
            await asyncio.sleep(2**attempt / 2 if attempt else 0)
            errors = await self._copy_lacking(site, paths, coming_home, binding, avoid)
            if not errors:
                return
            self._engine.log.debug(f"replicas of {', '.join(paths)}: {'; '.join(map(str, errors))}")
        self._engine.log.warning(f"Not all replicas of {', '.join(paths)} could be made: {errors[0]}")

    async def _copy_lacking(
        self, site: Site, paths: Iterable[str], coming_home: Collection[str], binding: Binding, avoid: set[str]
    ) -> list[SiteError]:
        """Make the replicas that are missing; return what went wrong. `avoid` are filesystems that failed before."""
        errors: list[SiteError] = []
        on = await self._filesystems(binding.keep.on, errors)
        lacking: defaultdict[str, list[str]] = defaultdict(list)
        for path in paths:
            if not self._ledger.replicas(path):
                continue  # it was removed, or is made anew
            self._kept[path] = binding.keep.replicas, frozenset(on)
            holders = {*self._lasting(path), *([CONTROLLER] if path in coming_home else [])}
            found = copies(holders, binding.keep.replicas, on, self._candidates(site, path, binding, avoid))
            for filesystem in found.to:
                lacking[filesystem].append(path)
            if found.short and binding not in self._told:
                self._told.add(binding)
                self._engine.log.warning(
                    f"keep: {binding.keep.replicas} for {', '.join((*binding.rules, *binding.groups))}: there are only "
                    f"{binding.keep.replicas - found.short} filesystems that last"
                )
        done = await asyncio.gather(
            *(self._copy(site, filesystem, some) for filesystem, some in lacking.items()), return_exceptions=True
        )
        for filesystem, result in zip(lacking, done, strict=True):
            if isinstance(result, SiteError):
                errors.append(result)
                if not isinstance(result, DataLost):
                    avoid.add(filesystem)
            elif isinstance(result, BaseException):
                raise result
        return errors

    async def _filesystems(self, names: Iterable[str], errors: list[SiteError]) -> list[str]:
        found = []
        for name in names:
            try:
                first = None if name == CONTROLLER else await self._engine.sites.first(name)
                found.append(first.location.filesystem if first is not None else CONTROLLER)
            except SiteError as error:
                errors.append(error)
        return found

    def _lasting(self, path: str) -> Iterator[str]:
        """Filesystems that have a path and do not vanish with the run."""
        vanish = {s.location.filesystem for s in self._engine.sites if s.connector.ephemeral}
        return (r.filesystem for r in self._ledger.replicas(path) if r.filesystem not in vanish)

    def _candidates(self, site: Site, path: str, binding: Binding, avoid: Collection[str]) -> list[str]:
        """Other filesystems: the binding's own, then all that are up, then the controller; of each the nearest first.

        Those that failed, and those that are full, come last.
        """
        size_b, engine = self._size_b(path), self._engine
        sites = [one for one in engine.sites if not (one.in_place or one.connector.ephemeral)]
        own = {target.deployment for target in binding.targets}

        def rank(one: Site) -> tuple[bool, bool, float]:
            filesystem, limit_b = one.location.filesystem, self._limit_b(one)
            full = limit_b is not None and self._expected_b(filesystem) + size_b > limit_b
            link = engine.placement.bandwidths.link(site.location.filesystem, filesystem)
            return filesystem in avoid or full, one.location.deployment not in own, link.seconds(size_b)

        ranked = sorted(sites, key=rank)
        good = [one.location.filesystem for one in ranked if not rank(one)[0]]
        return [*good, CONTROLLER, *(one.location.filesystem for one in ranked)]

    async def _copy(self, source: Site, filesystem: str, paths: Sequence[str]) -> None:
        engine = self._engine
        try:
            if filesystem == CONTROLLER:
                self._fetched_b[source.location.name] += await engine.errands.bring_home(paths)
                return
            target = await engine.sites.on(filesystem)
            if target is None:
                raise Unreachable(f"no location on {filesystem} can be reached")
            async with self.room(target, paths):
                places = {path: engine.locator.path_at(target, path) for path in paths}
                self._sent_b[target.location.name] += await engine.staging.bring(target, places)
        except DataLost:
            if any(self._ledger.replicas(path) for path in paths):
                raise

"""Drives each task of a run through its steps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial

from .accounting import Accounting, Tally
from .config import binding_for
from .earlier import Earlier, attempts_before, nth
from .elastic import Elastic
from .engine import Engine
from .errors import CapacityError, DataLost, DeployError, JobFailed, JobInterrupted, NoSpace, SiteError, Unreachable
from .jobs import LAUNCHER, PROGRAMS, PYTHON, Rest, Task
from .journal import State, TaskRecord
from .keeping import Keeping, Later
from .launching import launching
from .model import Binding, Target, is_address
from .remake import Maker, Remaker
from .remote.job import JobSpec
from .remote.leftovers import end
from .scaling import Scaling
from .site import Site
from .spec import job_spec
from .tailored import opened
from .waiting import UNBOUND, Reconsider, Waiting

_RETRIES = 3
"""How often a task is placed anew after a failure that is not its own."""
_LOSSES = 5
"""How often inputs of a task may be lost before that is its failure."""

Done = Callable[[Task, Exception | None], None]


class Driver:
    """Runs tasks at locations.

    `submit`, `settle`, `discard`, `finish` and `stop` may be called from any thread; `done` is called on the loop,
    once for each task, with the error when it failed. Without `rest`, nothing is taken down before the end.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        done: Done,
        maker: Maker,
        later: Later,
        keep_incomplete: bool,
        rest: Callable[[], Rest] | None = None,
    ) -> None:
        self.tally = Tally()
        self._engine = engine
        self._waiting = Waiting(engine)
        engine.sites.returned = self._waiting.pump
        self._log = engine.log
        self._done = done
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: dict[str, TaskRecord] = {}
        self._earlier = Earlier(engine)
        self._keeping = keeping = Keeping(engine, self.tally.sent_b, self.tally.fetched_b, later)
        remove = engine.errands.remove
        self._remaker = Remaker(engine.files, maker, self._attempts, remove, keeping.needed, engine.log)
        self._accounting = Accounting(engine, self._keeping, self.tally, keep_incomplete=keep_incomplete)
        self._elastic = None if rest is None else Elastic(engine, rest, lambda: bool(self._accounting.homecoming))
        self._rest = rest
        self._scaling = Scaling(engine, self._needed, lambda: bool(self._accounting.homecoming))
        self._stopping = False

    def take_over(self, jobs: Collection[str]) -> dict[str, TaskRecord]:
        """Return what is known of jobs of earlier runs, by the identity that Snakemake was told.

        Those that may still run, or have ended without being accounted for, are left alone; all others are ended.
        """
        return self._engine.wait(self._earlier.take_over(jobs))

    def submit(self, tasks: Sequence[Task], begun: Mapping[str, TaskRecord] | None = None) -> None:
        """Take tasks. `begun` says, by the task's id, what an earlier run has begun of it."""
        self._begun.update(begun or {})
        self._engine.loop.call_soon_threadsafe(self._accept, tasks)

    def settle(self, paths: Sequence[str]) -> None:
        """Note that Snakemake has accepted, and touched, outputs."""
        self._engine.loop.call_soon_threadsafe(self._engine.files.settle, paths)

    def discard(self, paths: Sequence[str]) -> None:
        """Remove files at sites that Snakemake has removed here."""
        engine = self._engine

        async def remove() -> None:
            for path in map(engine.files.canonical, paths):
                await engine.errands.remove(path)

        engine.loop.call_soon_threadsafe(lambda: engine.spawn(remove()))

    def check_nested(self, needs: Mapping[Sequence[Target], Sequence[str]], modules: Collection[str]) -> list[str]:
        """Bring up what tasks that need Snakemake may run on, and return what is wrong there, with the rules' names.

        Args:
            needs: the targets of each binding, and the rules that need Snakemake there.
            modules: what the workflow imports.
        """
        return self._engine.wait(self._check_nested(needs, modules))

    async def _check_nested(
        self, needs: Mapping[Sequence[Target], Sequence[str]], modules: Collection[str]
    ) -> list[str]:
        engine = self._engine
        engine.runtimes.require(modules)
        problems = []
        for targets, rules in needs.items():
            if engine.companion.deployments[targets[0].deployment].tailors:
                continue  # there is nothing to look at yet
            try:
                await engine.sites.open(targets)
                await engine.runtimes.usable(targets, engine.sites)
            except DeployError as error:
                problems.append(f"{error}\nNeeded by {', '.join(rules)}.")
        return problems

    def finish(self) -> None:
        """Wait until all final targets have come home, and all replicas are made."""
        self._engine.wait(self._finish())

    def stop(self) -> None:
        """End all tasks."""
        with suppress(TimeoutError):
            self._engine.wait(self._stop(), 3)

    def binding(self, task: Task) -> Binding:
        """The binding of a task; unbound ones run on the controller."""
        return binding_for(self._engine.companion, task.rule, task.group) or UNBOUND

    def _needed(self) -> frozenset[str] | None:
        """What jobs that are left read, and the final targets; None when that is not known."""
        try:
            rest = self._rest() if self._rest else None
        except RuntimeError:  # jobs are being added
            return None
        return None if rest is None or rest.open_ended else rest.reads

    def _accept(self, tasks: Sequence[Task]) -> None:
        self._scaling.start()
        for task in tasks:
            drive = self._engine.loop.create_task(self._drive(task))
            self._tasks.add(drive)
            drive.add_done_callback(self._tasks.discard)

    async def _drive(self, task: Task) -> None:
        error: Exception | None = None
        try:
            await self._attempts(task)
        except asyncio.CancelledError:
            if self._stopping:
                return  # Snakemake expects no report
            error = SiteError(f"{task.name} was cancelled")
        except Exception as caught:
            error = caught
        self._done(task, error)

    async def _attempts(self, task: Task) -> None:
        using = self._elastic.using(self.binding(task).targets) if self._elastic else nullcontext()
        with self._keeping.needing(task), using:
            await self._repeat(task)

    async def _repeat(self, task: Task) -> None:
        binding = self.binding(task)
        begun = self._begun.pop(task.id, None)
        if begun is not None:
            if await self._go_on(task, binding, begun):
                return
            await self._earlier.give_up(begun)
        known_as = begun.job if begun is not None else task.id
        attempt = lost = 0
        full: dict[str, NoSpace] = {}
        while True:
            number = attempt + lost + len(full)
            one = replace(task, id=nth(task.id, number))
            try:
                with self._recorded(one, known_as):
                    await self._attempt(one, binding, frozenset(full))
                await self._remaker.tidy(task)
                return
            except Reconsider:
                continue
            except JobFailed:
                raise
            except DataLost as error:
                lost += 1
                if lost > _LOSSES:
                    raise
                if any(not self._engine.ledger.replicas(path) for path in error.paths):
                    await self._remaker.remake(error)
            except NoSpace as error:
                site = self._engine.sites.get(error.store)
                if site is None or site.in_place or site.location.filesystem in full:
                    raise
                full[site.location.filesystem] = error
                self._log.warning(f"{task.name}: {error}\nLooking for a location with another filesystem.")
            except CapacityError:
                if not full:
                    raise
                raise list(full.values())[-1] from None
            except SiteError as error:
                if not error.transient or attempt == _RETRIES:
                    raise
                attempt += 1
                self._log.warning(
                    f"{task.name}: {error}\n"
                    f"Trying again ({attempt} of {_RETRIES}); this does not count as a retry of the rule."
                )
                await asyncio.sleep(min(0.5 * 2**attempt, 5))

    @contextmanager
    def _recorded(self, task: Task, job: str) -> Iterator[None]:
        """Keep an attempt, and how it ends, in the journal."""
        journal = self._engine.journal
        outputs = [self._engine.files.canonical(output.path) for output in task.outputs()]
        journal.add_task(task.id, run=self._engine.run, job=job, rule=task.rule, outputs=outputs)
        try:
            yield
        except JobFailed as error:
            journal.change_task(task.id, State.FAILED, detail=f"{error}")
            raise
        except (asyncio.CancelledError, Reconsider):
            journal.change_task(task.id, State.CANCELLED)
            raise
        except Exception as error:
            journal.change_task(task.id, State.LOST, detail=f"{error}")
            raise

    async def _attempt(self, task: Task, binding: Binding, avoid: frozenset[str]) -> None:
        async with opened(self._engine, task, binding) as binding:
            await self._placed(task, binding, avoid)

    async def _placed(self, task: Task, binding: Binding, avoid: frozenset[str]) -> None:
        sites = self._engine.sites
        if task.nested:
            binding = replace(binding, targets=await self._engine.runtimes.usable(binding.targets, sites))
        decision = await self._waiting.place(task, binding, avoid)
        started = time.monotonic()
        try:
            chosen = [sites.get(location.name) for location in decision.locations]
            first = chosen[0]
            if first is None or None in chosen:
                raise Reconsider
            if decision.target.nodes > 1:
                task = replace(task, resources={"nodes": decision.target.nodes, **task.resources})
            try:
                async with self._scaling.holding(decision.target):
                    env = await self._engine.lifecycle.needed(decision.target)
                    await self._at(
                        [site for site in chosen if site is not None], replace(task, env={**task.env, **env})
                    )
                first.strikes = 0
            except (JobFailed, DataLost):
                raise
            except SiteError as error:
                # Its session looks only as long as jobs run: the pod or container may have gone since.
                gone = isinstance(error, Unreachable) and await first.gone()
                if sites.strike(first, error, gone=gone):
                    self._waiting.reconsider()
                raise
        finally:
            self._waiting.release(task.id, time.monotonic() - started)

    async def _stage_in(self, site: Site, task: Task) -> None:
        async with self._keeping.room(site, (*task.inputs, *task.sources)):
            sent = await self._engine.staging.stage_in(site, task.inputs)
        if task.sources:
            sent += await self._engine.runtimes.bring_sources(site, task.sources)
        self.tally.sent_b[site.location.name] += sent

    async def _at(self, sites: Sequence[Site], task: Task) -> None:
        """Stage in, run at the first, account, stage out."""
        site = sites[0]
        if before := attempts_before(task.id):  # given up, they may run still
            with suppress(Unreachable):  # the session is to find out whether the location is gone
                await site.shells.ask(end(before))
        self._engine.journal.change_task(
            task.id, State.STAGING, location=site.location.name, directory=site.directory(task.id)
        )
        for output in task.outputs():
            if is_address(output.path):
                await self._engine.locator.note(output.path)
        try:
            async with asyncio.TaskGroup() as group:
                for one in {each.location.filesystem: each for each in reversed(sites)}.values():
                    group.create_task(self._stage_in(one, task) if one is site else self._beside(one, task))
        except* SiteError as errors:
            raise errors.exceptions[0] from None
        if task.nested:
            runtime = await self._engine.runtimes.ready(site)
            own = {PYTHON: runtime.python, LAUNCHER: runtime.launcher, PROGRAMS: runtime.programs}
            task = replace(task, env={**task.env, **own})
        await self._run(sites, task, self._spec(site, task, [each.location.reach for each in sites]))

    async def _beside(self, site: Site, task: Task) -> None:
        """Stage in at one of a job's other locations."""
        with self._not_the_first(site, task):
            await self._stage_in(site, task)

    @contextmanager
    def _not_the_first(self, site: Site, task: Task) -> Iterator[None]:
        """Blame one of a job's other locations, when it does not answer, and not the one that runs the job."""
        try:
            yield
        except Unreachable as error:
            if self._engine.sites.strike(site, error):
                self._waiting.reconsider()
            raise JobInterrupted(f"{task.name} lost one of its locations, {site.location.name}: {error}") from error

    async def _check_others(self, sites: Sequence[Site], task: Task) -> None:
        """Tell whether a job that has failed may have done so because another location of it was lost.

        Raises:
            JobInterrupted: one does not answer.
        """
        for site in sites[1:]:
            with self._not_the_first(site, task):
                await site.shells.ask("true")

    def _spec(self, site: Site, task: Task, hosts: Sequence[str] = ()) -> JobSpec:
        return job_spec(site, task, hosts, partial(self._engine.locator.path_at, site))

    async def _run(self, sites: Sequence[Site], task: Task, spec: JobSpec) -> None:
        """Run a job, or go on with it, at the first of its sites, and account for it."""
        site = sites[0]
        journal, staging, outputs = self._engine.journal, self._engine.staging, task.outputs()
        await staging.writing(site, outputs)
        try:
            journal.change_task(task.id, State.RUNNING, location=site.location.name, directory=site.directory(task.id))
            journal.flush()
            async with launching(sites, spec, self._log.debug):
                end = await site.run(spec)
            if end.code:
                await self._check_others(sites, task)
        except SiteError:
            await self._accounting.interrupted(site, task)
            raise
        finally:
            staging.written(site, outputs)
        await self._accounting.account(site, task, self.binding(task), end)

    async def _go_on(self, task: Task, binding: Binding, begun: TaskRecord) -> bool:
        """Go on with a job of an earlier run; return False when it has to run anew."""
        if self._earlier.is_done(task, begun):
            self._log.info(f"{task.name} was done by an earlier run.")
            return True
        if not self._earlier.may_run(begun):
            return False
        one, engine = replace(task, id=begun.id), self._engine
        try:
            await engine.sites.open(binding.targets)
            site = engine.sites.get(begun.location)
            if site is None:
                return False
            sites = await self._earlier.sites_of(site, one, binding)
            spec = self._spec(site, one, [each.location.reach for each in sites])
            if not await self._earlier.is_there(site, one, begun, spec):
                return False
            self._log.info(f"{task.name} goes on at {site.location.name}, where an earlier run has started it.")
            with self._recorded(one, begun.job):
                names = [each.location.name for each in sites]
                engine.placement.adopt(one.id, names, task.request, engine.loop.time())
                try:
                    await self._run(sites, one, spec)
                finally:
                    self._waiting.release(one.id)
        except JobFailed as error:
            if len(sites) == 1 and not error.ended:
                raise
            # That run has ended it, perhaps, or what it had started at its other locations went with that run.
            self._log.warning(f"{error}\nIt runs anew: it was started by an earlier run, which has died.")
            return False
        except SiteError as error:
            self._log.warning(f"{task.name}: what an earlier run began at {begun.location} is lost: {error}")
            return False
        return True

    async def _finish(self) -> None:
        self._scaling.stop()
        if self._elastic:
            self._elastic.stop()
        while homecoming := self._accounting.homecoming:
            await asyncio.wait(homecoming)
        await self._engine.removals.settled()
        self._earlier.settled()

    async def _stop(self) -> None:
        self._stopping = True
        self._scaling.stop()
        if self._elastic:
            self._elastic.stop()
        ending = self._tasks | self._accounting.homecoming | self._remaker.making
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=2)

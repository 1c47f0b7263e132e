"""One run: owns the loop, wires the rooms, drives each task through its steps."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from .config import binding_for
from .connect.base import Log
from .connect.lifecycle import Lifecycle
from .errors import DeployError, JobFailed, SiteError, quote_tail
from .jobs import LAUNCHER, PROGRAMS, PYTHON, Task
from .journal import Journal
from .model import CONTROLLER, Binding, Companion, Deployment, LocalOptions, Target
from .move.entry import Item
from .move.mover import Mover
from .move.store import Store
from .plan import Decision, Ledger, Placement, Wanted
from .remote.job import JobSpec
from .runtime import Runtimes
from .site import Site
from .sites import Sites
from .staging import Staging

_RETRIES = 3
"""How often a task is placed anew after a failure that is not its own."""
_HERE = "controller"
_THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "VECLIB", "NUMEXPR")

Done = Callable[[Task, Exception | None], None]


class _Reconsider(Exception):
    """Locations have changed: place the task anew; this is not an attempt."""


@dataclass(slots=True)
class Tally:
    """What is told at the end of a run."""

    jobs: Counter[str] = field(default_factory=Counter)
    sent_b: Counter[str] = field(default_factory=Counter)
    fetched_b: Counter[str] = field(default_factory=Counter)


class Engine:
    """Runs tasks at locations, on a loop in a thread of its own.

    `submit` and `settle` may be called from any thread; `done` is called on the loop, once for each task.

    Args:
        here: the workflow's working directory.
        done: told of the end of each task, with the error when it failed.
    """

    def __init__(
        self,
        companion: Companion,
        here: Path,
        *,
        log: Log,
        done: Done,
        keep_incomplete: bool,
        keep_deployments: bool,
        transfer_limit: int,
    ) -> None:
        self.run = secrets.token_hex(4)
        self.tally = Tally()
        self._here = here
        self._log = log
        self._done = done
        self._keep_incomplete, self._keep_deployments = keep_incomplete, keep_deployments
        in_place = Deployment(_HERE, "local", LocalOptions())
        self._companion = replace(companion, deployments={**companion.deployments, _HERE: in_place})
        self._unbound = Binding(("*",), ("*",), (Target(_HERE),))
        self._lifecycle = Lifecycle(self._companion, self.run, log)
        self._ledger = Ledger()
        self._placement = Placement(self._ledger)
        self._mover = Mover(self._transfer, self._observe, transfer_limit)
        self._staging = Staging(here, self._ledger, self._mover)
        self._runtimes = Runtimes(self._mover, self._staging, log)
        self._sites = Sites(
            self._companion,
            self._lifecycle,
            self._placement,
            self._ledger,
            here=PurePosixPath(here),
            key=hashlib.sha1(f"{os.uname().nodename}:{here}".encode(), usedforsecurity=False).hexdigest()[:12],
            limit=transfer_limit,
            spawn=self._spawn,
            log=log,
        )
        self._placed: dict[str, asyncio.Future[Decision]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._transfers: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="streamflow", daemon=True)
        self._journal: Journal | None = None

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread.start()

    def submit(self, tasks: Sequence[Task]) -> None:
        """Take tasks."""
        self._loop.call_soon_threadsafe(self._accept, tasks)

    def settle(self, paths: Sequence[str]) -> None:
        """Note that Snakemake has accepted, and touched, outputs."""
        self._loop.call_soon_threadsafe(self._staging.settle, paths)

    def check_nested(self, needs: Mapping[Sequence[Target], Sequence[str]], modules: Collection[str]) -> list[str]:
        """Bring up what tasks that need Snakemake may run on, and return what is wrong there, with the rules' names.

        Args:
            needs: the targets of each binding, and the rules that need Snakemake there.
            modules: what the workflow imports.
        """
        return asyncio.run_coroutine_threadsafe(self._check_nested(needs, modules), self._loop).result()

    async def _check_nested(
        self, needs: Mapping[Sequence[Target], Sequence[str]], modules: Collection[str]
    ) -> list[str]:
        self._runtimes.require(modules)
        problems = []
        for targets, rules in needs.items():
            try:
                await self._sites.open(targets)
                await self._runtimes.usable(targets, self._sites)
            except DeployError as error:
                problems.append(f"{error}\nNeeded by {', '.join(rules)}.")
        return problems

    def stop(self, timeout_s: float) -> list[str]:
        """End all tasks and take everything down; return what is left, with the command that removes it."""
        if not self._thread.is_alive():
            return []
        future = asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop)
        try:
            problems = future.result(timeout_s)
        except TimeoutError:
            names = ", ".join(self._lifecycle.connectors())
            problems = [
                f"taking down {names} took more than {timeout_s:.0f} s; what this run made is labelled {self.run}"
            ]
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)
        return problems

    def binding(self, task: Task) -> Binding:
        """The binding of a task; unbound ones run on the controller."""
        return binding_for(self._companion, task.rule, task.group) or self._unbound

    # The loop's thread

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._journal = Journal(self._here / ".snakemake" / "streamflow" / "journal.db", self._log.warning)
        for known in self._journal.replicas():
            self._ledger.put(known)
        self._ledger.changes()
        self._journal.start_run(self.run, time.time())
        for seen in self._journal.bandwidths():
            self._placement.observe(seen.source, seen.target, seen.size_b, seen.seconds)
        self._loop.call_later(1, self._write_journal)
        for deployment in self._companion.deployments.values():
            if not deployment.lazy:
                self._spawn(self._sites.eager(Target(deployment.name)))
        try:
            self._loop.run_forever()
        finally:
            self._flush()
            self._journal.close()

    def _write_journal(self) -> None:
        self._flush()
        self._loop.call_later(1, self._write_journal)

    def _flush(self) -> None:
        if self._journal is not None and (changes := self._ledger.changes()):
            self._journal.apply(changes)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        return self._own(self._background, work)

    def _transfer(self, work: Coroutine[Any, Any, None]) -> object:
        return self._own(self._transfers, work)

    def _own(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(partial(self._ended, tasks))
        return task

    def _ended(self, tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.warning(f"internal error: {type(error).__name__}: {error}")

    def _accept(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            drive = self._loop.create_task(self._drive(task))
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
        try:
            self._done(task, error)
        except Exception as failed:  # a report that fails must be seen
            self._log.warning(f"{task.name}: its end could not be reported: {type(failed).__name__}: {failed}")
            raise

    async def _attempts(self, task: Task) -> None:
        binding = self.binding(task)
        attempt = 0
        while True:
            one = replace(task, id=f"{task.id}.{attempt}") if attempt else task
            try:
                await self._attempt(one, binding)
                return
            except _Reconsider:
                continue
            except JobFailed:
                raise
            except SiteError as error:
                if not error.transient or attempt == _RETRIES:
                    raise
                attempt += 1
                self._log.warning(
                    f"{task.name}: {error}\n"
                    f"Trying again ({attempt} of {_RETRIES}); this does not count as a retry of the rule."
                )
                await asyncio.sleep(min(0.5 * 2**attempt, 5))

    async def _attempt(self, task: Task, binding: Binding) -> None:
        await self._sites.open(binding.targets)
        if task.nested:
            binding = replace(binding, targets=await self._runtimes.usable(binding.targets, self._sites))
        decision = await self._place(task, binding)
        started = time.monotonic()
        try:
            sites = [self._sites.get(location.name) for location in decision.locations]
            first = sites[0]
            if first is None or None in sites:
                raise _Reconsider
            try:
                for site in sites[1:]:
                    if site is not None:
                        await self._stage_in(site, task)
                await self._at(first, task, [location.host for location in decision.locations])
                first.strikes = 0
            except JobFailed:
                raise
            except SiteError as error:
                if self._sites.strike(first, error):
                    self._reconsider()
                raise
        finally:
            self._placement.release(task.id, time.monotonic() - started)
            self._pump()

    def _reconsider(self) -> None:
        """A location has gone: who waits for one may have to bring up others."""
        for future in self._placed.values():
            if not future.done():
                future.set_exception(_Reconsider())

    async def _stage_in(self, site: Site, task: Task) -> None:
        sent = await self._staging.stage_in(site, task.inputs, self._sites)
        if task.sources:
            sent += await self._runtimes.bring_sources(site, task.sources, self._sites)
        self.tally.sent_b[site.location.name] += sent

    async def _at(self, site: Site, task: Task, hosts: Sequence[str]) -> None:
        """Stage in, run, account, stage out."""
        outputs = task.outputs()
        await self._stage_in(site, task)
        if task.nested:
            runtime = await self._runtimes.ready(site)
            own = {PYTHON: runtime.python, LAUNCHER: runtime.launcher, PROGRAMS: runtime.programs}
            task = replace(task, env={**task.env, **own})
        await self._staging.writing(site, outputs)
        try:
            end = await site.run(self._spec(site, task, hosts))
        finally:
            self._staging.written(site, outputs)
        self.tally.jobs[site.location.name] += 1
        if end.outputs is not None:  # found under the names used there: give them back the names used here
            end = replace(
                end, outputs=tuple(replace(f, path=o.path) for f, o in zip(end.outputs, outputs, strict=False))
            )
        missing = [
            f.path
            for f, o in zip(end.outputs or (), outputs, strict=False)
            if f.kind == "missing" and not (o.touch or o.log)
        ]
        failed = end.code != 0
        if failed:
            with suppress(SiteError):  # the job's own failure is the news
                await site.insist(
                    lambda: self._staging.stage_out(
                        site, task.id, outputs, end, failed=True, keep=self._keep_incomplete
                    ),
                )
            raise await self._failure(site, task, end.code, end.reason)
        moved = await site.insist(lambda: self._staging.stage_out(site, task.id, outputs, end, failed=False, keep=True))
        self.tally.fetched_b[site.location.name] += moved
        if missing and end.outputs:
            where = f"{site.location.name}:{site.directory(task.id)}"
            raise JobFailed(
                f"{task.name} ended well at {site.location.name}, but did not make: {', '.join(missing)}",
                code=0,
                stderr=await site.stderr(task.id),
                directory=where,
            )
        site.session.forget(task.id)

    def _spec(self, site: Site, task: Task, hosts: Sequence[str]) -> JobSpec:
        def path_of(path: str) -> str:
            return self._staging.path_at(site, path)

        env = dict(task.env)
        if len(hosts) > 1:
            env["STREAMFLOW_HOSTS"] = ",".join(hosts)
        env |= getattr(site.connector.options, "env", {})
        commands = []
        for member in task.members:
            tmpdir = member.tmpdir or site.facts.tmpdir
            command = member.render(path_of, tmpdir)
            if command is None:
                continue
            own = {
                f"{name}_NUM_THREADS" if name != "VECLIB" else "VECLIB_MAXIMUM_THREADS": str(member.threads)
                for name in _THREADS
            }
            own |= {name: tmpdir for name in ("TMPDIR", "TMP", "TEMPDIR", "TEMP")}
            commands.append(replace(command, env=own))
            touched = [path_of(o.path) for o in member.outputs if o.touch]
            if touched and len(task.members) > 1:
                from .remote.quote import words

                commands.append(replace(command, text=f"touch -- {words(touched)}", env={}))
        outputs = task.outputs()
        places = [path_of(o.path) for o in outputs]
        parents = sorted({str(PurePosixPath(place).parent) for place in places} - {"."})
        keep = frozenset(place for place, o in zip(places, outputs, strict=True) if o.update)
        return JobSpec(task.id, site.facts.workdir, commands, places, keep, parents, env, task.resources)

    async def _failure(self, site: Site, task: Task, code: int, reason: str) -> JobFailed:
        stderr = await site.stderr(task.id)
        where = f"{site.location.name}:{site.directory(task.id)}"
        how = f"was killed by signal {code - 128}" if code > 128 else f"ended with code {code}"
        message = f"{task.name} {how} at {site.location.name}{f': {reason}' if reason else ''}."
        if stderr.strip():
            message += f" Last lines of its stderr:\n{quote_tail(stderr)}"
        return JobFailed(f"{message}\nThe whole of it: {where}", code=code, stderr=stderr, directory=where)

    # Placement

    async def _place(self, task: Task, binding: Binding) -> Decision:
        request = task.request
        if binding is self._unbound:  # as the local executor: more threads than cores are not refused
            site = next(s for s in self._sites if s.location.deployment == _HERE)
            request = replace(
                request, cores=min(request.cores, site.location.cores or request.cores), memory_b=0, disk_b=0
            )
        inputs: tuple[tuple[str, int], ...] = ()
        if binding is not self._unbound:
            inputs = await self._staging.sizes(task.inputs)
        wanted = Wanted(task.id, request, binding.targets, binding.policy, inputs)
        self._placement.check(wanted)
        future = self._placed[task.id] = self._loop.create_future()
        self._placement.submit(wanted)
        self._pump()
        try:
            decision: Decision = await future
            return decision
        except BaseException:
            self._placement.withdraw(task.id)
            raise
        finally:
            self._placed.pop(task.id, None)

    def _pump(self) -> None:
        for decision in self._placement.place(self._loop.time()):
            self._log.debug(f"{decision.id}: {decision.explanation}")
            future = self._placed.get(decision.id)
            if future is None or future.done():
                self._placement.release(decision.id)
            else:
                future.set_result(decision)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (at := self._placement.look_again_at()) is not None:
            self._timer = self._loop.call_at(max(at, self._loop.time() + 0.01), self._pump)

    def _observe(self, source: Store, target: Store, items: Sequence[Item], seconds: float) -> None:
        size = sum(item.size_b for item in items)
        self._placement.observe(self._filesystem(source), self._filesystem(target), size, seconds)
        self._log.debug(f"{source.name} -> {target.name}: {len(items)} items, {size / 1e6:.3f} MB in {seconds:.3f} s")
        if self._journal is not None and size >= 1 << 20:
            self._journal.record_transfer(
                self._filesystem(source), self._filesystem(target), items[0].target, size, seconds, "stream"
            )

    def _filesystem(self, store: Store) -> str:
        site = self._sites.get(store.name)
        return site.location.filesystem if site is not None else CONTROLLER

    async def _shut_down(self) -> list[str]:
        self._stopping = True
        for group in (self._tasks, self._transfers):
            ending = [*group]
            for task in ending:
                task.cancel()
            if ending:
                await asyncio.wait(ending, timeout=2)
        problems = await self._sites.close()
        for background in [*self._background]:
            background.cancel()
        return problems + await self._lifecycle.down(keep=self._keep_deployments)

"""What one Snakemake process knows and holds of its sites: a loop in a thread, connections, files, the journal."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # its exit handler must be older than ours: connectors close with its threads
import os
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from .connect.base import Log
from .connect.lifecycle import Lifecycle
from .errands import Errands
from .files import Files, incomplete
from .journal import Journal
from .journal.identity import workflow_key
from .locate import Locator
from .model import CONTROLLER, Companion, Deployment, LocalOptions, Target
from .move.entry import Item
from .move.mover import Mover
from .move.store import Store
from .plan import Ledger, Placement
from .removals import Removals
from .runtime import Runtimes
from .sites import Sites
from .staging import Staging

HERE = "controller"
"""Name of the deployment that runs jobs in the workflow's own directory."""
_FLUSH_S = 1.0
_CLOSE_S = 9.0

T = TypeVar("T")
_engines: dict[tuple[int, Path, Path], Engine] = {}
_lock = threading.Lock()


def engine_of(here: Path, companion: Path, make: Callable[[], Engine]) -> Engine:
    """Return the engine of this process for a working directory; the executor and the storage plugin share it.

    A process may run a workflow more than once: what a run has taken down answers its last questions, and serves no
    other.
    """
    key = (os.getpid(), here, companion.resolve())
    with _lock:
        found = _engines.get(key)
        if found is None or found.down:
            if found is not None:
                found.stop()
            found = _engines[key] = make()
            found.launch()
            # `atexit` proper comes after the end of the thread pools, which closing some connections needs.
            getattr(threading, "_register_atexit", atexit.register)(found.stop)
    return found


class Engine:
    """The rooms, wired; they live on the loop of a thread.

    Args:
        here: the workflow's working directory.
        transfer_limit: large transfers at once to or from a location.
    """

    def __init__(self, companion: Companion, here: Path, *, log: Log, transfer_limit: int = 4) -> None:
        self.run = secrets.token_hex(4)
        in_place = Deployment(HERE, "local", LocalOptions())
        self.companion = replace(companion, deployments={**companion.deployments, HERE: in_place})
        self.here = here
        self.log = log
        self.down = self.stopped = False
        self._left: set[str] = set()
        self.loop = asyncio.new_event_loop()
        self.ledger = Ledger()
        self.placement = Placement(self.ledger)
        self.lifecycle = Lifecycle(self.companion, self.run, log, self._record)
        self.files = Files(here, self.ledger)
        self._background: set[asyncio.Task[None]] = set()
        self._transfers: set[asyncio.Task[None]] = set()
        self.mover = Mover(partial(self._own, self._transfers), self._observe, transfer_limit, log.debug)
        self.sites = Sites(
            self.companion,
            self.lifecycle,
            self.placement,
            self.ledger,
            here=PurePosixPath(here),
            key=workflow_key(here, keep=True),
            limit=transfer_limit,
            spawn=self.spawn,
            log=log,
        )
        self.locator = Locator(self.files, self.mover, self.sites)
        self.removals = Removals(self.locator, self.sites, self.spawn, log)
        self.staging = Staging(self.files, self.locator, self.mover, self.removals)
        self.errands = Errands(self.files, self.locator, self.mover, self.sites, self.removals)
        self.runtimes = Runtimes(self.mover, self.staging, log)
        self.sites.left = self.runtimes.forget
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="streamflow", daemon=True)

    # From any thread

    def launch(self) -> None:
        """Start the loop's thread and read the journal."""
        self.files.doubtful = {self.files.canonical(path) for path in incomplete(self.here)}
        self._thread.start()
        self._ready.wait()

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def wait(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine on the loop and return its result."""
        future = self.start(work)
        try:
            return future.result(timeout_s)
        finally:
            future.cancel()

    def take_down(self, *, keep: bool = False, timeout_s: float = _CLOSE_S) -> list[str]:
        """Close all connections and take down what was brought up; return what is left, with what removes it, once."""
        self.down = True
        if not self._thread.is_alive():
            return []
        try:
            left = self.wait(self._take_down(keep), timeout_s)
        except TimeoutError:
            names = ", ".join(self.lifecycle.connectors())
            left = [f"taking down {names} took more than {timeout_s:.0f} s; what this run made is labelled {self.run}"]
        new = [problem for problem in left if problem not in self._left]
        self._left.update(new)
        return new

    def stop(self) -> None:
        """Take everything down and end the thread. Idempotent."""
        if self.stopped or not self._thread.is_alive():
            return
        self.stopped = True
        with suppress(TimeoutError):
            self.wait(self.removals.settled(), _CLOSE_S)
        for problem in self.take_down():
            self.log.warning(f"Left behind: {problem}")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(2)

    # On the loop

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that ends with the run; its failure is told."""
        return self._own(self._background, work)

    @property
    def transferring(self) -> bool:
        """Whether files are on their way."""
        return bool(self._transfers)

    def flush(self) -> None:
        """Write to the journal what it does not have yet."""
        self.journal.apply(self.ledger.changes())

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.journal = Journal(self.here / ".snakemake" / "streamflow" / "journal.db", self.log.warning)
            for known in self.journal.replicas():
                self.ledger.put(known)
            self.ledger.changes()
            for seen in self.journal.bandwidths():
                self.placement.observe(seen.source, seen.target, seen.size_b, seen.seconds)
        finally:
            self._ready.set()
        self.journal.start_run(self.run, time.time())
        self.loop.call_later(_FLUSH_S, self._tick)
        try:
            self.loop.run_forever()
        finally:
            self.flush()
            self.journal.end_run(self.run, time.time())
            self.journal.close()

    def _tick(self) -> None:
        self.flush()
        self.loop.call_later(_FLUSH_S, self._tick)

    def bring_up_eager(self) -> None:
        """Bring up the deployments that are not `lazy`."""
        for deployment in self.companion.deployments.values():
            if not deployment.lazy:
                self.spawn(self.sites.eager(Target(deployment.name)))

    def _record(self, deployment: Deployment, handle: str | None) -> None:
        if handle is None:
            self.journal.remove_deployment(deployment.name, self.run)
        else:
            self.journal.add_deployment(deployment.name, self.run, deployment.type, handle)

    def _own(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(partial(self._ended, tasks))
        return task

    def _ended(self, tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.warning(f"internal error: {type(error).__name__}: {error}")

    def _observe(self, source: Store, target: Store, items: Sequence[Item], seconds: float, route: str) -> None:
        size = sum(item.size_b for item in items)
        origin, end = self._filesystem(source), self._filesystem(target)
        self.placement.observe(origin, end, size, seconds)
        self.log.debug(
            f"{source.name} -> {target.name}: {len(items)} items, {size / 1e6:.3f} MB in {seconds:.3f} s ({route})"
        )
        if size >= 1 << 20:
            self.journal.record_transfer(origin, end, items[0].target, size, seconds, route)

    def _filesystem(self, store: Store) -> str:
        site = self.sites.get(store.name)
        return site.location.filesystem if site is not None else CONTROLLER

    async def _take_down(self, keep: bool) -> list[str]:
        ending = [*self._transfers]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=2)
        await self.runtimes.close(self.sites)
        problems = await self.sites.close()
        for background in [*self._background]:
            background.cancel()
        problems += await self.lifecycle.down(keep=keep)
        self.flush()
        return problems

"""The sites of a companion file, for all storage objects of a process: one loop in one thread, opened on first use."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # its exit handler must be older than ours: connectors close with its threads
import contextlib
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Coroutine
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_storage_plugins.io import WILDCARD_REGEX, get_constant_prefix

from snakemake_executor_plugin_streamflow.config import find_companion, read_companion
from snakemake_executor_plugin_streamflow.connect.base import Log
from snakemake_executor_plugin_streamflow.connect.lifecycle import Lifecycle
from snakemake_executor_plugin_streamflow.errors import ConfigError, StreamFlowError, TransferError
from snakemake_executor_plugin_streamflow.model import Companion
from snakemake_executor_plugin_streamflow.move.here import Here
from snakemake_executor_plugin_streamflow.move.mover import Mover
from snakemake_executor_plugin_streamflow.site import Site

from .address import Address, parse
from .known import known
from .place import Look, Place, insist

__all__ = ["Look", "Reach", "reach"]

_PAUSE_S = 30.0
"""How long a deployment that could not be brought up is not tried again."""
_CLOSE_S = 9.0
_LIMIT = 4

T = TypeVar("T")
_open: dict[tuple[int, str | None, str], Reach] = {}
_lock = threading.Lock()


def reach(file: str | None, log: Log) -> Reach:
    """Return the way to the sites of a companion file, the same one for all who ask in this process.

    Raises:
        WorkflowError: there is no such file, or it has mistakes.
    """
    key = (os.getpid(), file, os.getcwd())
    with _lock:
        found = _open.get(key)
        if found is None:
            found = _open[key] = Reach(_companion(file), Path.cwd(), log)
    return found


def _companion(file: str | None) -> Companion:
    here = Path.cwd()
    try:
        return read_companion(find_companion(file, here / "workflow" / "Snakefile", here), os.environ)
    except ConfigError as error:
        hint = "" if file else "\nFor files at sites it can be named with --storage-streamflow-file."
        raise WorkflowError(f"{error}{hint}") from None


class Reach:
    """Looks at, moves and removes files at the first locations of deployments.

    The coroutines run on the loop of this object: hand them to `start` or `wait`.
    """

    def __init__(self, companion: Companion, here: Path, log: Log) -> None:
        self._companion, self._here, self._log = companion, here, log
        self._lifecycle = Lifecycle(companion, secrets.token_hex(4), log)
        self._store = Here("controller", here)
        self._mover = Mover(self._spawn, lambda *_: None, _LIMIT)
        self._places: dict[str, asyncio.Task[Place]] = {}
        self._failed_at: dict[str, float] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="streamflow-storage", daemon=True)
        self._thread.start()
        # `atexit` proper comes after the end of the thread pools, which closing some connections needs.
        getattr(threading, "_register_atexit", atexit.register)(self.close)

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine of this object. Its errors are WorkflowErrors."""
        return asyncio.run_coroutine_threadsafe(self._plain(work), self._loop)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of this object and return its result. Its errors are WorkflowErrors."""
        future = self.start(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Close all connections and take down what was brought up. Idempotent."""
        with _lock:
            for key in [key for key, one in _open.items() if one is self]:
                del _open[key]
        if not self._thread.is_alive():
            return
        future = asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop)
        try:
            for problem in future.result(_CLOSE_S):
                self._log.warning(f"Left behind: {problem}")
        except TimeoutError:
            self._log.warning(f"closing {', '.join(self._places)} took more than {_CLOSE_S:.0f} s")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)

    async def look(self, address: Address, *, must: bool = False) -> Look:
        """Look at a file or directory.

        Args:
            must: it is an error when it is not there.
        """
        look = await (await self._place(address)).look(address.path)
        if must and not look.exists:
            raise TransferError(f"{address}: there is no such file")
        return look

    async def footprint(self, address: Address) -> int:
        """Bytes of a file, or of all files in a directory."""
        look = await self.look(address, must=True)
        if look.kind != "directory":
            return look.size_b
        place = await self._place(address)
        return sum(item.size_b for item in await place.site.store.list({address.path: address.path}))

    async def retrieve(self, address: Address, target: Path) -> None:
        """Copy a file or directory here; it appears when it is complete, with its modification time."""
        place = await self._place(address)
        look = await self.look(address, must=True)

        async def copy() -> None:
            items = await place.site.store.list({address.path: str(target)})
            await self._mover.move(place.site.store, self._store, items)

        await insist(copy)
        stamp = target / ".snakemake_timestamp"
        for path in (stamp, target) if look.kind == "directory" else (target,):
            with contextlib.suppress(OSError):  # at sites, times of lists are whole seconds
                os.utime(path, ns=(look.mtime_ns, look.mtime_ns))

    async def store(self, source: Path, address: Address) -> None:
        """Copy a file or directory to its site, with its modification time; it replaces what was there."""
        place = await self._place(address)
        await insist(lambda: place.receive(self._store, str(source), address.path, self._mover))

    async def remove(self, address: Address) -> None:
        """Remove a file or directory; what is missing is no error."""
        await (await self._place(address)).remove(address.path)

    async def touch(self, address: Address) -> None:
        """Give a file or directory the present time."""
        await (await self._place(address)).touch(address.path)

    async def candidates(self, query: str) -> list[str]:
        """List all that lies below the part of a query that has no wildcards."""
        address = parse(query)
        if WILDCARD_REGEX.search(address.deployment):
            raise WorkflowError(f"{query}: glob_wildcards() needs the name of the deployment, not a wildcard")
        top = get_constant_prefix(address.path, strip_incomplete_parts=True).rstrip("/") or "/"
        paths = await (await self._place(address)).below(top)
        return [str(Address(address.deployment, path)) for path in paths]

    async def _place(self, address: Address) -> Place:
        name = address.deployment
        known(self._companion, address)
        task = self._places.get(name)
        if task is not None and task.done() and (task.cancelled() or task.exception() is not None):
            recent = time.monotonic() - self._failed_at.get(name, -_PAUSE_S) < _PAUSE_S
            if task.cancelled() or not recent:
                task = None
        if task is None:
            task = self._places[name] = asyncio.create_task(self._bring_up(name))
        return await asyncio.shield(task)

    async def _bring_up(self, name: str) -> Place:
        try:
            connector = await self._lifecycle.up(name)
            locations = await connector.locations(None)
            if not locations:
                raise TransferError(f"deployment {name} has no location")
            site = await Site.open(
                connector,
                locations[0],
                here=PurePosixPath(self._here),
                key=hashlib.sha1(f"{os.uname().nodename}:{self._here}".encode(), usedforsecurity=False).hexdigest()[
                    :12
                ],
                limit=_LIMIT,
                log=self._log.warning,
            )
        except StreamFlowError:
            self._failed_at[name] = time.monotonic()
            raise
        return Place(site)

    async def _plain(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except StreamFlowError as error:
            raise WorkflowError(str(error)) from None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _shut_down(self) -> list[str]:
        busy = [*self._background, *(task for task in self._places.values() if not task.done())]
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        up = [task.result() for task in self._places.values() if not task.cancelled() and not task.exception()]
        self._places.clear()
        await asyncio.gather(*(place.site.close() for place in up), return_exceptions=True)
        return await self._lifecycle.down()

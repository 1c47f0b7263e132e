"""Copies items from store to store: small ones together, large ones at once beside each other, each thing once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from itertools import islice
from typing import Any

from ..errors import SiteError, TransferError
from .entry import Entry, Item
from .here import Here
from .routes import COPY, RELAY, Carried, Routes
from .store import Contents, Store

LARGE_B = 8 << 20
"""From here an item travels alone."""
_GATHER_S = 0.01
"""How long a large item waits for others who want it too."""
_BATCH_ITEMS = 1000
_BATCH_B = 64 << 20

Observe = Callable[[Store, Store, Sequence[Item], float, str], None]
Digests = Sequence[str]
"""Of the files of one item, in order; empty when nobody made them."""


class Mover:
    """Moves bytes for one run.

    Args:
        spawn: starts a task that the run owns.
        observe: told of every copy: source, target, items, seconds and the name of the route.
        limit: large copies at once for each pair of stores.
        log: for one line about each direct route.
    """

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        observe: Observe,
        limit: int = 4,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._spawn = spawn
        self._observe = observe
        self._limit = limit
        self._routes = Routes(log)
        self._lanes: dict[tuple[int, int], _Lane] = {}
        self._flying: dict[tuple[int, int, Item], asyncio.Future[Digests]] = {}
        self._fans: dict[tuple[int, Item], list[tuple[_Lane, asyncio.Future[Digests]]]] = {}

    async def move(self, source: Store, target: Store, items: Sequence[Item]) -> list[Digests]:
        """Copy items; return the digests of each when all are complete under their final names.

        Who asks for something that is on its way to the same place already waits for that copy.

        Raises:
            Differs, TransferError, Unreachable: of the first item that failed; the others may have arrived.
        """
        waits = []
        for item in items:
            key = (id(source), id(target), item)
            future = self._flying.get(key)
            if future is None:
                future = self._flying[key] = asyncio.get_running_loop().create_future()
                future.add_done_callback(partial(self._landed, key))
                lane = self._lanes.get(key[:2])
                if lane is None:
                    lane = self._lanes[key[:2]] = _Lane(self, source, target)
                lane.add(item, future)
            waits.append(asyncio.shield(future))
        arrived = []
        for result in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            arrived.append(result)
        return arrived

    async def _carry(self, source: Store, items: Sequence[Item], target: Store) -> Carried:
        """Copy items by the best route."""
        if (carried := await self._routes.carry(source, items, target)) is not None:
            return carried
        digests = await copy(source, items, target)
        return Carried(COPY if isinstance(source, Here) and isinstance(target, Here) else RELAY, digests)

    def _landed(self, key: tuple[int, int, Item], done: asyncio.Future[Digests]) -> None:
        self._flying.pop(key, None)
        if not done.cancelled():
            done.exception()  # somebody may have stopped waiting for it


class _Lane:
    """What waits to go from one store to another: one batch of small items at a time, large ones beside it."""

    def __init__(self, mover: Mover, source: Store, target: Store) -> None:
        self._mover, self._source, self._target = mover, source, target
        self._small: list[tuple[Item, asyncio.Future[Digests]]] = []
        self._large = asyncio.Semaphore(mover._limit)
        self._busy = False

    def add(self, item: Item, future: asyncio.Future[Digests]) -> None:
        if item.size_b >= LARGE_B:
            fan = self._mover._fans.setdefault((id(self._source), item), [])
            fan.append((self, future))
            if len(fan) == 1:
                self._mover._spawn(self._alone(item, fan))
        else:
            self._small.append((item, future))
            if not self._busy:
                self._busy = True
                self._mover._spawn(self._drain())

    async def _alone(self, item: Item, fan: list[tuple[_Lane, asyncio.Future[Digests]]]) -> None:
        """Copy one large item; to all stores that ask for it before it starts, reading it once."""
        await asyncio.sleep(_GATHER_S)
        async with self._large:
            del self._mover._fans[id(self._source), item]
            routes = self._mover._routes
            alone = [way for way in fan if routes.promising(self._source, way[0]._target, [item])]
            through = [way for way in fan if way not in alone]
            if len(through) == 1:
                alone, through = fan, []
            copies = [lane._copy([(item, future)]) for lane, future in alone]
            await asyncio.gather(*copies, *([self._fan_out(item, through)] if through else []))

    async def _fan_out(self, item: Item, fan: list[tuple[_Lane, asyncio.Future[Digests]]]) -> None:
        started = time.monotonic()
        targets = [lane._target for lane, _ in fan]
        try:
            digests, errors = await fan_out(self._source, [item], targets)
        except asyncio.CancelledError:
            for _, future in fan:
                future.cancel()
            raise
        except Exception as error:
            digests, errors = [], [TransferError(f"{item.source}: {type(error).__name__}: {error}")] * len(fan)
        for (lane, future), wrong in zip(fan, errors, strict=True):
            if wrong is None:
                self._mover._observe(self._source, lane._target, [item], time.monotonic() - started, RELAY)
            if not future.done():
                future.set_exception(wrong) if wrong is not None else future.set_result(digests)

    async def _drain(self) -> None:
        try:
            while self._small:
                size, count = 0, 0
                for item, _ in self._small[:_BATCH_ITEMS]:
                    if count and size + item.size_b > _BATCH_B:
                        break
                    size, count = size + item.size_b, count + 1
                batch, self._small = self._small[:count], self._small[count:]
                await self._copy(batch)
        finally:
            self._busy = False

    async def _copy(self, batch: list[tuple[Item, asyncio.Future[Digests]]]) -> None:
        started = time.monotonic()
        items = [item for item, _ in batch]
        try:
            carried = await self._mover._carry(self._source, items, self._target)
        except SiteError as error:
            if len(batch) > 1 and isinstance(error, TransferError):
                for one in batch:  # one bad item must not fail the others
                    await self._copy([one])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # a bug must not look like the end of the run
            for _, future in batch:
                if not future.done():
                    future.set_exception(TransferError(f"{self._target.name}: {type(error).__name__}: {error}"))
        else:
            self._mover._observe(self._source, self._target, items, time.monotonic() - started, carried.route)
            digests = iter(carried.digests)
            for item, future in batch:
                own = list(islice(digests, len(item.files())))
                if not future.done():
                    future.set_result(own)


async def copy(source: Store, items: Sequence[Item], target: Store) -> Sequence[str]:
    """Copy items from one store to another; return the digests of all their files, none when nobody made them.

    Bytes between two locations pass through memory, never a disk, here.

    Raises:
        Differs, TransferError, Unreachable: nothing is left under a final name that is not complete.
    """
    if isinstance(source, Here) and isinstance(target, Here):
        if sum(item.size_b for item in items) < 65536 and len(items) < 8:
            target.copy(items, source)
        else:
            await asyncio.to_thread(target.copy, items, source)
        return ()
    contents = source.stream(items)
    try:
        await target.receive(items, contents)
    finally:
        await contents.aclose()
    return contents.digests


async def fan_out(
    source: Store, items: Sequence[Item], targets: Sequence[Store]
) -> tuple[Sequence[str], list[SiteError | None]]:
    """Copy items to several stores, reading the source once; the slowest target sets the pace.

    Return the digests of all their files and, for each target, what went wrong there.
    """
    queues: list[asyncio.Queue[tuple[Entry, bytes] | BaseException | None]] = [asyncio.Queue(4) for _ in targets]
    gone: set[int] = set()
    contents = source.stream(items)

    async def pieces(number: int) -> AsyncIterator[tuple[Entry, bytes]]:
        while (piece := await queues[number].get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    async def write(number: int, store: Store) -> SiteError | None:
        try:
            await store.receive(items, Contents(pieces(number), contents.digests))
        except SiteError as error:
            return error
        finally:
            gone.add(number)
            while not queues[number].empty():
                queues[number].get_nowait()
        return None

    async def read() -> None:
        end: BaseException | None = None
        try:
            async for piece in contents:
                for number, queue in enumerate(queues):
                    if number not in gone:
                        await queue.put(piece)
        except SiteError as error:
            end = error
        for number, queue in enumerate(queues):
            if number not in gone:
                await queue.put(end)

    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(write(number, store)) for number, store in enumerate(targets)]
        group.create_task(read())
    return contents.digests, [writer.result() for writer in writers]

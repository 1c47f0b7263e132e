"""What is done with the workflow's files beside staging: brought home, fetched, stored, touched, removed."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from .errors import DataLost, SiteError, TransferError
from .files import Files, State
from .locate import Locator, Side
from .model import CONTROLLER
from .move.listing import STAMP
from .move.mover import Mover
from .removals import Removals
from .sites import Sites

_TRIES = 3
_GATHER_S = 0.005
"""How long a file that is fetched waits for others."""

Wanted = tuple[Path, asyncio.Future[None]]
"""Where a file is to appear, and what tells that it has."""


class Errands:
    """Runs on the engine's loop. Paths are canonical, and no addresses."""

    def __init__(self, files: Files, locator: Locator, mover: Mover, sites: Sites, removals: Removals) -> None:
        self._files, self._locator, self._mover = files, locator, mover
        self._sites, self._removals = sites, removals
        self._coming: dict[str, asyncio.Task[int]] = {}
        self._spared: set[str] = set()
        self._wanted: dict[str, Wanted] = {}
        self._copying: set[asyncio.Task[None]] = set()

    async def bring_home(self, paths: Sequence[str]) -> int:
        """Bring files to their plain paths in the working directory; return the bytes that moved.

        Raises:
            DataLost, TransferError, Unreachable: one of them did not arrive.
        """
        ledger = self._files.ledger
        for path in paths:
            await self._files.note(path)
        missing = [path for path in paths if ledger.replicas(path) and ledger.get(path, CONTROLLER) is None]
        new = [path for path in missing if path not in self._coming]
        if new:
            task = asyncio.ensure_future(self._locator.bring(self._locator.home, {path: path for path in new}))
            self._coming |= dict.fromkeys(new, task)
            task.add_done_callback(lambda _: [self._coming.pop(path, None) for path in new])
        tasks = {self._coming[path] for path in missing}
        return sum([await asyncio.shield(task) for task in tasks])

    async def fetch(self, path: str, target: Path) -> None:
        """Make a file or directory appear at `target`, on this machine; it is not to be changed there.

        Raises:
            DataLost, TransferError, Unreachable: it is not to be had.
        """
        state = self._files.state(path)
        if state is None:
            raise DataLost(f"{path} is nowhere to be found", path)
        await self._files.note(path)
        if self._files.ledger.get(path, CONTROLLER) is not None:
            await asyncio.to_thread(_link, self._files.here / path, target)
            return
        for attempt in range(_TRIES):
            try:
                with self._locator.reading([path]):
                    await self._copy(path, target)
                break
            except SiteError as error:
                if not error.transient or attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(0.5 * 2**attempt)
        _stamp(target, state)

    async def _copy(self, path: str, target: Path) -> None:
        """Copy a file from wherever it is; what is asked for at the same time is looked at in one round trip."""
        loop = asyncio.get_running_loop()
        if path not in self._wanted:
            if not self._wanted:
                self._copying.add(task := loop.create_task(self._copy_wanted()))
                task.add_done_callback(self._copying.discard)
            self._wanted[path] = target, loop.create_future()
        await asyncio.shield(self._wanted[path][1])

    async def _copy_wanted(self) -> None:
        await asyncio.sleep(_GATHER_S)
        wanted, self._wanted = self._wanted, {}
        by_source: dict[str, tuple[Side, dict[str, Wanted]]] = {}
        try:
            for path, (target, arrived) in wanted.items():
                try:
                    source = await self._locator.source(path)
                except SiteError as error:
                    _fail(arrived, error)
                else:
                    by_source.setdefault(source.filesystem, (source, {}))[1][path] = target, arrived
            await asyncio.gather(*(self._copy_from(source, some) for source, some in by_source.values()))
        finally:
            for _, arrived in wanted.values():
                arrived.cancel()  # those that have a result keep it

    async def _copy_from(self, source: Side, wanted: Mapping[str, Wanted]) -> None:
        try:
            items = await self._locator.read(source, {path: str(target) for path, (target, _) in wanted.items()})
        except SiteError as error:
            if len(wanted) == 1 or error.transient:
                for _, arrived in wanted.values():
                    _fail(arrived, error)
            else:  # one that is lost must not fail the others
                for path, one in wanted.items():
                    await self._copy_from(source, {path: one})
            return
        moves = (self._locator.move(source, self._files.home, [one]) for one in items)
        results = await asyncio.gather(*moves, return_exceptions=True)
        for (path, _), result in zip(items, results, strict=True):
            arrived = wanted[path][1]
            if isinstance(result, BaseException):
                _fail(arrived, result)
            else:
                arrived.set_result(None)

    async def store(self, source: Path, path: str) -> None:
        """Keep a file or directory that was made on this machine as the present version of `path`.

        Raises:
            TransferError: it cannot be written.
        """
        await self.remove(path)
        self._files.removed.discard(path)
        self._files.doubtful.discard(path)
        try:
            await asyncio.to_thread(_link, source, self._files.here / path)
        except OSError as error:
            raise TransferError(f"cannot write {path}: {error.strerror}") from error
        await self._files.note(path)

    async def touch(self, path: str) -> None:
        """Give a file the present time, wherever it is."""
        now = time.time_ns()
        ledger = self._files.ledger
        if (self._files.here / path).exists():
            _stamp(self._files.here / path, State((self._files.here / path).is_dir(), 0, now))
        if version := ledger.version(path):
            for replica in ledger.replicas(path):
                if replica.filesystem == CONTROLLER:
                    self._files.arrived(path, version, now)
                else:
                    ledger.put(replace(replica, made_ns=now))

    async def footprint(self, path: str) -> int:
        """Bytes of a file, or of all files in a directory."""
        await self._files.note(path)
        return max((replica.size_b for replica in self._files.ledger.replicas(path)), default=0)

    async def protected(self, paths: Sequence[str]) -> list[str]:
        """Return those of some files that may not be written at a site; what cannot be reached does not count."""
        found: dict[str, None] = {}
        at: dict[str, list[str]] = {}
        for path in paths:
            for replica in self._files.ledger.replicas(path):
                if replica.filesystem != CONTROLLER and not replica.directory:
                    at.setdefault(replica.filesystem, []).append(path)
        for filesystem, there in at.items():
            with suppress(SiteError):
                if (site := await self._sites.on(filesystem)) is not None:
                    looks = await site.store.stat([self._locator.path_at(site, path) for path in there])
                    pairs = zip(there, looks, strict=True)
                    found |= {path: None for path, look in pairs if look.kind == "file" and not look.mode & 0o222}
        return list(found)

    def spare(self, paths: Iterable[str]) -> None:
        """Ignore the next removal of files: Snakemake removes the outputs of failed jobs, also those restored."""
        self._spared.update(map(self._files.canonical, paths))

    async def remove(self, path: str) -> None:
        """Remove a file or directory everywhere. What is at sites is removed in the background."""
        if path in self._spared:
            self._spared.discard(path)
            return
        self._files.removed.add(path)
        for replica in self._files.ledger.replicas(path):
            if replica.filesystem != CONTROLLER:
                self._removals.remove(path, replica.filesystem)
        self._files.ledger.drop_path(path)
        if path not in ("", ".") and not path.startswith(".."):
            await self._files.home.remove([path])


def _fail(arrived: asyncio.Future[None], error: BaseException) -> None:
    arrived.set_exception(error)
    arrived.exception()  # somebody may have stopped waiting for it


def _link(source: Path, target: Path) -> None:
    """Make `target` the same files as `source`: hard links where possible, else copies. Blocks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.parent / f".sf-{secrets.token_hex(6)}"
    try:
        if source.is_dir():
            shutil.copytree(source, beside, symlinks=True, copy_function=_link_file)
            shutil.rmtree(target, ignore_errors=True)
        else:
            _link_file(str(source.resolve()), str(beside))
        os.replace(beside, target)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        else:
            beside.unlink(missing_ok=True)


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another filesystem, or one without links
        shutil.copy2(source, target, follow_symlinks=False)


def _stamp(path: Path, state: State) -> None:
    when = (state.mtime_ns, state.mtime_ns)
    with suppress(OSError):
        if state.directory:
            (path / STAMP).touch()
            os.utime(path / STAMP, ns=when)
        os.utime(path, ns=when)

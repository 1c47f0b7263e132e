"""Where each file is at each site, and where to read it from."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from .errors import DataLost, Differs, SiteError, TransferError, Unreachable
from .files import Files
from .model import CONTROLLER, KEPT_HERE, Address, is_address, kept_as
from .move import listing
from .move.entry import Item
from .move.mover import Mover
from .move.store import Store
from .place import Place
from .plan import Replica
from .remote.job import Found
from .site import Site
from .sites import Sites

_PAUSE_S = 30.0
"""How long addresses at a deployment that could not be brought up are not tried again: there may be many."""
_PATIENCE_S = 60.0
"""How long the only holder of a file may be out of reach before the file counts as lost."""


@dataclass(frozen=True, slots=True)
class Side:
    """Where files are read from or brought to: `site` None is the controller itself."""

    store: Store
    filesystem: str
    site: Site | None = None


class Locator:
    """Finds the workflow's files at sites, and copies them from where they are to where they are needed."""

    def __init__(self, files: Files, mover: Mover, sites: Sites) -> None:
        self._files = files
        self._ledger = files.ledger
        self._mover = mover
        self._sites = sites
        self._places: dict[str, Place] = {}
        self._failed: dict[str, tuple[float, SiteError]] = {}
        self.home = Side(files.home, CONTROLLER)
        self.read_now: Counter[str] = Counter()
        """Canonical paths of files that are being copied from where they are."""

    @contextmanager
    def reading(self, paths: Iterable[str]) -> Iterator[None]:
        """Keep replicas from being given up while they are copied."""
        held = tuple(paths)
        self.read_now.update(held)
        try:
            yield
        finally:
            self.read_now.subtract(held)

    def side(self, site: Site) -> Side:
        """A site, to read from and write to."""
        return Side(self._files.home if site.in_place else site.store, site.location.filesystem, site)

    def path_at(self, site: Site, path: str) -> str:
        """Where a file is at a site, as a job's command names it; `path` itself wherever possible.

        The holders of addresses must be known: see `place`.
        """
        if is_address(path):
            address = Address.parse(path)
            place = self._places.get(address.holder)
            if place is not None and place.site.location.filesystem == site.location.filesystem:
                return address.path
            return kept_as(path, KEPT_HERE) if site.in_place else kept_as(path)
        if site.in_place or not path:
            return path
        canonical = self._files.canonical(path)
        if not canonical.startswith("/"):
            return canonical if os.path.isabs(path) else path
        return site.visible(canonical) or kept_as(canonical)

    async def place(self, holder: str) -> Place:
        """The files of the first location of a deployment, which is brought up."""
        failed = self._failed.get(holder)
        if failed is not None and time.monotonic() - failed[0] < _PAUSE_S:
            raise failed[1]
        try:
            site = await self._sites.first(holder)
        except SiteError as error:
            self._failed[holder] = time.monotonic(), error
            raise
        place = self._places.get(holder)
        if place is None or place.site is not site:
            place = self._places[holder] = Place(site)
        return place

    async def note(self, path: str) -> str | None:
        """Note what is under a canonical path at the controller, or at the address; return the current version."""
        if not is_address(path):
            return await self._files.note(path)
        address = Address.parse(path)
        place = await self.place(address.holder)
        look = await place.look(address.path)
        filesystem = place.site.location.filesystem
        if not look.exists:
            self._ledger.drop_path(path)
            return None
        known = self._ledger.get(path, filesystem)
        if known is None or (known.size_b, known.mtime_ns) != (look.size_b, look.mtime_ns):
            version, directory = f"a-{look.size_b}-{look.mtime_ns}", look.kind == "directory"
            self._ledger.put(Replica(path, filesystem, version, look.size_b, look.mtime_ns, directory=directory))
            place.site.checked.add(path)
        return self._ledger.version(path)

    async def sizes(self, paths: Sequence[str]) -> tuple[tuple[str, int], ...]:
        """Canonical paths of inputs and their bytes, as far as known; also notes what is there of them now."""
        found = []
        for path in map(self._files.canonical, paths):
            await self.note(path)
            found.append((path, max((replica.size_b for replica in self._ledger.replicas(path)), default=0)))
        return tuple(found)

    async def bring(self, target: Side, needed: Mapping[str, str]) -> int:
        """Copy `{canonical path: path there}` to one side; return the bytes that moved.

        Raises:
            DataLost: nobody has a file any more.
            TransferError, Unreachable: a file could not be copied.
        """
        by_source: dict[str, tuple[Side, dict[str, str]]] = {}
        with self.reading(needed):
            for canonical, there in needed.items():
                source = await self.source(canonical)
                by_source.setdefault(source.filesystem, (source, {}))[1][canonical] = there
            return sum([await self._copy(source, target, paths) for source, paths in by_source.values()])

    async def _copy(self, source: Side, target: Side, paths: Mapping[str, str]) -> int:
        """Copy from one side; when a connection breaks, what has arrived stays, and counts as progress."""
        if gone := [canonical for canonical in paths if not self._ledger.replicas(canonical)]:
            raise DataLost(f"{', '.join(gone)}: lost before it could be copied", *gone)
        known = {canonical: self._ledger.replicas(canonical)[0] for canonical in paths}
        pending, moved = dict(paths), 0
        since, delay = time.monotonic(), 0.5
        while pending:
            try:
                items = await self.read(source, pending)
                copies = (self._copy_one(source, target, *one, known[one[0]]) for one in items)
                results = await asyncio.gather(*copies, return_exceptions=True)
                arrived = {c: r for (c, _), r in zip(items, results, strict=True) if isinstance(r, int)}
                moved += sum(arrived.values())
                pending = {c: there for c, there in pending.items() if c not in arrived}
                if arrived:
                    since, delay = time.monotonic(), 0.5
                _raise_worst([result for result in results if isinstance(result, BaseException)], bool(arrived))
            except Unreachable as error:
                if source.site is None or await source.site.answers():
                    raise  # it is the other side
                elsewhere = any(r.filesystem != source.filesystem for c in pending for r in self._ledger.replicas(c))
                if elsewhere or time.monotonic() - since > _PATIENCE_S:
                    for canonical in pending:
                        self._ledger.drop(canonical, source.filesystem)
                    raise DataLost(f"{', '.join(pending)} cannot be had: {error}", *pending) from None
                await asyncio.sleep(delay)
                delay = min(2 * delay, 10)
        return moved

    async def _copy_one(self, source: Side, target: Side, canonical: str, item: Item, known: Replica) -> int:
        (digest,) = await self.move(source, target.store, [(canonical, item)])
        if self._ledger.version(canonical) != known.version:
            return item.size_b  # it changed on the way: it will be looked at again
        if target.filesystem == CONTROLLER:
            self._files.arrived(canonical, known.version, known.made_ns)
            return item.size_b
        filesystem, mtime = target.filesystem, item.entries[0].mtime_ns
        version, made = known.version, known.made_ns
        self._ledger.put(Replica(canonical, filesystem, version, item.size_b, mtime, digest, item.directory, made))
        if target.site is not None:
            target.site.checked.add(canonical)
        return item.size_b

    async def move(self, source: Side, target: Store, items: Sequence[tuple[str, Item]]) -> list[str | None]:
        """Copy canonical paths' items, and record what they were found to be; return the digests of their replicas.

        Raises:
            DataLost: a file was not what was recorded of it; the ledger forgets it, and the target does not get it.
            TransferError, Unreachable: one could not be copied.
        """
        try:
            arrived = await self._mover.move(source.store, target, [item for _, item in items])
        except Differs as error:
            lost = [canonical for canonical, item in items if item.source == error.source]
            for canonical in lost:
                self._ledger.drop(canonical, source.filesystem)
            raise DataLost(f"{error}", *lost) from None
        digests: list[str | None] = []
        for (canonical, item), found in zip(items, arrived, strict=True):
            digest = listing.of_item(item) if item.directory else next(iter(found), None)
            digests.append(digest)
            known = self._ledger.get(canonical, source.filesystem)
            if known is None or item.directory or known.digest == digest or digest is None:
                continue
            version = known.version  # at the controller, a file of the same size and time may be another one
            if known.digest is not None:
                version = f"c-{known.size_b}-{known.mtime_ns}-{digest[:8]}"
            self._ledger.put(replace(known, version=version, digest=digest))
        return digests

    async def source(self, canonical: str) -> Side:
        """Where to read a file from.

        Raises:
            DataLost: no location that may have it is left.
        """
        holders = {replica.filesystem for replica in self._ledger.replicas(canonical)}
        if CONTROLLER in holders:
            return self.home
        for site in self._sites:
            if site.location.filesystem in holders:
                return self.side(site)
        for filesystem in holders:
            if (found := await self._sites.on(filesystem)) is not None:
                return self.side(found)
            self._ledger.drop(canonical, filesystem)
        raise DataLost(f"no location that holds {canonical} can be reached", canonical)

    async def read(self, source: Side, targets: Mapping[str, str]) -> list[tuple[str, Item]]:
        """Canonical paths and items to copy, for `{canonical path: target path}`.

        Raises:
            DataLost: a file is not there any more, or not what was recorded; the ledger forgets it.
        """
        site = source.site
        paths = {c: self.path_at(site, c) if site is not None else c for c in targets}
        unsure = [c for c in targets if site is not None and c not in site.checked]
        await self._verify(source, {c: paths[c] for c in unsure})
        try:
            items = await source.store.list({paths[c]: there for c, there in targets.items()})
        except TransferError:
            await self._verify(source, paths)
            raise
        by_path = {item.source: item for item in items}
        found = [(c, by_path[paths[c]], self._ledger.get(c, source.filesystem)) for c in targets]
        return [(c, expecting(item, known) if known is not None else item) for c, item, known in found]

    async def _verify(self, source: Side, paths: Mapping[str, str]) -> None:
        lost = []
        known = [self._ledger.get(canonical, source.filesystem) for canonical in paths]
        for canonical, fits in zip(paths, await recorded(source.store, known, list(paths.values())), strict=True):
            if not fits:
                self._ledger.drop(canonical, source.filesystem)
                lost.append(canonical)
            elif source.site is not None:
                source.site.checked.add(canonical)
        if lost:
            raise DataLost(f"{source.store.name}: {', '.join(lost)}: gone, or not what was made there", *lost)


def _raise_worst(errors: Sequence[BaseException], progress: bool) -> None:
    """Raise what went wrong, all that is lost in one error; a broken connection is no error while there is progress."""
    lost = [error for error in errors if isinstance(error, DataLost)]
    if lost:
        raise DataLost("\n".join(map(str, lost)), *(path for error in lost for path in error.paths))
    for error in sorted(errors, key=lambda error: isinstance(error, Unreachable)):
        if not (progress and isinstance(error, Unreachable)):
            raise error


async def recorded(
    store: Store,
    replicas: Sequence[Replica | None],
    places: Sequence[str],
    any_time: Callable[[str], bool] = lambda _: False,
) -> list[bool]:
    """Tell of each place in a store whether what lies there now is what was recorded, by one look, or two.

    A file is recognised by size and time, a directory by its listing or, when nobody made a digest of that, by its own
    time, which says whether anything right below it came or went.

    Args:
        any_time: whether the time of such a directory does not count, by its canonical path.
    """
    found = await store.stat(places)
    trees = [n for n, known in enumerate(replicas) if known is not None and known.directory and known.digest]
    listings = dict(zip(trees, await store.listings([places[n] for n in trees]) if trees else (), strict=True))

    def fits(known: Replica, number: int) -> bool:
        if not known.directory:
            return True
        if number in listings:
            return listings[number] == known.digest
        return _same_time(known, found[number]) or any_time(known.path)

    return [
        known is not None and is_recorded(known, found[number]) and fits(known, number)
        for number, known in enumerate(replicas)
    ]


def expecting(item: Item, known: Replica) -> Item:
    """An item that says which digest is recorded of its file. What lies at the controller its user may change."""
    if known.digest is None or known.directory or known.filesystem == CONTROLLER:
        return item
    return replace(item, entries=(replace(item.entries[0], digest=known.digest),))


def is_recorded(known: Replica, found: Found) -> bool:
    """Whether what lies there is of the recorded kind and, if it is a file, of that size and time."""
    if known.directory or found.kind != "file":
        return found.kind == ("directory" if known.directory else "file")
    return found.size_b == known.size_b and _same_time(known, found)


def _same_time(known: Replica, found: Found) -> bool:
    return found.mtime_ns // 10**9 == known.mtime_ns // 10**9  # locations tell whole seconds

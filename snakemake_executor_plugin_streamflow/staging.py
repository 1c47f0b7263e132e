"""Inputs to where a job runs, outputs to where Snakemake looks for them; and what the ledger is told of it."""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .errors import TransferError
from .jobs import Output
from .model import CONTROLLER
from .move.entry import Entry, Item
from .move.here import Here
from .move.mover import Mover
from .move.store import Store
from .plan import Ledger, Replica
from .remote.job import Found, JobEnd
from .remote.quote import quote
from .site import Site


class Staging:
    """What the steps "stage in" and "stage out" of a task do.

    `here` is the workflow's working directory. Canonical paths are normalized; relative to it or absolute.
    """

    def __init__(self, here: Path, ledger: Ledger, mover: Mover) -> None:
        self.here = here
        self.home = Here(CONTROLLER, here)
        self._ledger = ledger
        self._mover = mover
        self._coming: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._written: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._quiet = asyncio.Event()

    def canonical(self, path: str) -> str:
        """Canonical form of a path as Snakemake has it."""
        path = os.path.normpath(path)
        if os.path.isabs(path):
            inside = os.path.relpath(path, self.here)
            return path if inside.startswith("..") else inside
        return os.path.normpath(self.here / path) if path.startswith("..") else path

    def path_at(self, site: Site, path: str) -> str:
        """Where a file of the controller is at a site, as a job's command names it; `path` itself wherever possible."""
        if site.in_place or not path:
            return path
        canonical = self.canonical(path)
        if not canonical.startswith("/"):
            return canonical if os.path.isabs(path) else path
        return site.visible(canonical) or f".streamflow/abs{canonical}"

    async def sizes(self, paths: Sequence[str]) -> tuple[tuple[str, int], ...]:
        """Canonical paths of inputs and their bytes, as far as known; also notes what the controller has of them."""
        found = []
        for path in map(self.canonical, paths):
            await self._look(path)
            found.append((path, max((replica.size_b for replica in self._ledger.replicas(path)), default=0)))
        return tuple(found)

    async def _look(self, path: str) -> str | None:
        """Note what the controller has under a canonical path now, and return its version; None: nothing is there."""
        found = self.home.found(path)
        if found.kind == "missing":
            self._ledger.drop(path, CONTROLLER)
            return None
        directory = found.kind == "directory"
        stamp = await asyncio.to_thread(self._stamp, path, found) if directory else (found.size_b, found.mtime_ns)
        known = self._ledger.get(path, CONTROLLER)
        if known is None or (known.size_b, known.mtime_ns) != stamp:
            self._ledger.put(
                Replica(
                    path,
                    CONTROLLER,
                    f"c-{stamp[0]}-{stamp[1]}",
                    stamp[0],
                    stamp[1],
                    directory=found.kind == "directory",
                )
            )
        return self._ledger.version(path)

    def settle(self, paths: Iterable[str]) -> None:
        """Note that Snakemake has touched outputs that came home: same content, new times."""
        for path in map(self.canonical, paths):
            found = self.home.found(path)
            version = self._ledger.version(path)
            if found.kind == "missing" or version is None:
                continue
            size, mtime = self._stamp(path, found)
            self._ledger.put(Replica(path, CONTROLLER, version, size, mtime, directory=found.kind == "directory"))

    async def stage_in(self, site: Site, inputs: Sequence[str], sites: Iterable[Site]) -> int:
        """Bring to a site what it lacks; return the bytes that moved.

        Raises:
            TransferError, Unreachable: with the file's name. A missing input says what to declare.
        """
        if site.in_place:
            return 0
        filesystem = site.location.filesystem
        wanted = {canonical: path for path in inputs if (canonical := self.canonical(path))}
        seen: dict[str, str] = {}
        needed: dict[str, str] = {}
        unsure: list[str] = []
        for canonical, path in wanted.items():
            there = self.path_at(site, path)
            if there.startswith("/") and not there.startswith(str(site.facts.workdir) + "/"):
                continue  # a shared prefix or bind mount: used in place
            link = site.visible(str(self.here / canonical)) if site.location.mounts or site.location.shared else None
            if link is not None:
                seen[there] = link
                continue
            version = await self._look(canonical)
            if version is None and not self._ledger.replicas(canonical):
                raise TransferError(
                    f"{site.location.name}: input {path} is nowhere to be found. "
                    "Declare it as the output of a rule, or make it."
                )
            if self._ledger.get(canonical, filesystem) is None:
                needed[canonical] = there
            elif canonical not in site.checked:
                unsure.append(canonical)
        if unsure:
            needed |= await self._stale(site, unsure, wanted)
        if seen:
            await self._link(site, seen)
        return await self._bring_once(site, needed, sites)

    async def stage_out(
        self, site: Site, task: str, outputs: Sequence[Output], end: JobEnd, *, failed: bool, keep: bool
    ) -> int:
        """Bring home what a job made, and tell the ledger; return the bytes that moved.

        Raises:
            TransferError: an output could not be brought home.
        """
        found = dict(zip((output.path for output in outputs), end.outputs or (), strict=False))
        filesystem = site.location.filesystem
        items: list[Item] = []
        trees: dict[str, str] = {}
        for output in outputs:
            canonical = self.canonical(output.path)
            there = found.get(output.path)
            if there is None or there.kind == "missing" or (failed and not output.log and not keep):
                self._ledger.drop(canonical, filesystem)
                continue
            at_site = self.path_at(site, output.path)
            if not output.log and not failed:
                directory = there.kind == "directory"
                self._ledger.put(
                    Replica(canonical, filesystem, f"o-{task}", there.size_b, there.mtime_ns, directory=directory)
                )
                site.checked.add(canonical)
            if site.in_place or not output.home:
                continue
            if there.kind == "directory":
                trees[at_site] = canonical
            elif there.kind == "file":
                items.append(Item(at_site, canonical, (Entry("", "f", there.size_b, there.mtime_ns, there.mode),)))
            else:
                raise TransferError(f"{site.location.name}: {output.path} is neither a file nor a directory")
        if trees:
            items += await site.store.list(trees)
        if items:
            await self._mover.move(site.store, self.home, items)
        return sum(item.size_b for item in items)

    async def _stale(self, site: Site, unsure: list[str], wanted: Mapping[str, str]) -> dict[str, str]:
        """Look once at replicas of an earlier run; forget those that are gone or changed, and return them."""
        places = [self.path_at(site, wanted[canonical]) for canonical in unsure]
        stale: dict[str, str] = {}
        for canonical, place, found in zip(unsure, places, await site.store.stat(places), strict=True):
            known = self._ledger.get(canonical, site.location.filesystem)
            same = known is not None and found.kind == ("directory" if known.directory else "file")
            same = same and known is not None and (known.directory or found.size_b == known.size_b)
            timely = known is not None and known.mtime_ns // 10**9 == found.mtime_ns // 10**9
            if same and known is not None and (timely or (known.directory and self._is_tree_here(canonical))):
                site.checked.add(canonical)
            else:
                self._ledger.drop(canonical, site.location.filesystem)
                stale[canonical] = place
        trees = {c: place for c, place in zip(unsure, places, strict=True) if c not in stale and self._is_tree_here(c)}
        if trees:  # the time of a directory says nothing of the files in it
            here, there = (
                await self.home.list({c: c for c in trees}),
                await site.store.list({p: c for c, p in trees.items()}),
            )
            theirs = {item.target: _contents(item) for item in there}
            for canonical in (item.target for item in here if theirs.get(item.target) != _contents(item)):
                self._ledger.drop(canonical, site.location.filesystem)
                site.checked.discard(canonical)
                stale[canonical] = trees[canonical]
        return stale

    def _is_tree_here(self, canonical: str) -> bool:
        known = self._ledger.get(canonical, CONTROLLER)
        return known is not None and known.directory

    async def writing(self, site: Site, outputs: Sequence[Output]) -> None:
        """Note that a job is about to write outputs: no directory above them is replaced until `written`.

        Waits for such directories that are on their way there already.
        """
        filesystem = site.location.filesystem
        paths = {self.canonical(output.path) for output in outputs}
        while coming := [f for (fs, path), f in self._coming.items() if fs == filesystem and _any_below(paths, path)]:
            await asyncio.wait(coming)
        self._written[site.location.name].update(paths)

    def written(self, site: Site, outputs: Sequence[Output]) -> None:
        """The end of `writing`."""
        self._written[site.location.name].subtract(self.canonical(output.path) for output in outputs)
        self._quiet.set()

    async def _wait_for_writers(self, site: Site, needed: Iterable[str]) -> None:
        """Wait until no job writes below a directory that is to be replaced: the swap would take its file away."""
        folders = [path for path in needed if any(replica.directory for replica in self._ledger.replicas(path))]
        while any(_any_below(+self._written[site.location.name], folder) for folder in folders):
            self._quiet.clear()
            await self._quiet.wait()

    async def _bring_once(self, site: Site, needed: Mapping[str, str], sites: Iterable[Site]) -> int:
        """Bring what is not on its way yet, and wait for the rest; what another task failed to bring is tried here."""
        filesystem, moved = site.location.filesystem, 0
        while needed:
            flying = {c: self._coming[filesystem, c] for c in needed if (filesystem, c) in self._coming}
            own = {c: there for c, there in needed.items() if c not in flying}
            if own:
                await self._wait_for_writers(site, own)
                arrived = asyncio.get_running_loop().create_future()
                self._coming |= {(filesystem, c): arrived for c in own}
                try:
                    moved += await self._bring(site, own, sites)
                finally:
                    for c in own:
                        del self._coming[filesystem, c]
                    arrived.set_result(None)
            if flying:
                await asyncio.wait(set(flying.values()))
            needed = {c: needed[c] for c in flying if self._ledger.get(c, filesystem) is None}
        return moved

    async def _bring(self, site: Site, needed: Mapping[str, str], sites: Iterable[Site]) -> int:
        by_source: dict[str, tuple[Store, dict[str, str]]] = {}
        for canonical, there in needed.items():
            holders = {replica.filesystem for replica in self._ledger.replicas(canonical)}
            if CONTROLLER in holders:
                by_source.setdefault(CONTROLLER, (self.home, {}))[1][canonical] = there
                continue
            other = next((s for s in sites if s.location.filesystem in holders), None)
            if other is None:
                raise TransferError(
                    f"{site.location.name}: no location that holds {canonical} can be reached", transient=True
                )
            by_source.setdefault(other.location.name, (other.store, {}))[1][canonical] = there
        moved = 0
        versions = {canonical: self._ledger.version(canonical) for canonical in needed}
        for store, paths in by_source.values():
            items = await store.list(paths)
            await self._mover.move(store, site.store, items)
            moved += sum(item.size_b for item in items)
            for item in items:
                top = item.entries[0]
                version = versions[item.source]
                if version is None or self._ledger.version(item.source) != version:
                    continue  # it changed on the way: it will be looked at again
                replica = Replica(
                    item.source, site.location.filesystem, version, item.size_b, top.mtime_ns, directory=item.directory
                )
                self._ledger.put(replica)
                site.checked.add(item.source)
        return moved

    async def _link(self, site: Site, links: Mapping[str, str]) -> None:
        """Make inputs that a bind mount shows appear under their own names."""
        lines = [
            f"mkdir -p {quote(posixpath.dirname(name) or '.')} && ln -sfn {quote(target)} {quote(name)} || exit 1"
            for name, target in links.items()
        ]
        done = await site.shells.ask("\n".join(lines))
        if done.code:
            raise TransferError(f"{site.location.name}: cannot link inputs: {done.text.strip()}")

    def _stamp(self, path: str, found: Found) -> tuple[int, int]:
        if found.kind != "directory":
            return found.size_b, found.mtime_ns
        size, newest = 0, found.mtime_ns
        for folder, _, names in os.walk(self.here / path):
            for name in (".", *names):
                with suppress(OSError):  # it vanished meanwhile
                    info = os.lstat(os.path.join(folder, name))
                    if name != ".snakemake_timestamp":
                        size += info.st_size if name != "." else 0
                        newest = max(newest, info.st_mtime_ns)
        return size, newest


def _contents(item: Item) -> set[tuple[str, str, int, int, str]]:
    """What a directory's files are recognised by; Snakemake's own time stamp is not one of them."""
    return {
        (e.name, e.kind, e.size_b, e.mtime_ns // 10**9, e.target) if e.kind == "f" else (e.name, e.kind, 0, 0, e.target)
        for e in item.entries
        if e.name != ".snakemake_timestamp"
    }


def _any_below(paths: Iterable[str], folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in paths)

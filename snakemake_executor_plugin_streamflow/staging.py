"""The steps "stage in" and "stage out" of a task."""

from __future__ import annotations

import asyncio
import posixpath
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from .errors import DataLost, TransferError, Unsendable
from .files import Files
from .jobs import Output, Task
from .locate import Locator, is_recorded, recorded
from .model import CONTROLLER, Address, is_address
from .move.entry import Entry, Item
from .move.listing import STAMP
from .move.mover import Mover
from .plan import Replica
from .remote.job import Found, JobEnd
from .remote.quote import quote
from .removals import Removals
from .site import Site

_EFFECT = "e-"
"""Versions of files that jobs have made without declaring them begin with it."""


class Staging:
    """Brings to a site what a task lacks there, and accounts for what it made."""

    def __init__(self, files: Files, locator: Locator, mover: Mover, removals: Removals) -> None:
        self._files = files
        self._ledger = files.ledger
        self._locator = locator
        self._mover = mover
        self._removals = removals
        self._coming: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._written: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._quiet = asyncio.Event()

    async def stage_in(self, site: Site, inputs: Sequence[str]) -> int:
        """Bring to a site what it lacks; return the bytes that moved.

        Raises:
            TransferError, Unreachable: with the file's name. A missing input says what to declare.
        """
        filesystem = site.location.filesystem
        wanted = {canonical: path for path in inputs if (canonical := self._files.canonical(path))}
        seen: dict[str, str] = {}
        needed: dict[str, str] = {}
        unsure: list[str] = []
        for canonical, path in wanted.items():
            version = await self._locator.note(canonical)
            there = self._locator.path_at(site, path)
            outside = there.startswith("/") and not there.startswith(str(site.facts.workdir) + "/")
            if outside and not (site.in_place or is_address(path)):
                continue  # a shared prefix or bind mount: used in place
            mounted = not site.in_place and (site.location.mounts or site.location.shared)
            link = site.visible(str(self._files.here / canonical)) if mounted and not is_address(path) else None
            if link is not None and self._ledger.get(canonical, CONTROLLER) is not None:
                seen[there] = link
            elif version is None:
                if not site.in_place:
                    raise DataLost(
                        f"{site.location.name}: input {path} is nowhere to be found. "
                        "Declare it as the output of a rule, or make it.",
                        canonical,
                    )
            elif self._ledger.get(canonical, filesystem) is None:
                needed[canonical] = there
            elif canonical not in site.checked and not site.in_place:
                unsure.append(canonical)
        if unsure:
            needed |= await self._stale(site, unsure, wanted)
        if seen:
            await self._link(site, seen)
        return await self.bring(site, needed)

    def account(self, site: Site, task: Task, outputs: Sequence[Output], end: JobEnd) -> None:
        """Tell the ledger what a job that ended well has made."""
        filesystem, now = site.location.filesystem, time.time_ns()
        for output, found in zip(outputs, end.outputs or (), strict=True):
            canonical = self._files.canonical(output.path)
            self._files.doubtful.discard(canonical)
            if not task.again:
                self._files.removed.discard(canonical)
            if found.kind == "missing":
                self._ledger.drop(canonical, filesystem)
            elif not output.log or not output.home:
                size, mtime, directory = found.size_b, found.mtime_ns, found.kind == "directory"
                made = (self._ledger.made_before(canonical) if task.again else 0) or now
                version = f"o-{task.id}"
                digest = found.digest or None
                self._ledger.put(Replica(canonical, filesystem, version, size, mtime, digest, directory, made))
                site.checked.add(canonical)

    def account_effects(self, site: Site, task: Task, found: Iterable[Found]) -> list[Found]:
        """Tell the ledger what a job has made beside its outputs, and return it: files that are not otherwise known."""
        filesystem = site.location.filesystem
        busy = {path for written in self._written.values() for path in +written}
        busy |= {self._files.canonical(output.path) for output in task.outputs()}
        new = []
        for one in found:
            whole = [one.path, *map(str, PurePosixPath(one.path).parents)]
            known = [replica for path in whole if (replica := self._ledger.get(path, filesystem)) is not None]
            if busy.intersection(whole) or any(not replica.version.startswith(_EFFECT) for replica in known):
                continue
            if not known or (known[0].size_b, known[0].mtime_ns) != (one.size_b, one.mtime_ns):
                version, now = f"{_EFFECT}{task.id}", time.time_ns()
                self._ledger.put(Replica(one.path, filesystem, version, one.size_b, one.mtime_ns, made_ns=now))
                site.checked.add(one.path)
                new.append(one)
        return new

    async def lost_inputs(self, site: Site, inputs: Sequence[str]) -> list[str]:
        """Return inputs that are not at a site any more, though they were brought or made there; they are forgotten.

        Raises:
            Unreachable: the site does not answer.
        """
        filesystem = site.location.filesystem
        known = {c: self._locator.path_at(site, path) for path in inputs if (c := self._files.canonical(path))}
        known = {c: place for c, place in known.items() if self._ledger.get(c, filesystem) is not None}
        lost = []
        for canonical, found in zip(known, await site.store.stat(list(known.values())), strict=True):
            if found.kind == "missing":
                self._ledger.drop(canonical, filesystem)
                site.checked.discard(canonical)
                lost.append(canonical)
        return lost

    async def changed_inputs(self, site: Site, task: Task, inputs: Sequence[str]) -> list[str]:
        """Return those files that are not as they were brought or made; the site's replicas of them are forgotten.

        Where nobody else has one, what is there now is all there is: it becomes the new version.

        Raises:
            Unreachable: the site does not answer.
        """
        filesystem, changed = site.location.filesystem, []
        busy = {path for written in self._written.values() for path in +written}
        busy |= {self._files.canonical(output.path) for output in task.outputs()}
        places = [self._locator.path_at(site, path) for path in inputs]
        for path, place, found in zip(inputs, places, await site.store.stat(places), strict=True):
            canonical = self._files.canonical(path)
            known = self._ledger.get(canonical, filesystem)
            if known is None or known.directory or canonical in busy:
                continue
            if found.kind != "file" or is_recorded(known, found):
                continue
            now = replace(known, size_b=found.size_b, mtime_ns=found.mtime_ns)
            if known.size_b == found.size_b:
                digest = known.digest
                if digest is None and self._ledger.get(canonical, CONTROLLER) is not None:
                    (digest,) = await self._files.home.sums([canonical])
                if digest and [digest] == await site.store.sums([place]):
                    self._ledger.put(now)  # only its time is another one
                    continue
            if len(self._ledger.replicas(canonical)) > 1:
                self._ledger.drop(canonical, filesystem)
                site.checked.discard(canonical)
            else:
                self._ledger.put(replace(now, version=f"c-{task.id}", digest=None, made_ns=time.time_ns()))
            changed.append(path)
        return changed

    def disown(self, site: Site, outputs: Sequence[Output]) -> None:
        """Tell the ledger that a job has failed: what it was to make there is spoiled."""
        for output in outputs:
            self._ledger.drop(self._files.canonical(output.path), site.location.filesystem)

    async def stage_out(self, site: Site, outputs: Sequence[tuple[Output, Found]]) -> int:
        """Bring home what a job made; return the bytes that moved.

        Raises:
            TransferError: an output could not be brought home.
        """
        items: list[tuple[str, Item]] = []
        trees: dict[str, str] = {}
        for output, found in outputs:
            if site.in_place or found.kind == "missing":
                continue
            canonical, at_site = self._files.canonical(output.path), self._locator.path_at(site, output.path)
            if found.kind == "directory":
                trees[at_site] = canonical
            elif found.kind == "file":
                entry = Entry("", "f", found.size_b, found.mtime_ns, found.mode)
                items.append((canonical, Item(at_site, canonical, (entry,))))
            else:
                raise Unsendable(f"{site.location.name}: {output.path} is neither a file nor a directory")
        if trees:
            items += [(item.target, item) for item in await site.store.list(trees)]
        if items:
            await self._locator.move(self._locator.side(site), self._files.home, items)
        return sum(item.size_b for _, item in items)

    async def hand_over(self, site: Site, output: Output) -> int:
        """Bring an output to the place that its address names; return the bytes that moved."""
        address = Address.parse(output.path)
        place = await self._locator.place(address.holder)
        if place.site.location.filesystem == site.location.filesystem:
            return 0
        known = self._ledger.get(output.path, site.location.filesystem)
        await place.receive(
            self._locator.side(site).store, self._locator.path_at(site, output.path), address.path, self._mover
        )
        look = await place.look(address.path)
        if known is not None and look.exists:
            self._ledger.put(
                Replica(
                    output.path,
                    place.site.location.filesystem,
                    known.version,
                    look.size_b,
                    look.mtime_ns,
                    directory=known.directory,
                    made_ns=known.made_ns,
                )
            )
        return known.size_b if known is not None else 0

    async def _stale(self, site: Site, unsure: list[str], wanted: Mapping[str, str]) -> dict[str, str]:
        """Look once at replicas of an earlier run; forget those that are gone or changed, and return them."""
        places = [self._locator.path_at(site, wanted[canonical]) for canonical in unsure]
        stale: dict[str, str] = {}
        known = [self._ledger.get(canonical, site.location.filesystem) for canonical in unsure]
        fits = await recorded(site.store, known, places, self._files.is_tree_here)
        for canonical, place, fit in zip(unsure, places, fits, strict=True):
            if fit:
                site.checked.add(canonical)
            else:
                self._ledger.drop(canonical, site.location.filesystem)
                stale[canonical] = place
        trees = {
            c: place
            for c, place, replica in zip(unsure, places, known, strict=True)
            if c not in stale and self._files.is_tree_here(c) and not (replica and replica.digest)
        }
        if trees:  # the time of a directory says nothing of the files in it
            here = await self._files.home.list({c: c for c in trees})
            theirs = {item.target: _contents(item) for item in await site.store.list({p: c for c, p in trees.items()})}
            for canonical in (item.target for item in here if theirs.get(item.target) != _contents(item)):
                self._ledger.drop(canonical, site.location.filesystem)
                site.checked.discard(canonical)
                stale[canonical] = trees[canonical]
        return stale

    async def writing(self, site: Site, outputs: Sequence[Output]) -> None:
        """Note that a job is about to write outputs: no directory above them is replaced until `written`.

        Waits for such directories that are on their way there already.
        """
        filesystem = site.location.filesystem
        paths = {self._files.canonical(output.path) for output in outputs}
        await self._removals.spare(paths, filesystem)
        while coming := [f for (fs, path), f in self._coming.items() if fs == filesystem and _any_below(paths, path)]:
            await asyncio.wait(coming)
            await self._removals.spare(paths, filesystem)
        self._written[filesystem].update(paths)

    def written(self, site: Site, outputs: Sequence[Output]) -> None:
        """The end of `writing`."""
        self._written[site.location.filesystem].subtract(self._files.canonical(output.path) for output in outputs)
        self._quiet.set()

    async def _waited_for_writers(self, filesystem: str, needed: Iterable[str]) -> bool:
        """Wait as long as a job writes below a directory that is to be replaced: the swap would take its file away.

        Returns:
            Whether that was so: much may have happened meanwhile.
        """
        folders = [path for path in needed if any(replica.directory for replica in self._ledger.replicas(path))]
        waited = False
        while any(_any_below(+self._written[filesystem], folder) for folder in folders):
            waited = True
            self._quiet.clear()
            await self._quiet.wait()
        return waited

    async def bring(self, site: Site, needed: Mapping[str, str]) -> int:
        """Bring `{canonical path: path there}` to a site; return the bytes that moved.

        What is on its way already is waited for; what another task failed to bring is tried here.
        """
        filesystem, moved = site.location.filesystem, 0
        while needed:
            flying = {c: self._coming[filesystem, c] for c in needed if (filesystem, c) in self._coming}
            own = {c: there for c, there in needed.items() if c not in flying}
            if own and await self._waited_for_writers(filesystem, own):
                needed = {c: there for c, there in needed.items() if self._ledger.get(c, filesystem) is None}
                continue
            if own:
                arrived = asyncio.get_running_loop().create_future()
                self._coming |= {(filesystem, c): arrived for c in own}
                try:
                    await self._removals.spare(own, filesystem)
                    moved += await self._locator.bring(self._locator.side(site), own)
                finally:
                    for c in own:
                        del self._coming[filesystem, c]
                    arrived.set_result(None)
            if flying:
                await asyncio.wait(set(flying.values()))
            needed = {c: needed[c] for c in flying if self._ledger.get(c, filesystem) is None}
        return moved

    async def _link(self, site: Site, links: Mapping[str, str]) -> None:
        """Make inputs that a bind mount shows appear under their own names."""
        lines = [
            f"mkdir -p -- {quote(posixpath.dirname(name) or '.')} || exit 1\n"
            # In a real directory of that name the link would be made, and the job would read what is there.
            f"[ -L {quote(name)} ] || [ ! -d {quote(name)} ] || rmdir -- {quote(name)} || exit 1\n"
            f"ln -sfn -- {quote(target)} {quote(name)} || exit 1"
            for name, target in links.items()
        ]
        done = await site.shells.ask("\n".join(lines))
        if done.code:
            raise TransferError(f"{site.location.name}: cannot link inputs: {done.text.strip()}")


def _contents(item: Item) -> set[tuple[str, str, int, int, str]]:
    """What a directory's files are recognised by; Snakemake's own time stamp is not one of them."""
    return {
        (e.name, e.kind, e.size_b, e.mtime_ns // 10**9, e.target) if e.kind == "f" else (e.name, e.kind, 0, 0, e.target)
        for e in item.entries
        if e.name != STAMP
    }


def _any_below(paths: Iterable[str], folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in paths)

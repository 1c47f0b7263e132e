"""What is known of the workflow's files: their names, their versions, and what the controller has of them."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .listed import Listed
from .model import CONTROLLER, KEPT_HERE, SCHEME, is_address, kept_as
from .move.here import Here
from .move.listing import STAMP
from .plan import Ledger, Replica
from .remote.job import Found

_SAME_NS = 1000
"""Snakemake sets times as floating-point seconds: they come back with an error below this."""


@dataclass(frozen=True, slots=True)
class State:
    """A file as Snakemake sees it. `mtime_ns` is by the controller's clock; a directory has size 0."""

    directory: bool
    size_b: int
    mtime_ns: int

    @property
    def mtime(self) -> float:
        """Seconds since 1970, rounded exactly as `os.stat` does: Snakemake compares it with local times."""
        return self.mtime_ns // 10**9 + 1e-9 * (self.mtime_ns % 10**9)


class Files:
    """The files of a workflow.

    Canonical paths are normalized; relative to the workflow's working directory `here`, absolute, or addresses.
    """

    def __init__(self, here: Path, ledger: Ledger) -> None:
        self.here, self._top = here, str(here)
        self._indexed, self._index = -1, defaultdict[str, set[str]](set)
        self.home = Here(CONTROLLER, here)
        self.ledger = ledger
        self.removed: set[str] = set()
        """Files that Snakemake has removed in this run."""
        self.doubtful: set[str] = set()
        """Outputs of a run that died before Snakemake had accepted them: not there, until somebody vouches for them."""
        self.listed = Listed(here / ".snakemake" / "streamflow" / "listed")
        self.copies: Path | None = None
        """Where the storage plugin keeps local copies, those of listed directories among them."""

    def canonical(self, path: str) -> str:
        """Canonical form of a path as Snakemake has it."""
        if is_address(path):
            return path
        path = os.path.normpath(path)
        if path.startswith("/"):
            inside = os.path.relpath(path, self.here)
            return path if inside.startswith("..") else inside
        return os.path.normpath(self.here / path) if path.startswith("..") else path

    def state(self, path: str) -> State | None:
        """Answer what is there, now, under a canonical path; None: nothing. May be called from any thread.

        What lies in the working directory counts when the ledger does not know better: a user may change it.
        """
        if path in self.doubtful:
            return None
        replicas = self.ledger.replicas(path)
        try:
            info = os.stat(os.path.join(self._top, path))
        except OSError:
            pass
        else:
            if not replicas or self.ledger.get(path, CONTROLLER) is not None or info.st_mtime_ns > replicas[0].made_ns:
                return self._own(path, info)
        others = [replica for replica in replicas if replica.filesystem != CONTROLLER]
        part = self._part(path)
        if part is not None and (not others or others[0].version != _version_of_part(path, part[2][0])):
            return State(*part[0])
        if not others:
            return None
        one = others[0]
        return State(one.directory, 0 if one.directory else one.size_b, one.made_ns or one.mtime_ns)

    def _part(self, path: str) -> tuple[tuple[bool, int, int], int, Sequence[Replica]] | None:
        """What a path is as part of a listed directory: its state, the time of its files, the directory's replicas."""
        above = os.path.dirname(path)
        while self.listed.paths and self.copies is not None and above:
            if above in self.listed.paths and (replicas := self.ledger.replicas(above)):
                with suppress(OSError):
                    info = os.stat(self.copies / path)
                    directory = stat.S_ISDIR(info.st_mode)
                    made_ns = replicas[0].made_ns or info.st_mtime_ns
                    return (directory, 0 if directory else info.st_size, made_ns), info.st_mtime_ns, replicas
                return None
            above = os.path.dirname(above) if above != "/" else ""
        return None

    def listed_folder(self, path: str) -> str | None:
        """Return the listed directory that a path is in; None when there is none."""
        return next((str(one) for one in PurePosixPath(path).parents if str(one) in self.listed.paths), None)

    def _note_part(self, path: str) -> None:
        """Tell the ledger of a path that is where a listed directory is that it belongs to."""
        part = self._part(path)
        if part is None:
            return
        (directory, size_b, made_ns), mtime_ns, wholes = part
        for whole in wholes:
            version = _version_of_part(path, whole)
            if self.ledger.version(path) not in (None, version):
                self.ledger.drop_path(path)
            if self.ledger.get(path, whole.filesystem) is None:
                self.ledger.put(Replica(path, whole.filesystem, version, size_b, mtime_ns, None, directory, made_ns))

    def names(self, folder: str) -> dict[str, State]:
        """Tell what is directly in a folder now, at whatever site; `folder` is canonical or ""."""
        if self._indexed != self.ledger.revision:
            self._indexed, self._index = self.ledger.revision, defaultdict(set)
            for path in self.ledger.paths():
                above, _, name = path.rpartition("/")
                self._index[above].add(name)
        found: dict[str, State] = {}
        for name in self._index.get(folder, ()):
            self._add(found, folder, name)
        with suppress(OSError), os.scandir(os.path.join(self._top, folder)) as entries:
            for entry in entries:
                if entry.name in found:
                    continue
                if entry.is_file(follow_symlinks=False):
                    info = entry.stat(follow_symlinks=False)
                    found[entry.name] = State(False, info.st_size, info.st_mtime_ns)
                else:
                    self._add(found, folder, entry.name)
        if self._part(f"{folder}/.") is not None and self.copies is not None:
            with suppress(OSError):
                for name in os.listdir(self.copies / folder):
                    self._add(found, folder, name)
        for path in self.doubtful:
            above, _, name = path.rpartition("/")
            if above == folder:
                found.pop(name, None)
        return found

    def _add(self, found: dict[str, State], folder: str, name: str) -> None:
        if name not in found and (state := self.state(os.path.join(folder, name))) is not None:
            found[name] = state

    def _own(self, path: str, info: os.stat_result) -> State:
        if not stat.S_ISDIR(info.st_mode):
            return State(False, info.st_size, info.st_mtime_ns)
        with suppress(OSError):
            return State(True, 0, os.stat(self.here / path / STAMP).st_mtime_ns)
        return State(True, 0, info.st_mtime_ns)

    async def note(self, path: str) -> str | None:
        """Note what the controller has under a canonical path now; return the current version, None when unknown."""
        if is_address(path):
            return self.ledger.version(path)
        found = self.home.found(path)
        if found.kind == "missing":
            self.ledger.drop(path, CONTROLLER)
            self._note_part(path)
            return self.ledger.version(path)
        directory = found.kind == "directory"
        size, mtime = await asyncio.to_thread(self.stamp, path, found) if directory else (found.size_b, found.mtime_ns)
        known = self.ledger.get(path, CONTROLLER)
        if known is not None:
            news = known.size_b != size or abs(known.mtime_ns - mtime) > _SAME_NS
        else:
            # Left from before the present version was made at a location? Then that one counts.
            news = all(mtime > replica.made_ns for replica in self.ledger.replicas(path))
        if news:
            version = f"c-{size}-{mtime}"
            self.ledger.put(Replica(path, CONTROLLER, version, size, mtime, directory=directory, made_ns=mtime))
        return self.ledger.version(path)

    def settle(self, paths: Iterable[str]) -> None:
        """Note that Snakemake has touched outputs that came home: same content, new times."""
        for path in map(self.canonical, paths):
            found = self.home.found(path)
            version = self.ledger.version(path)
            if found.kind == "missing" or version is None:
                continue
            size, mtime = self.stamp(path, found)
            directory = found.kind == "directory"
            self.ledger.put(Replica(path, CONTROLLER, version, size, mtime, directory=directory, made_ns=mtime))

    def arrived(self, path: str, version: str, made_ns: int) -> None:
        """Note that a file came home, and give it the time at which it was made."""
        place = kept_as(path, KEPT_HERE) if is_address(path) else path
        found = self.home.found(place)
        if made_ns:
            directory = found.kind == "directory"
            for name in (f"{place}/{STAMP}", place) if directory else (place,):
                with suppress(OSError):
                    os.utime(self.here / name, ns=(made_ns, made_ns))
            found = self.home.found(place)
        size, mtime = self.stamp(place, found)
        directory = found.kind == "directory"
        self.ledger.put(Replica(path, CONTROLLER, version, size, mtime, directory=directory, made_ns=made_ns or mtime))

    def below(self, top: str) -> list[str]:
        """Canonical paths of all files that are known below a directory, and of those that lie there."""
        found = {path for path in self.ledger.paths() if top == "." or path.startswith(f"{top}/")}
        for folder, folders, names in os.walk(self.here / top):
            folders[:] = [name for name in folders if name != ".snakemake"]
            found |= {os.path.normpath(os.path.join(top, os.path.relpath(folder, self.here / top), n)) for n in names}
        return sorted(path for path in found if not is_address(path))

    def is_tree_here(self, canonical: str) -> bool:
        """Whether the controller has a directory of that name."""
        known = self.ledger.get(canonical, CONTROLLER)
        return known is not None and known.directory

    def stamp(self, path: str, found: Found) -> tuple[int, int]:
        """Size and time by which a file, or a directory with all that is in it, is recognised. Blocks."""
        if found.kind != "directory":
            return found.size_b, found.mtime_ns
        size, newest = 0, found.mtime_ns
        for folder, _, names in os.walk(self.here / path):
            for name in (".", *names):
                with suppress(OSError):  # it vanished meanwhile
                    info = os.lstat(os.path.join(folder, name))
                    if name != STAMP:
                        size += info.st_size if stat.S_ISREG(info.st_mode) else 0
                        newest = max(newest, info.st_mtime_ns)
        return size, newest


def _version_of_part(path: str, whole: Replica) -> str:
    return f"{whole.version}:{path.removeprefix(whole.path)}"


def incomplete(here: Path) -> set[str]:
    """Names, as Snakemake has them, of floating files that it has marked as incomplete.

    Its database of metadata, an option, is not read: then the user is asked for `--rerun-incomplete`.
    """
    top = here / ".snakemake" / "incomplete"
    found = set()
    for folder, _, names in os.walk(top):
        above = "".join(part.removeprefix("@") for part in Path(folder).relative_to(top).parts)
        for name in names:
            with suppress(ValueError):
                found.add(base64.urlsafe_b64decode(above + name).decode())
    return {name.removeprefix(SCHEME) for name in found if name.startswith(SCHEME)}

"""What exists where: the table of replicas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ..model import is_address


@dataclass(frozen=True, slots=True)
class Replica:
    """One version of one file or directory on one filesystem.

    Attributes:
        path: canonical: relative to the workflow's working directory, or absolute.
        filesystem: where it is.
        version: the identity of its content; never a guess.
        size_b: bytes; of a directory, all below it.
        mtime_ns: the modification time of this replica on its own filesystem, to recognise it there.
        digest: SHA-1 of a file, or of the listing of a directory; None when nobody has made it.
        directory: a whole directory.
        made_ns: when this version came into being, by the controller's clock, in ns since 1970; 0 when unknown.
    """

    path: str
    filesystem: str
    version: str
    size_b: int
    mtime_ns: int
    digest: str | None = None
    directory: bool = False
    made_ns: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """There is no usable replica of `path` on `filesystem` any more."""

    path: str
    filesystem: str


class Ledger:
    """The replicas that can be used, by path and by filesystem.

    Only the current version of a path is kept: a `put` of another version forgets the replicas of the one before. A
    path whose last replica is dropped is unknown. Operations are O(1) (a version change: O(replicas forgotten)).

    A directory is one entry. `get`, `replicas` and `version` answer for exactly the path that was put, never for a
    file below a recorded directory, whose size and time are not known. `holders` and `missing` do count such a file as
    present wherever its nearest recorded directory is, unless the file has an entry of its own. Files that are recorded
    below a directory do not make the directory present: nobody knows whether they are all of it. Dropping a directory
    leaves the entries of files below it alone.
    """

    def __init__(self, replicas: Iterable[Replica] = ()) -> None:
        """Start with `replicas`, which are not reported by `changes`."""
        self._paths: dict[str, dict[str, Replica]] = {}
        self._filesystems: dict[str, dict[str, None]] = {}
        self._sizes: Counter[str] = Counter()
        self._directories = 0
        self._changes: dict[tuple[str, str], Replica | Dropped] = {}
        self._revision = 0
        self._made: dict[str, int] = {}
        for replica in replicas:
            self.put(replica)
        self._changes.clear()

    @property
    def revision(self) -> int:
        """A number that grows with every change."""
        return self._revision

    def put(self, replica: Replica) -> None:
        """Record a complete replica; its version becomes the current one of the path.

        An unknown `made_ns`, and the unknown digest of a file, are taken from another replica of the same version.
        """
        there = self._paths.get(replica.path)
        if there is not None:
            other = next(iter(there.values()))
            if not replica.made_ns and other.made_ns and other.version == replica.version:
                replica = replace(replica, made_ns=other.made_ns)
            if replica.digest is None and not replica.directory and other.version == replica.version:
                replica = replace(replica, digest=next((r.digest for r in there.values() if r.digest), None))
            if there.get(replica.filesystem) == replica:
                return
            if other.version != replica.version:
                self.drop_path(replica.path)
                there = None
        if there is None:
            there = self._paths[replica.path] = {}
        before = there.get(replica.filesystem)
        self._directories += replica.directory - (before.directory if before else False)
        there[replica.filesystem] = replica
        if not is_address(replica.path):
            self._sizes[replica.filesystem] += replica.size_b - (before.size_b if before else 0)
        self._filesystems.setdefault(replica.filesystem, {})[replica.path] = None
        self._note(replica)

    def get(self, path: str, filesystem: str) -> Replica | None:
        """Return the replica of the current version there."""
        return self._paths.get(path, {}).get(filesystem)

    def replicas(self, path: str) -> Sequence[Replica]:
        """Return all replicas of the current version."""
        return tuple(self._paths.get(path, {}).values())

    def on(self, filesystem: str) -> Sequence[Replica]:
        """Return all replicas on a filesystem; O(replicas there)."""
        return tuple(self._paths[path][filesystem] for path in self._filesystems.get(filesystem, ()))

    def size_b(self, filesystem: str) -> int:
        """Return the bytes of all replicas on a filesystem, but for addressed files."""
        return self._sizes[filesystem]

    def paths(self) -> Sequence[str]:
        """Return all paths that are known."""
        return tuple(self._paths)

    def version(self, path: str) -> str | None:
        """Return the current version; None for an unknown path."""
        for replica in self._paths.get(path, {}).values():
            return replica.version
        return None

    def made_before(self, path: str) -> int:
        """Return the `made_ns` of a path whose last replica was dropped; 0 when that is not known."""
        return self._made.get(path, 0)

    def holders(self, path: str) -> Collection[str]:
        """Return the filesystems where the path is, by itself or as part of a recorded directory."""
        there = self._paths.get(path)
        if there is None and self._directories:
            for parent in PurePosixPath(path).parents:
                above = self._paths.get(str(parent))
                if above is not None:
                    return [filesystem for filesystem, replica in above.items() if replica.directory]
        return there.keys() if there is not None else ()

    def missing(self, paths: Mapping[str, int] | Sequence[tuple[str, int]], filesystem: str) -> int:
        """Return how many bytes of `{path: size}` are not on the filesystem."""
        pairs = paths.items() if isinstance(paths, Mapping) else paths
        return sum(size_b for path, size_b in pairs if filesystem not in self.holders(path))

    def drop(self, path: str, filesystem: str) -> None:
        """Forget one replica; nothing happens when there is none."""
        there = self._paths.get(path)
        if there is None or filesystem not in there:
            return
        removed = there.pop(filesystem)
        self._directories -= removed.directory
        if not is_address(path):
            self._sizes[filesystem] -= removed.size_b
        if not there:
            del self._paths[path]
            if removed.made_ns:
                self._made[path] = removed.made_ns
        on = self._filesystems[filesystem]
        del on[path]
        if not on:
            del self._filesystems[filesystem]
        self._note(Dropped(path, filesystem))

    def drop_path(self, path: str) -> None:
        """Forget a path everywhere."""
        for filesystem in tuple(self._paths.get(path, ())):
            self.drop(path, filesystem)

    def drop_filesystem(self, filesystem: str) -> None:
        """Forget everything on a filesystem; O(replicas there)."""
        for path in tuple(self._filesystems.get(filesystem, ())):
            self.drop(path, filesystem)

    def changes(self) -> list[Replica | Dropped]:
        """Return what happened since the last call, at most one entry per path and filesystem: the last one."""
        drained = list(self._changes.values())
        self._changes.clear()
        return drained

    def _note(self, change: Replica | Dropped) -> None:
        self._revision += 1
        self._changes[change.path, change.filesystem] = change

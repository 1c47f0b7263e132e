"""The SQLite file that keeps what must survive a crash."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..plan.ledger import Dropped, Replica

VERSION = 1
KEPT_TRANSFERS = 10_000
"""Transfers that are kept when the journal is opened, the newest ones."""
PER_ROUTE = 20
"""Transfers of each route that `bandwidths` returns."""

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE replicas (
    path TEXT NOT NULL,
    filesystem TEXT NOT NULL,
    version TEXT NOT NULL,
    size_b INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    digest TEXT,
    directory INTEGER NOT NULL,
    PRIMARY KEY (path, filesystem)
) WITHOUT ROWID;
CREATE TABLE runs (id TEXT PRIMARY KEY, started REAL NOT NULL);
CREATE TABLE transfers (
    number INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    path TEXT NOT NULL,
    size_b INTEGER NOT NULL,
    seconds REAL NOT NULL,
    route TEXT NOT NULL
);
PRAGMA user_version = {VERSION};
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Observed:
    """How long one transfer between two filesystems took."""

    source: str
    target: str
    size_b: int
    seconds: float


class Journal:
    """Replicas, runs and transfers on disk. To be used from the thread that made it.

    The journal never stops a run. A file that is corrupt, or that a newer version of the plugin wrote, is renamed to
    `NAME.broken-N` and a new one is begun. When the file cannot be written (a full disk, no permission), the journal
    turns itself off: reading gives nothing more, writing does nothing. Each of the two is told once, to `warn`, and is
    in `warnings`. What was written before a failure stays: every call is one transaction.

    It holds paths, names, sizes and times; no command, no environment.
    """

    def __init__(self, path: Path, warn: Callable[[str], None] | None = None) -> None:
        """Open the file, and make it and its folder when they are missing."""
        self.path = path
        self.warnings: list[str] = []
        self._warn = warn
        self._database: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._database = _open(path)
            except _Unusable as problem:
                aside = _set_aside(path)
                self._tell(f"The journal {path} {problem}; it was set aside as {aside}, and a new one is begun.")
                self._database = _open(path)
        except (sqlite3.Error, OSError, _Unusable) as error:
            self._turn_off(error)

    @property
    def on(self) -> bool:
        """Whether it still records."""
        return self._database is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it can be called again."""
        database, self._database = self._database, None
        if database is not None:
            _close(database)

    def replicas(self) -> Iterable[Replica]:
        """Return all replicas that were recorded."""
        rows = self._read("SELECT path, filesystem, version, size_b, mtime_ns, digest, directory FROM replicas")
        return [
            Replica(path, filesystem, version, size_b, mtime_ns, digest, bool(directory))
            for path, filesystem, version, size_b, mtime_ns, digest, directory in rows
        ]

    def apply(self, changes: Sequence[Replica | Dropped]) -> None:
        """Record the ledger's changes, all of them or, when it fails, none.

        Replicas whose names are not valid Unicode are left out; SQLite cannot hold them.
        """
        self._write(
            [
                (
                    "INSERT OR REPLACE INTO replicas VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        change.path,
                        change.filesystem,
                        change.version,
                        change.size_b,
                        change.mtime_ns,
                        change.digest,
                        change.directory,
                    ),
                )
                if isinstance(change, Replica)
                else ("DELETE FROM replicas WHERE path = ? AND filesystem = ?", (change.path, change.filesystem))
                for change in changes
                if _is_unicode(change.path)
            ]
        )

    def start_run(self, run: str, when: float) -> None:
        """Record that a run began, at seconds since 1970."""
        self._write([("INSERT OR REPLACE INTO runs VALUES (?, ?)", (run, when))])

    def runs(self) -> Sequence[tuple[str, float]]:
        """Return the id and the start of every run, oldest first."""
        return [(run, started) for run, started in self._read("SELECT id, started FROM runs ORDER BY started, id")]

    def record_transfer(self, source: str, target: str, path: str, size_b: int, seconds: float, route: str) -> None:
        """Record a transfer that succeeded; `source` and `target` are filesystems, `route` is the kind of route."""
        if not _is_unicode(path):
            path = path.encode("utf-8", "backslashreplace").decode()
        statement = "INSERT INTO transfers (source, target, path, size_b, seconds, route) VALUES (?, ?, ?, ?, ?, ?)"
        self._write([(statement, (source, target, path, size_b, seconds, route))])

    def bandwidths(self) -> Sequence[Observed]:
        """Return the last transfers of each pair of filesystems, oldest first: what `Placement.observe` can learn."""
        rows = self._read(
            "SELECT source, target, size_b, seconds FROM (SELECT *, row_number() OVER"
            " (PARTITION BY source, target ORDER BY number DESC) AS age FROM transfers)"
            f" WHERE age <= {PER_ROUTE} ORDER BY number"
        )
        return [Observed(*row) for row in rows]

    def _read(self, statement: str) -> list[tuple[Any, ...]]:
        if self._database is None:
            return []
        try:
            return self._database.execute(statement).fetchall()
        except sqlite3.Error as error:
            self._turn_off(error)
            return []

    def _write(self, statements: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        database = self._database
        if database is None or not statements:
            return
        try:
            database.execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                database.execute(statement, values)
            database.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            self._turn_off(error)

    def _turn_off(self, error: Exception) -> None:
        self.close()
        self._tell(
            f"The journal {self.path} cannot be used ({error}). The run goes on without it: after a crash, jobs that"
            " run now and files that are at locations only will not be found again."
        )

    def _tell(self, message: str) -> None:
        self.warnings.append(message)
        if self._warn is not None:
            self._warn(message)


class _Unusable(Exception):
    """The file is there, and is no journal that this version can use."""


def _open(path: Path) -> sqlite3.Connection:
    """Open or create a journal.

    Raises:
        _Unusable: not a database, damaged, or of a newer version.
        sqlite3.Error: anything else: no permission, no space, locked.
    """
    database = sqlite3.connect(path, isolation_level=None)
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise _Unusable(f"was written by a newer version of the plugin (format {version}, known: {VERSION})")
        # Both are set before the first write; NORMAL loses at most the last transactions when the power fails.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            if database.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
                raise _Unusable("is a database of something else")
            database.executescript(SCHEMA)
        problem = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise _Unusable(f"is damaged ({problem})")
        for table, columns in (("replicas", 7), ("runs", 2), ("transfers", 7)):
            if len(database.execute(f"PRAGMA table_info({table})").fetchall()) != columns:
                raise _Unusable(f"is damaged (table {table})")
        database.execute(
            "DELETE FROM transfers WHERE number <= (SELECT max(number) FROM transfers) - ?", (KEPT_TRANSFERS,)
        )
    except sqlite3.DatabaseError as error:
        _close(database)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise _Unusable(f"is damaged ({error})") from error
        raise
    except BaseException:
        _close(database)
        raise
    return database


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _close(database: sqlite3.Connection) -> None:
    try:
        if database.in_transaction:
            database.execute("ROLLBACK")
    except sqlite3.Error:
        pass  # a rollback that fails leaves the file as it was: the next opening rolls back
    finally:
        database.close()


def _set_aside(path: Path) -> Path:
    """Rename the file, and its write-ahead log with it, to the first free `NAME.broken-N`."""
    target = next(name for number in count(1) if not (name := path.with_name(f"{path.name}.broken-{number}")).exists())
    path.rename(target)
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            log.rename(target.with_name(target.name + suffix))
    return target

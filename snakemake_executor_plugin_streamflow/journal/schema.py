"""The tables of the journal: made, brought up to date, checked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

VERSION = 2
KEPT_TRANSFERS = 10_000
"""Transfers that are kept when the journal is opened, the newest ones."""
KEPT_RUNS = 100
"""Runs that are kept with their tasks, the newest ones; older ones as long as they have something unfinished."""
BUSY_S = 5.0
"""How long to wait for another process that writes."""

_FROM_0 = """
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
)
"""
_FROM_1 = """
ALTER TABLE replicas ADD COLUMN made_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE replicas ADD COLUMN used_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN ended REAL;
ALTER TABLE runs ADD COLUMN pid INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN host TEXT NOT NULL DEFAULT '';
CREATE TABLE deployments (
    name TEXT NOT NULL,
    run TEXT NOT NULL,
    type TEXT NOT NULL,
    what TEXT NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (name, run)
) WITHOUT ROWID;
CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    job TEXT NOT NULL,
    rule TEXT NOT NULL,
    location TEXT NOT NULL DEFAULT '',
    directory TEXT NOT NULL DEFAULT '',
    outputs TEXT NOT NULL,
    state TEXT NOT NULL,
    changed REAL NOT NULL,
    detail TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX tasks_of_runs ON tasks (run);
CREATE INDEX tasks_of_jobs ON tasks (job);
CREATE TABLE states (
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (task, state)
) WITHOUT ROWID
"""
_STEPS = (_FROM_0, _FROM_1)
_COLUMNS = {"replicas": 9, "runs": 5, "deployments": 5, "tasks": 10, "states": 3, "transfers": 7}
_UNFINISHED = "state IN ('submitted', 'staging', 'running', 'ended')"
_OLD_RUNS = f"""
    SELECT id FROM runs WHERE id NOT IN (SELECT id FROM runs ORDER BY started DESC LIMIT {KEPT_RUNS})
    AND id NOT IN (SELECT run FROM deployments) AND id NOT IN (SELECT run FROM tasks WHERE {_UNFINISHED})
"""
_NO_SHARED_MEMORY = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL)


class Unusable(Exception):
    """The file is there, and is no journal that this version can use."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create a journal, and check every page of it.

    Raises:
        Unusable: not a database, damaged, or of a newer version.
        sqlite3.Error: anything else: no permission, no space, locked.
    """
    database = _connect(path)
    try:
        if not _writes_ahead(database):
            database.close()
            _stop_writing_ahead(path)
            database = _connect(path)
        _prepare(database)
        problem = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise Unusable(f"is damaged ({problem})")
        _prune(database)
    except sqlite3.DatabaseError as error:
        close_database(database)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise Unusable(f"is damaged ({error})") from error
        raise
    except BaseException:
        close_database(database)
        raise
    return database


def open_existing(path: Path) -> sqlite3.Connection:
    """Open a journal that is there, while a run may be writing it; nothing is checked or thrown away.

    Raises:
        Unusable, sqlite3.Error: as `open_database`.
    """
    database = _connect(path)
    try:
        if database.execute("PRAGMA user_version").fetchone() != (VERSION,):
            _prepare(database)
    except BaseException:
        close_database(database)
        raise
    return database


def close_database(database: sqlite3.Connection) -> None:
    """Close without writing what was not committed."""
    try:
        if database.in_transaction:
            database.execute("ROLLBACK")
    except sqlite3.Error:
        pass  # a rollback that fails leaves the file as it was: the next opening rolls back
    finally:
        database.close()


def set_aside(path: Path) -> Path:
    """Rename the file, and its write-ahead log with it, to the first free `NAME.broken-N`."""
    target = next(name for number in count(1) if not (name := path.with_name(f"{path.name}.broken-{number}")).exists())
    path.rename(target)
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            log.rename(target.with_name(target.name + suffix))
    return target


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)


def _writes_ahead(database: sqlite3.Connection) -> bool:
    """Have changes written to a log first (WAL), so that readers never wait; False: the file system cannot do that.

    The log needs memory that processes share. Where there is none, setting the mode succeeds and writing fails
    (https://www.sqlite.org/wal.html#noshm). A journal that went without the log stays so.
    """
    if _version(database) == 0 and database.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
        raise Unusable("is a database of something else")
    if _version(database) and _mode(database) != "wal":
        return True
    database.execute("PRAGMA journal_mode = WAL")
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _NO_SHARED_MEMORY:
            raise
        return False
    return True


def _stop_writing_ahead(path: Path) -> None:
    """Go back to a rollback journal: one process that has the file for itself needs no shared memory for that."""
    with closing(_connect(path)) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = DELETE")


def _mode(database: sqlite3.Connection) -> str:
    mode: str = database.execute("PRAGMA journal_mode").fetchone()[0]
    return mode


def _prepare(database: sqlite3.Connection) -> None:
    """Make the tables, or add what an older version did not have, all or nothing."""
    if _mode(database) == "wal":  # NORMAL loses at most the last transactions when the power fails
        database.execute("PRAGMA synchronous = NORMAL")
    if _version(database) < VERSION:
        database.execute("BEGIN IMMEDIATE")
        for step in _STEPS[_version(database) :]:  # asked again: another process may just have done it
            for statement in step.split(";"):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    for table, columns in _COLUMNS.items():
        if len(database.execute(f"PRAGMA table_info({table})").fetchall()) != columns:
            raise Unusable(f"is damaged (table {table})")


def _version(database: sqlite3.Connection) -> int:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise Unusable(f"was written by a newer version of the plugin (format {version}, known: {VERSION})")
    return version


def _prune(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.execute("DELETE FROM transfers WHERE number <= (SELECT max(number) FROM transfers) - ?", (KEPT_TRANSFERS,))
    database.execute(f"DELETE FROM states WHERE task IN (SELECT id FROM tasks WHERE run IN ({_OLD_RUNS}))")
    database.execute(f"DELETE FROM tasks WHERE run IN ({_OLD_RUNS})")
    database.execute(f"DELETE FROM runs WHERE id IN ({_OLD_RUNS})")
    database.execute("COMMIT")

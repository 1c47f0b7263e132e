"""The SQLite file that keeps what must survive a crash."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import StreamFlowError
from ..plan.ledger import Dropped, Replica
from .records import DeploymentRecord, Observed, RunRecord, State, TaskRecord
from .schema import Unusable, close_database, open_database, open_existing, set_aside

PER_ROUTE = 20
"""Transfers of each route that `bandwidths` returns."""

_PUT = "INSERT OR REPLACE INTO replicas VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DROP = "DELETE FROM replicas WHERE path = ? AND filesystem = ?"
_USED = "UPDATE replicas SET used_ns = ? WHERE path = ? AND filesystem = ?"
_ADD_TASK = "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CHANGE_TASK = """UPDATE tasks SET state = ?, changed = ?, detail = ?, location = coalesce(?, location),
    directory = coalesce(?, directory) WHERE id = ?"""
_STATE = "INSERT OR REPLACE INTO states VALUES (?, ?, ?)"
_TRANSFER = "INSERT INTO transfers (source, target, path, size_b, seconds, route) VALUES (?, ?, ?, ?, ?, ?)"
_TASKS = "SELECT id, run, job, rule, location, directory, outputs, state, changed, detail FROM tasks"


class Journal:
    """Replicas, runs, deployments, tasks and transfers on disk. To be used from the thread that made it.

    Calls that must be cheap (tasks, transfers, uses) are gathered; `flush`, and any call that is not gathered, writes
    all that was gathered in one transaction, in order. What was flushed survives the end of the process, however it
    ends; when the power fails, the last seconds may be lost, never more. Reading sees what was gathered.

    The journal never stops a run. A file that is corrupt, or that a newer version of the plugin wrote, is renamed to
    `NAME.broken-N` and a new one is begun. When the file cannot be written (a full disk, no permission), the journal
    turns itself off: reading gives nothing more, writing does nothing. Each of the two is told once, to `warn`, and is
    in `warnings`. What was written before a failure stays.

    It holds paths, names, sizes and times; no command, no environment.
    """

    def __init__(self, path: Path, warn: Callable[[str], None] | None = None, *, existing: bool = False) -> None:
        """Open the file, and make it and its folder when they are missing.

        Args:
            warn: is told when the file was set aside, or the journal turned itself off.
            existing: open one that is there, to look at it or mend it; a run may be writing it meanwhile. Such a
                journal neither sets the file aside nor turns itself off: it raises StreamFlowError, also later.
        """
        self.path = path
        self.warnings: list[str] = []
        self._warn = warn
        self._strict = existing
        self._database: sqlite3.Connection | None = None
        self._gathered: list[tuple[str, tuple[Any, ...]]] = []
        self._uses: dict[tuple[str, str], int] = {}
        try:
            self._database = _existing(path) if existing else self._begun(path)
        except (sqlite3.Error, OSError, Unusable) as error:
            self._turn_off(error)

    def _begun(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return open_database(path)
        except Unusable as problem:
            aside = set_aside(path)
            self._tell(f"The journal {path} {problem}; it was set aside as {aside}, and a new one is begun.")
            return open_database(path)

    @property
    def on(self) -> bool:
        """Whether it still records."""
        return self._database is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Write what was gathered and close the file; it can be called again."""
        self.flush()
        database, self._database = self._database, None
        if database is not None:
            close_database(database)

    def flush(self) -> None:
        """Write what was gathered, all of it or, when it fails, none."""
        self._gathered += [(_USED, (when, *key)) for key, when in self._uses.items()]
        self._uses.clear()
        gathered, self._gathered = self._gathered, []
        database = self._database
        if database is None or not gathered:
            return
        try:
            database.execute("BEGIN IMMEDIATE")
            for statement, values in gathered:
                database.execute(statement, values)
            database.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            self._turn_off(error)

    # Replicas

    def replicas(self) -> Iterable[Replica]:
        """Return all replicas that were recorded."""
        rows = self._read(
            "SELECT path, filesystem, version, size_b, mtime_ns, digest, directory, made_ns FROM replicas"
        )
        return [
            Replica(path, filesystem, version, size_b, mtime_ns, digest, bool(directory), made_ns)
            for path, filesystem, version, size_b, mtime_ns, digest, directory, made_ns in rows
        ]

    def apply(self, changes: Sequence[Replica | Dropped]) -> None:
        """Record the ledger's changes. A replica that is put counts as used now. Flushes.

        Replicas whose names are not valid Unicode are left out; SQLite cannot hold them.
        """
        now = time.time_ns()
        for change in changes:
            if not _is_unicode(change.path):
                continue
            if isinstance(change, Replica):
                values = (change.path, change.filesystem, change.version, change.size_b, change.mtime_ns)
                self._gathered.append((_PUT, (*values, change.digest, change.directory, change.made_ns, now)))
            else:
                self._gathered.append((_DROP, (change.path, change.filesystem)))
        self.flush()

    def used(self, paths: Iterable[str], filesystem: str) -> None:
        """Note that replicas on a filesystem are being used now; gathered."""
        now = time.time_ns()
        self._uses |= {(path, filesystem): now for path in paths if _is_unicode(path)}

    def least_used(self, filesystem: str) -> Sequence[str]:
        """Return the paths of the replicas on a filesystem, the one that was not used for longest first."""
        rows = self._read("SELECT path FROM replicas WHERE filesystem = ? ORDER BY used_ns, path", filesystem)
        return [path for (path,) in rows]

    # Runs and deployments

    def start_run(self, run: str, when: float) -> None:
        """Record that this process begins a run, at seconds since 1970."""
        self._write(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, NULL, ?, ?)", run, when, os.getpid(), os.uname().nodename
        )

    def end_run(self, run: str, when: float) -> None:
        """Record that a run is over and has taken down what it could."""
        self._write("UPDATE runs SET ended = ? WHERE id = ?", when, run)

    def runs(self) -> Sequence[RunRecord]:
        """Return every run, oldest first."""
        return [
            RunRecord(*row) for row in self._read("SELECT id, started, ended, pid, host FROM runs ORDER BY started, id")
        ]

    def add_deployment(self, name: str, run: str, type: str, what: str) -> None:
        """Record a deployment, just before a run brings it up."""
        self._write("INSERT OR REPLACE INTO deployments VALUES (?, ?, ?, ?, ?)", name, run, type, what, time.time())

    def remove_deployment(self, name: str, run: str) -> None:
        """Record that nothing is left of a deployment."""
        self._write("DELETE FROM deployments WHERE name = ? AND run = ?", name, run)

    def deployments(self) -> Sequence[DeploymentRecord]:
        """Return what runs have brought up and not taken down, oldest first."""
        rows = self._read("SELECT name, run, type, what, since FROM deployments ORDER BY since, name")
        return [DeploymentRecord(*row) for row in rows]

    # Tasks

    def add_task(self, id: str, *, run: str, job: str, rule: str, outputs: Sequence[str]) -> None:
        """Note a new attempt of a task, in state `SUBMITTED`; gathered. See `TaskRecord`."""
        now, state = time.time(), State.SUBMITTED
        # JSON in ASCII can hold file names that are not valid Unicode.
        self._gathered.append((_ADD_TASK, (id, run, job, rule, "", "", json.dumps(outputs), state, now, "")))
        self._gathered.append((_STATE, (id, state, now)))

    def change_task(
        self, id: str, state: State, *, location: str | None = None, directory: str | None = None, detail: str = ""
    ) -> None:
        """Note a task's new state; gathered. `flush` before it starts at a location, and before it is forgotten there.

        Args:
            location, directory: when they are known now.
            detail: of a failure: what the user is told, where its stderr is; no command, no secret.
        """
        now = time.time()
        detail = detail.encode("utf-8", "backslashreplace").decode()
        directory = directory.encode("utf-8", "backslashreplace").decode() if directory else directory
        self._gathered.append((_CHANGE_TASK, (state, now, detail, location, directory, id)))
        self._gathered.append((_STATE, (id, state, now)))

    def task(self, id: str) -> TaskRecord | None:
        """Return one attempt of a task."""
        return next(self._tasks(f"{_TASKS} WHERE id = ?", id), None)

    def attempts(self, job: str) -> Sequence[TaskRecord]:
        """Return the attempts of a task by the identity that Snakemake was told, oldest first."""
        return list(
            self._tasks(f"{_TASKS} WHERE job = ? ORDER BY (SELECT min(at) FROM states WHERE task = id), id", job)
        )

    def tasks(self, run: str) -> Sequence[TaskRecord]:
        """Return the tasks of a run, those that changed last at the end."""
        return list(self._tasks(f"{_TASKS} WHERE run = ? ORDER BY changed, id", run))

    def unfinished(self, run: str) -> Sequence[TaskRecord]:
        """Return the tasks of all runs but `run` that have no final state.

        Those in state `RUNNING` may still run at their location; of those in state `ENDED` the outputs may be there.
        """
        wanted = "run != ? AND state IN ('submitted', 'staging', 'running', 'ended') ORDER BY changed, id"
        return list(self._tasks(f"{_TASKS} WHERE {wanted}", run))

    def times(self, run: str) -> Mapping[str, Mapping[State, float]]:
        """Return when each task of a run reached each state: `{task id: {state: seconds since 1970}}`."""
        found: dict[str, dict[State, float]] = {}
        rows = self._read(
            "SELECT task, states.state, at FROM states JOIN tasks ON id = task WHERE run = ? ORDER BY at", run
        )
        for task, state, at in rows:
            found.setdefault(task, {})[State(state)] = at
        return found

    # Transfers

    def record_transfer(self, source: str, target: str, path: str, size_b: int, seconds: float, route: str) -> None:
        """Note a transfer that succeeded; `source` and `target` are filesystems, `route` is the kind; gathered."""
        path = path.encode("utf-8", "backslashreplace").decode()
        self._gathered.append((_TRANSFER, (source, target, path, size_b, seconds, route)))

    def bandwidths(self) -> Sequence[Observed]:
        """Return the last transfers of each pair of filesystems, oldest first: what `Placement.observe` can learn."""
        rows = self._read(
            "SELECT source, target, size_b, seconds FROM (SELECT *, row_number() OVER"
            " (PARTITION BY source, target ORDER BY number DESC) AS age FROM transfers)"
            f" WHERE age <= {PER_ROUTE} ORDER BY number"
        )
        return [Observed(*row) for row in rows]

    def _tasks(self, statement: str, *values: Any) -> Iterator[TaskRecord]:
        for id, run, job, rule, location, directory, outputs, state, changed, detail in self._read(statement, *values):
            made = tuple(json.loads(outputs))
            yield TaskRecord(id, run, job, rule, location, directory, made, State(state), changed, detail)

    def _read(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        self.flush()
        if self._database is None:
            return []
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._turn_off(error)
            return []

    def _write(self, statement: str, *values: Any) -> None:
        self._gathered.append((statement, values))
        self.flush()

    def _turn_off(self, error: Exception) -> None:
        database, self._database = self._database, None
        if database is not None:
            close_database(database)
        if self._strict:
            why = f"it {error}" if isinstance(error, Unusable) else error
            raise StreamFlowError(f"The journal {self.path} cannot be used: {why}.{_advice(error)}") from error
        self._tell(
            f"The journal {self.path} cannot be used ({error}). The run goes on without it: after a crash, jobs that"
            " run now and files that are at locations only will not be found again."
        )

    def _tell(self, message: str) -> None:
        self.warnings.append(message)
        if self._warn is not None:
            self._warn(message)


def _existing(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise StreamFlowError(
            f"There is no journal {path}: no run with `--executor streamflow` was made there "
            "(`--directory` names another folder)."
        )
    return open_existing(path)


def _advice(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return " Another process is writing it: try again."
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return " It is damaged: the next run sets it aside, begins a new one, and makes again what only sites have."
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return " Its folder must be writable, also to read it: SQLite keeps two files beside it meanwhile."
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

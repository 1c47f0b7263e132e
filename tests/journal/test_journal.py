"""The journal."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.errors import StreamFlowError
from snakemake_executor_plugin_streamflow.journal import Journal, Observed, RunRecord, State, schema
from snakemake_executor_plugin_streamflow.journal.schema import KEPT_RUNS
from snakemake_executor_plugin_streamflow.plan import Dropped, Ledger, Replica

A = Replica("a", "x", "1", 10, 123456789012345678, "sha256:00", False)
B = Replica("/d", "y", "2", 0, 5, None, True, 1_700_000_000_123_456_789)

FORMAT_1 = """
CREATE TABLE replicas (path TEXT NOT NULL, filesystem TEXT NOT NULL, version TEXT NOT NULL, size_b INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, digest TEXT, directory INTEGER NOT NULL, PRIMARY KEY (path, filesystem)) WITHOUT ROWID;
CREATE TABLE runs (id TEXT PRIMARY KEY, started REAL NOT NULL);
CREATE TABLE transfers (number INTEGER PRIMARY KEY, source TEXT NOT NULL, target TEXT NOT NULL, path TEXT NOT NULL,
    size_b INTEGER NOT NULL, seconds REAL NOT NULL, route TEXT NOT NULL);
PRAGMA user_version = 1;
"""


def test_replicas_are_there_after_it_was_opened_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "new" / "journal.db") as journal:
        journal.apply([A, B])
    with Journal(tmp_path / "new" / "journal.db") as journal:
        assert sorted(journal.replicas(), key=lambda each: each.path) == [B, A]
        journal.apply([Dropped("a", "x")])
        assert list(journal.replicas()) == [B]
        assert journal.warnings == []


def test_replicas_are_there_after_a_crash(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.apply([A])
    assert list(Journal(tmp_path / "j").replicas()) == [A]


@pytest.mark.parametrize("earlier", [False, True])
def test_it_works_where_processes_share_no_memory(tmp_path: Path, earlier: bool) -> None:
    if earlier:
        with Journal(tmp_path / "j") as journal:
            journal.apply([B])
    (tmp_path / "j-shm").mkdir()  # as on a file system that cannot map the index of the log
    for _ in range(2):
        with Journal(tmp_path / "j") as journal, Journal(tmp_path / "j", existing=True) as other:
            journal.apply([A])
            assert list(other.replicas()) == ([B, A] if earlier else [A])
            other.apply([A])
            assert journal.warnings == []
    assert not (tmp_path / "j-wal").exists()


def test_a_ledger_is_rebuilt_from_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    ledger = Ledger()
    ledger.put(A)
    journal.apply(ledger.changes())
    ledger.put(Replica("a", "z", "2", 1, 1))
    journal.apply(ledger.changes())
    assert Ledger(journal.replicas()).replicas("a") == ledger.replicas("a")


def test_runs_and_transfers_are_recorded(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.start_run("r2", 2.0)
        journal.start_run("r1", 1.0)
        here = os.getpid(), os.uname().nodename
        assert journal.runs() == [RunRecord("r1", 1.0, None, *here), RunRecord("r2", 2.0, None, *here)]
        journal.end_run("r1", 3.0)
        assert [run.ended for run in journal.runs()] == [3.0, None]
        for number in range(30):
            journal.record_transfer("x", "y", "a", number, 1.5, "direct")
        journal.record_transfer("y", "x", "a", 1, 1.0, "direct")
        seen = journal.bandwidths()
    assert seen[0] == Observed("x", "y", 10, 1.5)
    assert len(seen) == 21
    assert seen[-1] == Observed("y", "x", 1, 1.0)


@pytest.mark.parametrize("content", [b"this is no database at all" * 50, b"SQLite format 3\0" + b"x" * 4000])
def test_a_corrupt_file_is_set_aside_with_a_warning(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    for number in (1, 2):
        path.write_bytes(content)
        heard: list[str] = []
        with Journal(path, heard.append) as journal:
            assert journal.on
            journal.apply([A])
            assert list(journal.replicas()) == [A]
        assert len(heard) == 1
        assert heard == journal.warnings
        assert f"j.broken-{number}" in heard[0]
        assert (tmp_path / f"j.broken-{number}").read_bytes() == content


def test_damage_in_the_middle_of_the_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.apply([Replica(f"path/{number}", "x", "1", 1, 1) for number in range(2000)])
    content = bytearray(path.read_bytes())
    content[8192:40960] = b"\xff" * (40960 - 8192)
    path.write_bytes(content)
    with Journal(path) as journal:
        assert len(journal.warnings) == 1
        assert list(journal.replicas()) == []
        assert journal.on


def test_a_journal_of_a_newer_version_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "j"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with Journal(path) as journal:
        assert "newer version" in journal.warnings[0]
        assert journal.on
    assert (tmp_path / "j.broken-1").exists()


def test_a_full_disk_turns_it_off_with_one_warning_and_keeps_what_was_written(tmp_path: Path) -> None:
    heard: list[str] = []
    journal = Journal(tmp_path / "j", heard.append)
    journal.apply([A])
    assert journal._database is not None
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages}")
    many = [Replica(f"path/{number}", "x", "1", 1, 1) for number in range(5000)]
    journal.apply(many)
    journal.apply(many)
    journal.start_run("r", 1.0)
    journal.record_transfer("x", "y", "a", 1, 1.0, "direct")
    assert list(journal.replicas()) == []
    assert not journal.on
    assert len(heard) == 1
    assert "full" in heard[0]
    assert list(Journal(tmp_path / "j").replicas()) == [A]


def test_a_place_where_nothing_can_be_written_turns_it_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "j")
    journal.apply([A])
    assert not journal.on
    assert len(journal.warnings) == 1
    journal.close()
    journal.close()


def test_a_file_name_that_is_no_unicode_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.apply([Replica("bad\udcff", "x", "1", 1, 1), A])
    journal.record_transfer("x", "y", "bad\udcff", 1, 1.0, "direct")
    assert list(journal.replicas()) == [A]
    assert journal.warnings == []


def test_least_recently_used_replicas_come_first(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        for name in "abc":
            journal.apply([Replica(name, "x", "1", 1, 1)])
        journal.apply([Replica("d", "y", "1", 1, 1)])
        journal.used(["a", "not recorded", "bad\udcff"], "x")
        assert journal.least_used("x") == ["b", "c", "a"]
        assert journal.least_used("nowhere") == []


def test_a_task_is_found_again_with_its_place_and_state(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.add_task("r1-1-count-1", run="r1", job="r1-1-count-1", rule="count", outputs=["a", "bad\udcff"])
    journal.change_task("r1-1-count-1", State.STAGING, location="box/0")
    journal.change_task("r1-1-count-1", State.RUNNING, directory="/w/.streamflow/jobs/r1-1-count-1")
    journal.flush()
    found = Journal(tmp_path / "j").task("r1-1-count-1")  # the first was not closed: as after kill -9
    assert found is not None
    assert (found.run, found.rule, found.state) == ("r1", "count", State.RUNNING)
    assert (found.location, found.directory) == ("box/0", "/w/.streamflow/jobs/r1-1-count-1")
    assert found.outputs == ("a", "bad\udcff")
    assert journal.task("other") is None


def test_attempts_share_what_snakemake_was_told(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        for id in ("t", "t.1", "t.10", "u"):
            journal.add_task(id, run="r", job=id.split(".")[0], rule="a", outputs=[])
        journal.change_task("t", State.FAILED, detail="box:/w/.streamflow/jobs/t")
        assert [task.id for task in journal.attempts("t")] == ["t", "t.1", "t.10"]
        assert [task.id for task in journal.tasks("r")][-1] == "t"
        assert journal.attempts("t")[0].detail == "box:/w/.streamflow/jobs/t"


def test_unfinished_tasks_of_earlier_runs_are_known(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        for number, state in enumerate(State):
            journal.add_task(f"old-{number}", run="old", job="", rule="a", outputs=[])
            journal.change_task(f"old-{number}", state)
        journal.add_task("new-1", run="new", job="", rule="a", outputs=[])
        states = {task.state for task in journal.unfinished("new")}
        assert states == {state for state in State if not state.final}
        assert all(task.run == "old" for task in journal.unfinished("new"))
        assert set(journal.times("old")["old-2"]) == {State.SUBMITTED, State.RUNNING}


def test_deployments_stay_until_they_are_removed(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add_deployment("box", "r1", "docker", "containers with label streamflow.run=r1")
        journal.add_deployment("box", "r2", "docker", "")
        journal.remove_deployment("box", "r2")
        (left,) = journal.deployments()
        assert (left.name, left.run, left.type) == ("box", "r1", "docker")
        assert "label" in left.what


def test_a_journal_of_format_1_keeps_what_it_held(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "j")
    database.executescript(FORMAT_1)
    database.execute("INSERT INTO replicas VALUES ('a', 'x', '1', 10, 123456789012345678, 'sha256:00', 0)")
    database.execute("INSERT INTO runs VALUES ('r', 1.0)")
    database.execute("INSERT INTO transfers VALUES (1, 'x', 'y', 'a', 10, 1.5, 'direct')")
    database.commit()
    database.close()
    for _ in range(2):
        with Journal(tmp_path / "j") as journal:
            assert list(journal.replicas()) == [A]
            assert journal.runs() == [RunRecord("r", 1.0, None, 0, "")]
            assert journal.bandwidths() == [Observed("x", "y", 10, 1.5)]
            assert journal.unfinished("") == []
            assert journal.warnings == []


def test_a_migration_that_fails_leaves_the_old_format(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "j")
    database.executescript(FORMAT_1)
    database.execute("CREATE TABLE tasks (other TEXT)")
    database.close()
    with Journal(tmp_path / "j") as journal:
        assert not journal.on
        assert len(journal.warnings) == 1
    database = sqlite3.connect(tmp_path / "j")
    assert len(database.execute("PRAGMA table_info(replicas)").fetchall()) == 7
    assert database.execute("PRAGMA user_version").fetchone() == (1,)


def test_old_runs_are_forgotten_but_for_what_is_unfinished(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        for number in range(KEPT_RUNS + 5):
            journal.start_run(f"r{number}", float(number))
            journal.add_task(f"t{number}", run=f"r{number}", job="", rule="a", outputs=[])
            journal.change_task(f"t{number}", State.RUNNING if number == 1 else State.ACCOUNTED)
        journal.add_deployment("box", "r2", "docker", "")
    with Journal(tmp_path / "j") as journal:
        kept = [run.id for run in journal.runs()]
        assert kept[:3] == ["r1", "r2", "r5"]
        assert journal.task("t0") is None
        assert journal.times("r0") == {}
        assert journal.task("t1") is not None
        assert journal.task("t5") is not None


def test_another_process_reads_while_a_run_writes(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.start_run("r", 1.0)
        with Journal(tmp_path / "j", existing=True) as reader:
            for number in range(200):
                journal.apply([Replica(f"path/{number}", "x", "1", 1, 1)])
                assert len(list(reader.replicas())) == number + 1
            reader.apply([Dropped("path/0", "x")])
        assert journal.warnings == []
        assert len(list(journal.replicas())) == 199


def test_what_was_flushed_survives_a_writer_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from snakemake_executor_plugin_streamflow.journal import *;"
        "from snakemake_executor_plugin_streamflow.plan import Replica\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for n in range(10**6):\n"
        "    journal.add_task(f't{n}', run='r', job='', rule='a', outputs=[])\n"
        "    journal.change_task(f't{n}', State.RUNNING)\n"
        "    journal.apply([Replica(f'p{n}', 'x', '1', 1, 1)])\n"
        "    journal.add_task(f'gathered{n}', run='r', job='', rule='a', outputs=[])\n"
        "    print(n, flush=True)\n"
    )
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "j")], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            while int(last := writer.stdout.readline()) < 50:
                pass
            writer.kill()
            last = ([last, *writer.stdout.read().split()])[-1]
        with Journal(tmp_path / "j") as journal:
            assert journal.warnings == []
            tasks = {task.id for task in journal.unfinished("")}
            paths = {replica.path for replica in journal.replicas()}
            assert paths >= {f"p{n}" for n in range(int(last) + 1)}
            assert {path.replace("p", "t") for path in paths} <= tasks, "one transaction holds both"


def test_an_existing_journal_says_what_is_wrong_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StreamFlowError, match="no run"):
        Journal(tmp_path / "j", existing=True)
    assert not (tmp_path / "j").exists()
    (tmp_path / "j").write_bytes(b"this is no database at all" * 50)
    with pytest.raises(StreamFlowError, match=r"cannot be used.* the next run sets it aside"):
        Journal(tmp_path / "j", existing=True)
    assert os.listdir(tmp_path) == ["j"]


def test_a_journal_that_somebody_else_keeps_locked_does_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_S", 0.1)
    journal = Journal(tmp_path / "j")
    other = sqlite3.connect(tmp_path / "j", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.apply([A])
    assert not journal.on
    assert "locked" in journal.warnings[0]
    journal.add_task("t", run="r", job="", rule="a", outputs=[])
    journal.flush()

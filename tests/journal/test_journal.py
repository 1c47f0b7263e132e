"""The journal."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.journal import Journal, Observed
from snakemake_executor_plugin_streamflow.plan import Dropped, Ledger, Replica

A = Replica("a", "x", "1", 10, 123456789012345678, "sha256:00", False)
B = Replica("/d", "y", "2", 0, 5, None, True)


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
        assert journal.runs() == [("r1", 1.0), ("r2", 2.0)]
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

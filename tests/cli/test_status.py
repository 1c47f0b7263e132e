"""`status` and `deployments`: what the journal says of runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.journal import Journal, RunRecord, State
from snakemake_executor_plugin_streamflow.journal.alive import is_alive

from .commands import cli, journal_of

HERE = os.uname().nodename


def write_run(journal: Journal, run: str, began: float) -> None:
    """Write a run with a task in every state."""
    journal.start_run(run, began)
    for number, state in enumerate(State):
        task = f"{run}-{number}-align-1"
        journal.add_task(task, run=run, job=task, rule="align", outputs=[f"{number}.bam"])
        if state is not State.SUBMITTED:
            journal.change_task(task, State.STAGING, location="box/0")
            journal.change_task(task, State.RUNNING, directory=f"/w/.streamflow/jobs/{task}")
            journal.change_task(task, state, detail="align broke.\nmore" if state.final else "")
    journal.add_task(f"{run}-5-align-1.1", run=run, job=f"{run}-5-align-1", rule="align", outputs=[])
    journal.flush()


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    with journal_of(tmp_path) as journal:
        write_run(journal, "r1", time.time())  # this process is the run
        said = cli(tmp_path, "status")
        data = cli(tmp_path, "status", "--json").data
    assert "has run for" in said.text
    assert "r1-2-align-1" in said.text, "what runs is listed"
    assert "box/0:/w/.streamflow/jobs/r1-5-align-1/stderr" in said.text
    assert "r1-5-align-1 failed: align broke.\n  stderr: box/0:/w" in said.text
    assert "more" not in said.text
    assert "cleanup" not in said.text
    with journal_of(tmp_path) as journal:
        journal.change_task("r1-5-align-1.1", State.ACCOUNTED)
    assert "r1-5-align-1 failed" not in cli(tmp_path, "status").text, "another attempt made it good"
    (run,) = data["runs"]
    assert run["state"] == "running"
    assert run["counts"]["box/0"]["failed"] == 1
    assert data["orphans"] == []


def test_a_run_that_has_ended_with_every_task(tmp_path: Path) -> None:
    with journal_of(tmp_path) as journal:
        began = time.time()
        write_run(journal, "r1", began)
        journal.end_run("r1", began + 90)
    said = cli(tmp_path, "status", "--tasks")
    assert "took 1 min 30 s" in said.text
    head = next(line for line in said.text.splitlines() if line.startswith("task"))
    assert head.split() == ["task", "rule", "location", "state", "waited", "staged", "ran"]
    assert said.text.count("r1-") >= len(State)
    ended = cli(tmp_path, "status", "--tasks", "--json").data["runs"][0]["tasks"]
    assert {tuple(task["times"]) for task in ended if task["state"] == "ended"} == {
        ("submitted", "staging", "running", "ended")
    }


def test_a_run_that_died_may_have_left_jobs(tmp_path: Path) -> None:
    with journal_of(tmp_path) as journal:
        write_run(journal, "r1", 1.0)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    rewrite_pid(tmp_path, dead.pid)
    said = cli(tmp_path, "status")
    assert "died" in said.text
    assert "1 job of runs that died may still run" in said.text
    (orphan,) = cli(tmp_path, "status", "--json").data["orphans"]
    assert (orphan["id"], orphan["location"]) == ("r1-2-align-1", "box/0")


def test_the_last_runs_newest_at_the_end(tmp_path: Path) -> None:
    with journal_of(tmp_path) as journal:
        for number in range(3):
            journal.start_run(f"r{number}", float(number + 1))
            journal.end_run(f"r{number}", float(number + 2))
    assert [run["id"] for run in cli(tmp_path, "status", "--json").data["runs"]] == ["r2"]
    assert [run["id"] for run in cli(tmp_path, "status", "--runs", "2", "--json").data["runs"]] == ["r1", "r2"]
    cli(tmp_path, "status", "--runs", "0", code=2)
    with journal_of(tmp_path) as journal:
        journal.add_task("t", run="r0", job="t", rule="align", outputs=[])
    shown = cli(tmp_path, "status", "--json").data["runs"]
    assert [run["id"] for run in shown] == ["r0"], "the others were dry runs"


def test_no_run_at_all_is_said(tmp_path: Path) -> None:
    said = cli(tmp_path, "status", code=2)
    assert "no run with `--executor streamflow`" in said.errors
    assert not (tmp_path / ".snakemake").exists(), "looking makes nothing"
    assert "no folder" in cli(tmp_path / "none", "status", code=2).errors


def test_deployments_that_are_up(tmp_path: Path) -> None:
    with journal_of(tmp_path) as journal:
        journal.start_run("r1", time.time())
        journal.add_deployment("box", "r1", "docker", "containers with label=streamflow.run=r1")
        said = cli(tmp_path, "deployments")
        assert "label=streamflow.run=r1" in said.text
        assert "running" in said.text
        assert "cleanup" not in said.text
        journal.end_run("r1", time.time())
        left = cli(tmp_path, "deployments", code=1)
        assert "cleanup" in left.text
        assert cli(tmp_path, "deployments", "--json", code=1).data["deployments"][0]["run_state"] == "ended"
        journal.remove_deployment("box", "r1")
        assert "Nothing is up" in cli(tmp_path, "deployments").text


def rewrite_pid(work: Path, pid: int) -> None:
    """Make the run in a journal that of another process."""
    import sqlite3

    with sqlite3.connect(work / ".snakemake" / "streamflow" / "journal.db") as database:
        database.execute("UPDATE runs SET pid = ?", (pid,))
    database.close()


def test_this_process_is_alive_and_one_that_began_later_is_another(tmp_path: Path) -> None:
    now = time.time()
    assert is_alive(RunRecord("r", now, None, os.getpid(), HERE), tmp_path)
    assert not is_alive(RunRecord("r", now, now, os.getpid(), HERE), tmp_path)
    with subprocess.Popen(["sleep", "60"]) as other:
        assert not is_alive(RunRecord("r", now - 100, None, other.pid, HERE), tmp_path), "its number was used again"
        other.kill()


def test_a_process_nobody_has_waited_for_is_dead(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    run = RunRecord("r", time.time(), None, process.pid, HERE)
    assert is_alive(run, tmp_path)
    process.kill()
    while Path(f"/proc/{process.pid}/stat").read_text().split()[2] != "Z":
        pass
    assert not is_alive(run, tmp_path)
    process.wait()
    assert not is_alive(run, tmp_path)


@pytest.mark.parametrize("locked", [True, False])
def test_a_run_of_another_host_is_alive_while_the_lock_is_there(tmp_path: Path, locked: bool) -> None:
    if locked:
        (tmp_path / "locks").mkdir()
        (tmp_path / "locks" / "0.input.lock").touch()
    assert is_alive(RunRecord("r", 1.0, None, 1, "elsewhere"), tmp_path) is locked

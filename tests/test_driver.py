"""Tasks through the driver, without Snakemake."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import subprocess
import time
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from snakemake_executor_plugin_streamflow import spec
from snakemake_executor_plugin_streamflow.accounting import Accounting, Tally
from snakemake_executor_plugin_streamflow.connect.local import LocalConnector
from snakemake_executor_plugin_streamflow.driver import Driver
from snakemake_executor_plugin_streamflow.earlier import Earlier, attempts_before
from snakemake_executor_plugin_streamflow.engine import HERE, Engine
from snakemake_executor_plugin_streamflow.errors import DataLost, JobFailed, JobTimeout, Unreachable
from snakemake_executor_plugin_streamflow.files import Files
from snakemake_executor_plugin_streamflow.jobs import Member, Output, Task
from snakemake_executor_plugin_streamflow.journal import State
from snakemake_executor_plugin_streamflow.keeping import Keeping
from snakemake_executor_plugin_streamflow.model import (
    Binding,
    Companion,
    Deployment,
    LocalOptions,
    Location,
    Request,
    Target,
)
from snakemake_executor_plugin_streamflow.plan import Ledger
from snakemake_executor_plugin_streamflow.remake import Remaker
from snakemake_executor_plugin_streamflow.remote.job import Command, JobEnd
from snakemake_executor_plugin_streamflow.waiting import UNBOUND, Waiting


def test_a_job_that_runs_longer_than_its_runtime_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "_MINUTE_S", 1)
    site = Deployment("site", "local", LocalOptions(), workdir=PurePosixPath(tmp_path / "site"))
    companion = Companion(
        tmp_path / "streamflow.yml", (Binding(("bound",), (), (Target("site"),)),), deployments={"site": site}
    )
    ends: queue.Queue[tuple[str, Exception | None]] = queue.Queue()
    run = Engine(companion, tmp_path, log=logging.getLogger("test"))
    driver = Driver(
        run,
        done=lambda task, error: ends.put((task.rule, error)),
        maker=lambda path: None,
        later=tuple,
        keep_incomplete=False,
    )

    def task(rule: str) -> Task:
        member = Member(rule, lambda path_of, tmpdir: Command("echo begun >&2; sleep 3", "sh"), ())
        return Task(f"t-{rule}", rule, rule, None, Request(1), (), (member,), {}, resources={"runtime": 1})

    run.launch()
    try:
        driver.submit([task("bound"), task("unbound")])
        errors = dict(ends.get(timeout=20) for _ in range(2))
        error = errors["bound"]
        assert isinstance(error, JobTimeout)
        assert "its time limit. Its rule's `runtime` is 1 minutes." in str(error)
        assert error.stderr.startswith("begun\n")
        assert errors["unbound"] is None, "as with the local executor"
    finally:
        assert run.take_down() == []
        run.stop()


def test_a_job_that_something_else_has_ended_leaves_its_log(tmp_path: Path) -> None:
    """Who ends it, a queue's time limit for one, does not look at its files."""
    site = Deployment("site", "local", LocalOptions(), workdir=PurePosixPath(tmp_path / "site"))
    binding = Binding(("a",), (), (Target("site"),))
    run = Engine(
        Companion(tmp_path / "streamflow.yml", (binding,), deployments={"site": site}),
        tmp_path,
        log=logging.getLogger(),
    )
    tally = Tally()
    keeping = Keeping(run, tally.sent_b, tally.fetched_b, tuple)
    accounting = Accounting(run, keeping, tally, keep_incomplete=False)
    member = Member("a", lambda path_of, tmpdir: None, (Output("out"), Output("log", log=True)))
    task = Task("t", "a", "a", None, Request(1), (), (member,), {})

    async def account() -> None:
        there = await run.sites.first("site")
        (tmp_path / "site/log").write_text("why\n")
        await accounting.account(there, task, binding, JobEnd(137, (), "its time was over"))

    run.launch()
    try:
        with pytest.raises(JobFailed, match="its time was over"):
            run.wait(account(), 20)
        assert (tmp_path / "log").read_text() == "why\n"
    finally:
        run.stop()


def test_who_stops_waiting_just_when_it_is_placed_leaves_nothing_reserved(tmp_path: Path) -> None:
    run = Engine(Companion(tmp_path / "streamflow.yml"), tmp_path, log=logging.getLogger())
    task = Task("t", "a", "a", None, Request(1), (), (), {})

    async def stop() -> None:
        await run.sites.open([Target(HERE)])
        queue = Waiting(run)
        run.placement.adopt("other", [HERE], Request(1000), 0)
        waiting = asyncio.ensure_future(queue.place(task, UNBOUND, frozenset()))
        await asyncio.sleep(0)
        queue.release("other")
        assert not run.placement.is_idle(HERE)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert run.placement.is_idle(HERE)

    run.launch()
    try:
        run.wait(stop(), 20)
    finally:
        run.stop()


def test_files_that_were_made_again_stay_as_long_as_somebody_needs_them(tmp_path: Path) -> None:
    files, removed, needed = Files(tmp_path, Ledger()), list[str](), {"a": 2}
    files.removed |= {"a", "b"}
    task = Task("t", "r", "r", None, Request(1), ("./a", "c"), (), {})

    async def run(_: Task) -> None:
        await asyncio.sleep(60)

    async def remove(path: str) -> None:
        removed.append(path)

    async def do() -> None:
        remaker = Remaker(files, lambda _: task, run, remove, lambda path: needed.get(path, 1), logging.getLogger())
        await remaker.tidy(task)
        assert removed == []
        needed["a"] = 1
        await remaker.tidy(task)
        assert removed == ["a"]
        waiting = asyncio.ensure_future(remaker.remake(DataLost("lost", "a")))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        (making,) = remaker.making
        assert not making.done(), "who stops the run ends it"
        making.cancel()
        await asyncio.wait([making])

    asyncio.run(do())


def test_a_job_that_nobody_needs_any_more_is_ended_though_no_other_goes_there(tmp_path: Path) -> None:
    site = Deployment("site", "local", LocalOptions(), workdir=PurePosixPath(tmp_path / "site"))
    run = Engine(Companion(tmp_path / "f", deployments={"site": site}), tmp_path, log=logging.getLogger())
    left = subprocess.Popen(["sleep", "60"], env={**os.environ, "STREAMFLOW_JOB": "dead-1"}, start_new_session=True)
    folder = tmp_path / "site/.streamflow/jobs/dead-1"
    folder.mkdir(parents=True)
    (folder / "pid").write_text(f"{left.pid}\n")

    async def take_over() -> None:
        values = ("dead", time.time(), 2**22 + 1, os.uname().nodename)  # no process has this number
        run.journal._write("INSERT INTO runs VALUES (?, ?, NULL, ?, ?)", *values)
        run.journal.add_task("dead-1", run="dead", job="dead-1", rule="r", outputs=[])
        run.journal.change_task("dead-1", State.RUNNING, location="site", directory="")
        await Earlier(run).take_over([])

    run.launch()
    try:
        run.wait(take_over(), 20)
        assert left.wait(20) == -15
    finally:
        left.kill()
        run.stop()


def test_an_attempt_knows_those_before_it() -> None:
    assert attempts_before("run-1-a.3-1") == []
    assert attempts_before("run-1-a-1.1") == ["run-1-a-1"]
    assert attempts_before("run-1-a-1.3") == ["run-1-a-1", "run-1-a-1.1", "run-1-a-1.2"]


def test_a_location_that_went_while_nothing_ran_there_is_lost_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, usually, gone = LocalConnector.locations, LocalConnector.open, set[str]()

    async def locations(connector: LocalConnector, service: str | None) -> list[Location]:
        return [one for one in await usual(connector, service) if one.name not in gone]

    async def open_one(connector: LocalConnector, location: Location, *more: Any) -> Any:
        if location.name in gone:
            raise Unreachable(f"{location.name}: container not found")
        return await usually(connector, location, *more)

    monkeypatch.setattr(LocalConnector, "locations", locations)
    monkeypatch.setattr(LocalConnector, "open", open_one)
    monkeypatch.setattr(LocalConnector, "ephemeral", True)
    monkeypatch.setattr(LocalConnector, "on_controller", False)
    two = Deployment("two", "local", LocalOptions(locations=2), workdir=PurePosixPath(tmp_path / "two"))
    companion = Companion(
        tmp_path / "streamflow.yml", (Binding(("*",), (), (Target("two"),)),), deployments={"two": two}
    )
    ends: queue.Queue[tuple[str, Exception | None]] = queue.Queue()
    run = Engine(companion, tmp_path, log=logging.getLogger("test"))
    driver = Driver(
        run,
        done=lambda task, error: ends.put((task.rule, error)),
        maker=lambda path: None,
        later=tuple,
        keep_incomplete=False,
    )
    run.launch()
    try:
        (tmp_path / "in.txt").write_text("x")
        run.wait(run.sites.open([Target("two")]))
        gone.add("two/0")
        run.wait(run.sites["two/0"].shells.close())
        for number in range(2):
            member = Member("a", lambda path_of, tmpdir: Command("true", "sh"), ())
            driver.submit([Task(f"t-{number}", "a", "a", None, Request(1), ("in.txt",), (member,), {})])
        assert [ends.get(timeout=20) for _ in range(2)] == [("a", None), ("a", None)]
        assert run.sites.get("two/0") is None
    finally:
        run.take_down()
        run.stop()

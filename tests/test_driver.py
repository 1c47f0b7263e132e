"""Tasks through the driver, without Snakemake."""

from __future__ import annotations

import logging
import queue
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow import spec
from snakemake_executor_plugin_streamflow.driver import Driver, _earlier_attempts
from snakemake_executor_plugin_streamflow.engine import Engine
from snakemake_executor_plugin_streamflow.errors import JobTimeout
from snakemake_executor_plugin_streamflow.jobs import Member, Task
from snakemake_executor_plugin_streamflow.model import (
    Binding,
    Companion,
    Deployment,
    LocalOptions,
    Request,
    Target,
)
from snakemake_executor_plugin_streamflow.remote.job import Command


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
        rule, error = ends.get(timeout=20)
        assert rule == "bound"
        assert isinstance(error, JobTimeout)
        assert "its time limit. Its rule's `runtime` is 1 minutes." in str(error)
        assert error.stderr.startswith("begun\n")
        assert ends.get(timeout=20) == ("unbound", None), "as with the local executor"
    finally:
        assert run.take_down() == []
        run.stop()


def test_an_attempt_knows_those_before_it() -> None:
    assert _earlier_attempts("run-1-a.3-1") == []
    assert _earlier_attempts("run-1-a-1.1") == ["run-1-a-1"]
    assert _earlier_attempts("run-1-a-1.3") == ["run-1-a-1", "run-1-a-1.1", "run-1-a-1.2"]

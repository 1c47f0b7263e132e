"""Directories that several tasks need while a job writes below them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.config import read_companion
from snakemake_executor_plugin_streamflow.engine import Engine
from snakemake_executor_plugin_streamflow.errors import TransferError
from snakemake_executor_plugin_streamflow.jobs import Output
from snakemake_executor_plugin_streamflow.model import CONTROLLER, Companion, Deployment, LocalOptions


def test_no_link_is_made_in_a_directory_that_has_its_name(tmp_path: Path) -> None:
    one = Deployment("one", "local", LocalOptions(), workdir=PurePosixPath(tmp_path / "one"))
    engine = Engine(Companion(tmp_path / "f", deployments={"one": one}), tmp_path, log=logging.getLogger(__name__))
    engine.launch()
    try:
        site = engine.wait(engine.sites.first("one"))
        (tmp_path / "one/full").mkdir()
        (tmp_path / "one/full/old").touch()
        (tmp_path / "one/empty").mkdir()
        with pytest.raises(TransferError, match="cannot link inputs"):
            engine.wait(engine.staging._link(site, {"full": "/proc"}))
        for _ in range(2):
            engine.wait(engine.staging._link(site, {"empty": "/proc"}))
        assert (tmp_path / "one/empty").readlink() == Path("/proc")
    finally:
        engine.stop()


def test_a_directory_that_waits_for_a_writer_comes_once(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "d").mkdir(parents=True)
    (work / "d/x").write_text("12345")
    file = work / "streamflow.yml"
    file.write_text(f"version: v1.0\ndeployments:\n  one: {{type: local, workdir: {tmp_path / 'one'}}}\n")
    engine = Engine(read_companion(file, {}), work, log=logging.getLogger(__name__))
    engine.launch()

    async def check() -> None:
        site = await engine.sites.first("one")
        await engine.files.note("d")
        (known,) = engine.ledger.replicas("d")
        assert (known.filesystem, known.directory) == (CONTROLLER, True)
        outputs = [Output("d/y")]
        await engine.staging.writing(site, outputs)
        tasks = [asyncio.create_task(engine.staging.bring(site, {"d": "d"})) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)
        assert not (tmp_path / "one/d").exists()
        engine.staging.written(site, outputs)
        async with asyncio.timeout(10):
            moved = await asyncio.gather(*tasks)
        assert sorted(moved) == [0, 0, 5]
        assert (tmp_path / "one/d/x").read_text() == "12345"

    try:
        engine.wait(check())
    finally:
        engine.stop()

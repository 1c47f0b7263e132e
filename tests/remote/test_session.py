"""Jobs that are ended: which processes go, and what happens when the connection breaks just then."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.connect.local import LocalConnector
from snakemake_executor_plugin_streamflow.model import Deployment, LocalOptions
from snakemake_executor_plugin_streamflow.remote import leftovers, preflight, session
from snakemake_executor_plugin_streamflow.remote.job import Command, JobSpec
from snakemake_executor_plugin_streamflow.remote.quote import quote
from snakemake_executor_plugin_streamflow.remote.session import Session

JOB, NEXT = "run-1-a-1", "run-1-a-1.1"


def process(job: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], env={**os.environ, "STREAMFLOW_JOB": job}, start_new_session=True)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The first process of a job, one that has left its group, and the first one of the job's next attempt."""
    found = [process(JOB), process(JOB), process(NEXT)]
    for job, first in ((JOB, found[0]), (NEXT, found[2])):
        folder = tmp_path / ".streamflow" / "jobs" / job
        folder.mkdir(parents=True)
        (folder / "pid").write_text(f"{first.pid}\n")
    threading.Thread(target=found[0].wait).start()  # a zombie would count as alive
    yield found
    for one in found:
        one.kill()
        one.wait()


@pytest.mark.parametrize("how", ["session", "leftovers", "sweep"])
def test_ending_a_job_spares_its_next_attempt(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]], how: str
) -> None:
    jobs = tmp_path / ".streamflow" / "jobs"
    text = {
        "session": f"j={quote(str(jobs))}\n{session.FUNCTIONS}\nsf_tree {JOB}",
        "leftovers": leftovers.end([JOB]),
        "sweep": preflight.sweep(["other"], [NEXT]),
    }[how]
    subprocess.run(["sh", "-c", text], cwd=tmp_path, check=True, timeout=20)
    first, stray, following = processes
    assert first.wait(5) == -15
    assert stray.wait(5) == -9
    assert following.poll() is None


class Cut(Channel):
    """A channel that breaks instead of carrying the order to end a job."""

    def __init__(self, real: Channel) -> None:
        self._real = real

    @property
    def errors(self) -> bytes:
        return self._real.errors

    async def read(self) -> bytes:
        return await self._real.read()

    async def write(self, data: bytes | memoryview) -> None:
        if bytes(data).startswith(b"sf_kill"):
            await self._real.kill()
        else:
            await self._real.write(data)

    async def close_stdin(self) -> None:
        await self._real.close_stdin()

    async def wait(self) -> int:
        return await self._real.wait()

    async def kill(self) -> None:
        await self._real.kill()


def test_a_job_is_ended_although_the_connection_breaks_just_then(tmp_path: Path) -> None:
    opened: list[Channel] = []
    local = LocalConnector(Deployment("here", "local", LocalOptions()), run="r", inner=None, log=logging.getLogger())
    marker = f"99{os.getpid()}"

    async def do() -> list[str]:
        location = (await local.locations(None))[0]

        async def open_shell() -> Channel:
            real = await local.open(location, ["sh"])
            opened.append(real if opened else Cut(real))
            return opened[-1]

        async def gone() -> bool:
            return False

        there = Session("here", str(tmp_path), open_shell, lambda said: None, gone=gone)
        serving = asyncio.create_task(there.serve())
        job = asyncio.create_task(there.run(JobSpec(JOB, PurePosixPath(tmp_path), [Command(f"sleep {marker}", "sh")])))
        while not (tmp_path / JOB / "pid").exists():
            await asyncio.sleep(0.05)
        job.cancel()
        await asyncio.wait([job])
        left = await there.close(15)
        await serving
        return left

    assert asyncio.run(do()) == []
    assert len(opened) == 2
    assert (tmp_path / JOB / "exit").exists()
    assert subprocess.run(["pgrep", "-f", f"sleep {marker}"], check=False).returncode == 1

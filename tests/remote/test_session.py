"""Jobs that are ended: which processes go, and what happens when the connection breaks just then."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel, Through
from snakemake_executor_plugin_streamflow.connect.local import LocalConnector
from snakemake_executor_plugin_streamflow.errors import Unreachable
from snakemake_executor_plugin_streamflow.model import Deployment, LocalOptions
from snakemake_executor_plugin_streamflow.remote import leftovers, session
from snakemake_executor_plugin_streamflow.remote.job import Command, JobSpec, render
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
        "sweep": leftovers.sweep(["other"], [NEXT]),
    }[how]
    subprocess.run(["sh", "-c", text], cwd=tmp_path, check=True, timeout=20)
    first, stray, following = processes
    assert first.wait(5) == -15
    assert stray.wait(5) == -9
    assert following.poll() is None


def test_old_job_directories_are_removed(tmp_path: Path) -> None:
    jobs = tmp_path / ".streamflow" / "jobs"
    for name, file, days in (
        ("ended-1", "exit", 8),
        ("ended-2", "exit", 2),
        ("dead-1", "script", 31),
        ("dead-2", "script", 8),
        ("queued-1", "queue", 31),
        ("own-1", "exit", 31),
    ):
        (jobs / name).mkdir(parents=True)
        (jobs / name / file).write_text("0 -\n.\n")
        when = time.time() - days * 86400
        os.utime(jobs / name, (when, when))
    subprocess.run(["sh", "-c", leftovers.sweep(["own"])], cwd=tmp_path, check=True, timeout=20)
    assert sorted(path.name for path in jobs.iterdir()) == ["dead-2", "ended-2", "own-1", "queued-1"]


class Cut(Through):
    """A channel that breaks instead of carrying the order to end a job."""

    async def write(self, data: bytes | memoryview) -> None:
        if bytes(data).startswith(b"sf_kill"):
            await self.kill()
        else:
            await super().write(data)


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


def test_a_connection_that_was_lost_long_ago_is_no_outage_while_nobody_needed_it(tmp_path: Path) -> None:
    """The first attempt to connect again fails, as it may."""
    local = LocalConnector(Deployment("here", "local", LocalOptions()), run="r", inner=None, log=logging.getLogger())
    opened: list[Channel] = []

    async def do() -> None:
        location = (await local.locations(None))[0]

        async def open_shell() -> Channel:
            if len(opened) == 1:
                opened.append(opened[0])
                raise Unreachable("it starts")
            opened.append(await local.open(location, ["sh"]))
            return opened[-1]

        async def gone() -> bool:
            return False

        there = Session("here", str(tmp_path), open_shell, lambda said: None, gone=gone, give_up_s=0.5)
        serving = asyncio.create_task(there.serve())
        for name in ("first", "second"):
            async with asyncio.timeout(20):
                end = await there.run(JobSpec(name, PurePosixPath(tmp_path), [Command("true", "sh")]))
            assert end.code == 0
            await opened[-1].kill()
            await asyncio.sleep(0.8)
        await there.close()
        await serving

    asyncio.run(do())
    assert len(opened) == 3


def test_no_job_waits_for_a_session_that_has_ended_by_a_bug(tmp_path: Path) -> None:
    async def open_shell() -> Channel:
        raise Unreachable("no route")

    async def gone() -> bool:
        raise ValueError("a bug")

    async def do() -> None:
        there = Session("here", str(tmp_path), open_shell, lambda said: None, gone=gone)
        serving = asyncio.create_task(there.serve())
        async with asyncio.timeout(5):
            for _ in range(2):
                with pytest.raises(Unreachable):
                    await there.run(JobSpec("a", PurePosixPath(tmp_path), []))
        assert there.lost
        with pytest.raises(ValueError, match="a bug"):
            await serving

    asyncio.run(do())


def test_a_connection_that_stays_away_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalConnector(Deployment("here", "local", LocalOptions()), run="r", inner=None, log=logging.getLogger())
    answers = ["refused", "refused", "refused", "no route"]
    said: list[str] = []

    async def do() -> int:
        location = (await local.locations(None))[0]

        async def open_shell() -> Channel:
            if answers:
                raise Unreachable(answers.pop(0))
            return await local.open(location, ["sh"])

        async def gone() -> bool:
            return False

        there = Session("here", str(tmp_path), open_shell, said.append, gone=gone)
        serving = asyncio.create_task(there.serve())
        end = await there.run(JobSpec(JOB, PurePosixPath(tmp_path), [Command("exit 3", "sh")]))
        await there.close()
        await serving
        return end.code

    sleep = asyncio.sleep
    monkeypatch.setattr(session.asyncio, "sleep", lambda seconds: sleep(seconds / 20))
    assert asyncio.run(do()) == 3
    assert [line.partition(" (")[2].partition(")")[0] for line in said] == ["refused", "no route", ""]
    assert said[-1] == "here: connected again; 1 jobs out"


@pytest.mark.parametrize("shell", ["sh", "bash", "busybox sh"])
def test_a_job_that_is_sent_twice_runs_once_whoever_made_its_directory(tmp_path: Path, shell: str) -> None:
    jobs, count = tmp_path / "jobs", tmp_path / "count"
    (jobs / "c").mkdir(parents=True)  # left by a session that was lost before it could start the job
    spec = [JobSpec(name, PurePosixPath(tmp_path), [Command(f"echo {name} >>{count}", "sh")]) for name in "abc"]
    start = "".join(f"sf_start {quote(one.id)} {quote(render(one))} '' '' '' ok\n" for one in spec)
    text = f"{session.prelude(str(jobs))}sf_make 'a b' ok\nsf_make 'x y' o\n{start}{start}wait\nsleep 0.5\n"
    said = subprocess.run(shell.split(), input=text.encode(), stdout=subprocess.PIPE, check=True, timeout=20).stdout
    ends = {line for line in said.decode().splitlines() if line.startswith(("E ", "F ", "A ", "L "))}
    assert ends == {"E a 0 -", "E b 0 -", "E c 0 -"}
    assert sorted(count.read_text().split()) == ["a", "b", "c"]
    assert {folder.name: folder.stat().st_mode & 0o777 for folder in jobs.iterdir() if folder.name != "c"} == {
        "a": 0o700,
        "b": 0o700,
    }


def test_a_directory_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    start = f"sf_make 'a b' ok\nsf_start a {quote('exit 0')} '' '' '' ok\n"
    text = f"{session.prelude(str(tmp_path / 'none'))}{start}"
    said = subprocess.run(["sh"], input=text.encode(), stdout=subprocess.PIPE, check=True, timeout=20).stdout.decode()
    assert "No such file" in said.splitlines()[-1]
    assert said.splitlines()[-1].startswith("F a mkdir:")


@pytest.mark.parametrize("shell", ["sh", "bash", "busybox sh"])
def test_a_limit_is_taken_back_however_soon_the_job_ends(shell: str) -> None:
    one = 'sf_limit a 20 & g=$!; n=0; while [ $n -lt $((k*4)) ]; do n=$((n+1)); done; kill "$g"; wait "$g"'
    text = f"{session.FUNCTIONS}\nj=/nowhere; k=0; while [ $k -lt 150 ]; do {one}; k=$((k+1)); done; exit 0"
    subprocess.run([*shell.split(), "-c", text], stderr=subprocess.DEVNULL, check=True, timeout=15)

"""Queues whose commands fail or hang, connections that break, and runs that are stopped; on a real Slurm."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.errors import Unreachable
from snakemake_executor_plugin_streamflow.model import Deployment, SshOptions, Wraps
from snakemake_executor_plugin_streamflow.remote import queue_session

from ..executor.running import again, command, environment, run_workflow, wait_until, write_workflow
from ..servers import slurm as servers
from ..servers.login import Login
from ..servers.slurm import Slurm
from .queueing import Queued, queued
from .test_queue_ends import cluster
from .test_queue_slurm import CLUSTER, THREE_RULES, inputs

slurm = servers.slurm

WRAPPER = """#!/bin/sh
echo "$*" >>'{calls}'
if [ -e '{fail}' ]; then echo '{tool}: error: the test says no' >&2; exit 1; fi
[ ! -e '{hang}' ] || exec sleep 60
exec '{real}' "$@"
"""


class Tool:
    """A command of Slurm that can be made to fail or hang, and whose calls are counted."""

    def __init__(self, folder: Path, name: str) -> None:
        real = next(Path(p, name) for p in os.environ["PATH"].split(":") if Path(p, name).exists())
        self.fail, self.hang, self._calls = (folder / f"{name}-{what}" for what in ("fail", "hang", "calls"))
        self._calls.touch()
        text = WRAPPER.format(calls=self._calls, fail=self.fail, hang=self.hang, real=real, tool=name)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    @property
    def calls(self) -> int:
        """How often it was called."""
        return len(self._calls.read_text().splitlines())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for such commands, first on the PATH."""
    found = tmp_path / "bin"
    found.mkdir()
    monkeypatch.setenv("PATH", f"{found}:{os.environ['PATH']}")
    return found


@contextmanager
def up(tmp_path: Path, run: str | None = None) -> Iterator[Queued]:
    """The cluster, with a folder of its own."""
    with queued({"cluster": cluster(tmp_path / "site")}, tmp_path, run) as queue:
        yield queue


def jobs_of(slurm: Slurm) -> str:
    """What is in the queue."""
    return slurm.said("squeue -h")


def test_a_status_command_that_fails_and_hangs_loses_no_job(
    tmp_path: Path, folder: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = Tool(folder, "squeue")
    monkeypatch.setattr(queue_session, "ANSWER_S", 2.0)

    async def check(queue: Queued) -> None:
        squeue.fail.touch()
        job = asyncio.create_task(queue.run("sleep 5; exit 3"))
        await queue.eventually(lambda: squeue.calls >= 2)
        squeue.fail.rename(squeue.hang)
        assert (await job).code == 3
        assert any("the test says no" in line for line in queue.said)
        assert len(queue.said) == 1, queue.said

    with up(tmp_path) as queue:
        queue.do(check(queue))


def test_a_status_command_that_fails_for_too_long_is_an_error(tmp_path: Path, folder: Path, slurm: Slurm) -> None:
    squeue = Tool(folder, "squeue")

    async def check(queue: Queued) -> None:
        queue.session._give_up_s = 2.0
        squeue.fail.touch()
        with pytest.raises(Unreachable, match=r"(?s)given up.*the test says no"):
            await queue.run("sleep 60")
        squeue.fail.unlink()

    with up(tmp_path) as queue:
        queue.do(check(queue))
    wait_until(lambda: not jobs_of(slurm))


def test_many_jobs_are_cancelled_by_one_command(tmp_path: Path, folder: Path, slurm: Slurm) -> None:
    scancel = Tool(folder, "scancel")

    async def check(queue: Queued) -> None:
        jobs = [asyncio.create_task(queue.run("sleep 300")) for _ in range(30)]
        await queue.eventually(lambda: jobs_of(slurm).count("\n") == 30)
        late = [asyncio.create_task(queue.run("sleep 300")) for _ in range(10)]
        await asyncio.sleep(0.03)  # their submission is under way
        for job in jobs + late:
            job.cancel()
        await asyncio.gather(*jobs, *late, return_exceptions=True)
        assert await queue.stop() == []

    with up(tmp_path) as queue:
        queue.do(check(queue))
    assert scancel.calls <= 2
    wait_until(lambda: not jobs_of(slurm))


def test_what_could_not_be_cancelled_is_listed_with_the_command_that_does_it(
    tmp_path: Path, folder: Path, slurm: Slurm
) -> None:
    scancel = Tool(folder, "scancel")

    async def check(queue: Queued) -> list[str]:
        job = asyncio.create_task(queue.run("sleep 300"))
        await queue.eventually(lambda: jobs_of(slurm))
        scancel.fail.touch()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        left = await queue.stop()
        scancel.fail.unlink()
        return left

    with up(tmp_path) as queue:
        (left,) = queue.do(check(queue))
    assert scancel.calls > 2
    slurm.said(left.split("If it still runs: ")[1])
    wait_until(lambda: not jobs_of(slurm))


def test_what_an_earlier_run_left_in_the_queue_is_cancelled(tmp_path: Path, slurm: Slurm) -> None:
    async def leave(queue: Queued) -> None:
        queue.session._cancels.add = lambda job, id: None  # type: ignore[method-assign] - it was killed
        job = asyncio.create_task(queue.run("sleep 300"))
        await queue.eventually(lambda: jobs_of(slurm))
        job.cancel()

    async def find(queue: Queued) -> None:
        assert len(await queue.site.sweep()) == 1
        await queue.eventually(lambda: not jobs_of(slurm))

    with up(tmp_path, "earlier") as queue:
        queue.do(leave(queue))
    with up(tmp_path, "later") as queue:
        queue.do(find(queue))


def test_an_interrupted_run_leaves_nothing_in_the_queue(tmp_path: Path, slurm: Slurm) -> None:
    snakefile = """
    rule all:
        input: expand("out/{i}", i=range(5))
    rule count:
        output: "out/{i}"
        shell: "sleep 300; touch {output}"
    """
    work = write_workflow(tmp_path, snakefile, CLUSTER)
    running = subprocess.Popen(
        command("--jobs", "5"), cwd=work, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_until(lambda: slurm.said("squeue -h -t R").count("\n") == 5)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=30)[0].decode()
    assert "Left behind" not in said
    wait_until(lambda: not jobs_of(slurm), 10)


@pytest.fixture(scope="module")
def login(slurm: Slurm) -> Iterator[Login]:
    """A login host of the cluster."""
    with Login(slurm.env) as host:
        yield host


def stack(login: Login, workdir: Path) -> dict[str, Deployment]:
    """The cluster through its login host."""
    options = SshOptions(
        nodes=(login.address,), username="root", ssh_key=str(login.key), known_hosts=str(login.known_hosts)
    )
    outer = cluster(workdir)
    wraps = Deployment(outer.name, outer.type, outer.options, workdir=outer.workdir, wraps=Wraps("login"))
    return {"login": Deployment("login", "ssh", options), "cluster": wraps}


def test_jobs_survive_connections_that_break_and_run_once(tmp_path: Path, login: Login, slurm: Slurm) -> None:
    async def check(queue: Queued) -> None:
        mark = tmp_path / "mark"
        mark.mkdir()
        jobs = [
            asyncio.create_task(queue.run(f"echo x >>'{mark}/{n}'; sleep {n % 3}; exit {n % 4}")) for n in range(20)
        ]
        end = time.monotonic() + 6
        while time.monotonic() < end:
            await asyncio.sleep(0.7)
            login.cut()
        assert [end.code for end in await asyncio.gather(*jobs)] == [n % 4 for n in range(20)]
        assert [(mark / str(n)).read_text() for n in range(20)] == ["x\n"] * 20

    with queued(stack(login, tmp_path / "site"), tmp_path) as queue:
        queue.do(check(queue))


WRAPPING = """\
version: v1.0
bindings:
  - {rule: "[cj]*", target: {deployment: cluster, service: main}}
deployments:
  login:
    type: ssh
    config: {nodes: ["ADDRESS"], username: root, sshKey: KEY, knownHosts: KNOWN}
  cluster:
    type: slurm
    wraps: login
    filesystem: controller
    workdir: SITES/cluster
    config: {services: {main: {partition: main}}}
"""


def test_through_a_login_host_with_and_without_the_controllers_files(
    tmp_path: Path, login: Login, slurm: Slurm
) -> None:
    companion = WRAPPING.replace("ADDRESS", login.address).replace("KEY", str(login.key))
    companion = companion.replace("KNOWN", str(login.known_hosts))
    shared = companion.replace("    workdir: SITES/cluster\n", "")
    run = run_workflow(tmp_path, THREE_RULES, shared, prepare=inputs)
    assert run.jobs("cluster/main") == 4
    assert run.sent_mb("cluster/main") == run.fetched_mb("cluster/main") == 0
    rules = THREE_RULES.replace("hostname >results/host; ", "")
    write_workflow(tmp_path, rules, companion.replace("    filesystem: controller\n", ""))
    own = again(tmp_path, "--forceall")
    assert own.jobs("cluster/main") == 4
    assert (tmp_path / "sites/cluster/results/a.count").exists()

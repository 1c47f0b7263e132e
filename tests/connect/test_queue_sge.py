"""Grid Engine for real, through ssh."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.errors import SubmitError
from snakemake_executor_plugin_streamflow.model import Deployment, SgeOptions, SgeService, SshOptions, Wraps
from snakemake_executor_plugin_streamflow.remote.job import JobEnd

from ..executor.running import run_workflow
from ..servers import sge as servers
from ..servers.sge import Sge
from .queueing import Queued, queued
from .test_queue_slurm import THREE_RULES, inputs

sge = servers.sge

COMPANION = """\
version: v1.0
bindings:
  - {rule: "[cj]*", target: {deployment: cell}}
deployments:
  login:
    type: ssh
    config: {nodes: ["ADDRESS"], username: root, sshKey: KEY, knownHosts: KNOWN}
  cell:
    type: sge
    wraps: login
    workdir: /srv/run
    config: {services: {all: {queue: all.q}}}
"""


@pytest.fixture(scope="module")
def queue(sge: Sge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queued]:
    """The cell, up."""
    login = SshOptions(nodes=(sge.hosts[0],), username="root", ssh_key=str(sge.key), known_hosts=str(sge.known_hosts))
    deployments = {
        "login": Deployment("login", "ssh", login),
        "cell": Deployment(
            "cell", "sge", SgeOptions(services={"all": SgeService(queue="all.q")}), workdir=PurePosixPath("/srv/q"),
            wraps=Wraps("login"),
        ),
    }  # fmt: skip
    with queued(deployments, tmp_path_factory.mktemp("here")) as found:
        yield found


def test_a_workflow_runs_through_ssh_and_the_queue(tmp_path: Path, sge: Sge) -> None:
    companion = COMPANION.replace("ADDRESS", sge.hosts[0]).replace("KEY", str(sge.key))
    companion = companion.replace("KNOWN", str(sge.known_hosts))
    rules = THREE_RULES.replace("$SLURM_CPUS_PER_TASK $SLURM_MEM_PER_NODE", "$NSLOTS $QUEUE")
    rules = rules.replace("hostname >results/host; ", "")
    run = run_workflow(tmp_path, rules, companion, prepare=inputs)
    assert (run.work / "results/report.txt").read_text() == "2 all.q 3\n" * 3
    assert run.jobs("cell/all") == 4


def test_ends_are_told_apart(queue: Queued, sge: Sge) -> None:
    async def check() -> None:
        codes = [asyncio.create_task(queue.run(f"exit {code}")) for code in (0, 7)]
        assert [(await end).code for end in codes] == [0, 7]
        late = asyncio.create_task(queue.ended("sleep 300", extra="-l h_rt=3"))
        deleted = asyncio.create_task(queue.ended("sleep 301"))
        await queue.eventually(lambda: sge.said("qstat -s r -u root").count("sf-") == 2)
        (out,) = (o for o in queue.session._out.values() if o.spec.commands[0].text == "sleep 301")
        await queue.eventually(lambda: out.tracked)
        assert out.tracked is not None
        sge.said(f"qdel {out.tracked.id}")
        end = await deleted
        assert isinstance(end, JobEnd)
        assert end.code > 128
        assert "cancelled in the queue" in end.reason
        end = await late
        assert isinstance(end, JobEnd)
        assert end.code > 128
        assert "time limit" in end.reason

    queue.do(check())


def test_a_refused_submission_carries_the_words_of_the_tool(queue: Queued) -> None:
    async def check() -> None:
        with pytest.raises(SubmitError, match=r"(?s)did not take job.*unknown resource"):
            await queue.run("true", extra="-l nosuch=1")

    queue.do(check())


def test_cancelled_jobs_leave_the_queue(queue: Queued, sge: Sge) -> None:
    async def check() -> None:
        jobs = [asyncio.create_task(queue.run("sleep 300")) for _ in range(6)]
        await queue.eventually(lambda: sge.said("qstat -u root").count("sf-") == 6)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await queue.eventually(lambda: "sf-" not in sge.said("qstat -u root"))

    queue.do(check())

"""HTCondor for real, in a container.

Its own time limit is not tried: it looks at limits when it likes, here after seconds or not within minutes. Ours holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.errors import JobInterrupted, SubmitError
from snakemake_executor_plugin_streamflow.model import Deployment, DockerOptions, Wraps
from snakemake_executor_plugin_streamflow.model.queue_options import HtcondorOptions, HtcondorService
from snakemake_executor_plugin_streamflow.remote.job import JobEnd

from ..executor.running import run_workflow
from ..servers.docker import docker_engine  # noqa: F401 - fixture
from ..servers.htcondor import Htcondor, htcondor  # noqa: F401 - fixture
from .queueing import Queued, queued
from .test_queue_slurm import THREE_RULES, inputs

COMPANION = """\
version: v1.0
bindings:
  - {rule: "[cj]*", target: {deployment: pool}}
deployments:
  submit:
    type: docker
    workdir: /home/worker/run
    config: {containerId: CONTAINER, user: worker, dockerHost: ENGINE}
  pool:
    type: htcondor
    wraps: submit
"""


@pytest.fixture(scope="module")
def queue(htcondor: Htcondor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queued]:
    """The pool's one service."""
    box = DockerOptions(container_id=htcondor.id, user="worker", docker_host=htcondor.engine)
    services = {"any": HtcondorService(submit={"rank": "Memory"})}
    deployments = {
        "submit": Deployment("submit", "docker", box),
        "pool": Deployment(
            "pool", "htcondor", HtcondorOptions(services=services), workdir=PurePosixPath("/home/worker/q"),
            wraps=Wraps("submit"),
        ),
    }  # fmt: skip
    with queued(deployments, tmp_path_factory.mktemp("here")) as found:
        yield found


def test_a_workflow_runs_through_a_container_and_the_queue(tmp_path: Path, htcondor: Htcondor) -> None:
    companion = COMPANION.replace("CONTAINER", htcondor.id).replace("ENGINE", htcondor.engine)
    rules = THREE_RULES.replace("$SLURM_CPUS_PER_TASK $SLURM_MEM_PER_NODE", "$OMP_NUM_THREADS $(hostname)")
    run = run_workflow(tmp_path, rules.replace("hostname >results/host; ", ""), companion, prepare=inputs)
    assert (run.work / "results/report.txt").read_text() == "2 pool 3\n" * 3
    assert run.jobs("pool") == 4


def test_ends_are_told_apart(queue: Queued, htcondor: Htcondor) -> None:
    """All at once: each takes the pool some seconds."""

    async def id_of(text: str) -> str:
        (out,) = (o for o in queue.session._out.values() if o.spec.commands[0].text == text)
        await queue.eventually(lambda: out.tracked and out.tracked.id)
        assert out.tracked is not None
        await queue.eventually(lambda: htcondor.said(f"condor_q {out.tracked.id} -af JobStatus").strip() == "2", 60)
        await asyncio.sleep(2)
        return out.tracked.id

    async def check() -> None:
        codes = [asyncio.create_task(queue.run(f"exit {code}")) for code in (0, 7)]
        removed = asyncio.create_task(queue.ended("sleep 301"))
        taken = asyncio.create_task(queue.ended("sleep 302"))
        text = "sleep 303 & sleep 304"
        late = asyncio.create_task(queue.site.run(queue.spec(text, limit_s=3)))
        assert [(await end).code for end in codes] == [0, 7]
        htcondor.said(f"condor_rm {await id_of('sleep 301')}")
        end = await removed
        assert isinstance(end, JobEnd)
        assert end.code > 128
        assert "cancelled in the queue" in end.reason
        htcondor.said(f"condor_vacate_job -fast {await id_of('sleep 302')}")
        assert isinstance(await taken, JobInterrupted)
        end = await late
        assert end.over
        assert end.code > 128
        assert "sleep 30" not in htcondor.said("ps ax")
        await queue.eventually(lambda: "sleep" not in htcondor.said("condor_q -af:h Args"), 30)

    queue.do(check())


def test_a_refused_submission_carries_the_words_of_the_tool(queue: Queued) -> None:
    async def check() -> None:
        with pytest.raises(SubmitError, match=r"(?s)did not take job.*RequestCpus"):
            await queue.run("true", extra="request_cpus = (")

    queue.do(check())


def test_cancelled_jobs_leave_the_queue(queue: Queued, htcondor: Htcondor) -> None:
    async def check() -> None:
        jobs = [asyncio.create_task(queue.run("sleep 300")) for _ in range(6)]
        await queue.eventually(lambda: htcondor.said("condor_q -af ClusterId").count("\n") == 6)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await queue.eventually(lambda: not htcondor.said("condor_q -af ClusterId"))

    queue.do(check())

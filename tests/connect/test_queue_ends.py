"""How jobs of a real Slurm end: each end is told as what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.errors import JobInterrupted, SubmitError
from snakemake_executor_plugin_streamflow.model import Deployment, SlurmOptions, SlurmService
from snakemake_executor_plugin_streamflow.remote.job import JobEnd

from ..servers import slurm as servers
from ..servers.slurm import Slurm
from .queueing import Queued, queued

slurm = servers.slurm


def cluster(workdir: Path | None = None, **options: object) -> Deployment:
    """A deployment of the test cluster."""
    services = {"main": SlurmService(partition="main")}
    where = PurePosixPath(workdir) if workdir else None
    return Deployment("cluster", "slurm", SlurmOptions(services=services, **options), workdir=where)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def queue(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queued]:
    """The service `main`, with a folder of its own."""
    top = tmp_path_factory.mktemp("queue")
    with queued({"cluster": cluster(top)}, top) as found:
        yield found


def test_ends_that_the_queue_brings_about_are_told_apart(queue: Queued, slurm: Slurm) -> None:
    """Slow on the queue's side, so all at once: a node that is lost takes some 10 s, a time limit half a minute."""

    async def check() -> None:
        begun = Path(queue.site.facts.workdir / "begun")
        late = f"echo >'{begun}'; sleep 300"
        out_of_time = asyncio.create_task(queue.ended(late, runtime=2, extra="--nodelist=n2"))
        lost = asyncio.create_task(queue.ended("sleep 300", extra="--nodelist=n3"))
        fill = 'a=x; while :; do a="$a$a"; done'
        memory = asyncio.create_task(queue.ended(fill, mem_mb=20, extra="--nodelist=n1"))
        cancelled = asyncio.create_task(queue.ended("sleep 301"))
        await queue.eventually(lambda: slurm.said("squeue -h -t R").count("\n") >= 3)
        slurm.kill_node(3)
        slurm.said(f"scancel {id_of(queue, slurm, 'sleep 301')}")
        await queue.eventually(begun.exists)
        await asyncio.sleep(1)  # Slurm itself must have heard that it runs
        slurm.said(f"scontrol update jobid={id_of(queue, slurm, late)} EndTime=$(date -d '+2 sec' +%FT%T)")

        end = await memory
        assert isinstance(end, JobEnd)
        assert end.code > 128 or "memory" in end.reason
        end = await cancelled
        assert isinstance(end, JobEnd)
        assert end.code > 128
        assert "cancelled in the queue (CANCELLED" in end.reason
        error = await lost
        assert isinstance(error, JobInterrupted)
        assert error.transient
        assert "lost its node (NODE_FAIL" in str(error)
        slurm.start(3)
        end = await out_of_time
        assert isinstance(end, JobEnd)
        assert end.code > 128
        assert "time limit (TIMEOUT" in end.reason
        slurm.wait()

    queue.do(check())


def id_of(queue: Queued, slurm: Slurm, text: str) -> str:
    """Slurm's id of the job that runs a command."""
    (name,) = (job for job, out in queue.session._out.items() if out.spec.commands[0].text == text)
    return slurm.said(f"squeue -h -o %i -n {name}").strip()


def test_a_preempted_job_is_told_as_such(queue: Queued, slurm: Slurm) -> None:
    async def check() -> None:
        victim = asyncio.create_task(queue.ended("sleep 300", threads=4, nodes=3, tasks=3))
        await queue.eventually(lambda: "R" in slurm.said("squeue -h -t R"))
        urgent = asyncio.create_task(queue.ended("true", threads=4, nodes=3, tasks=3, partition="urgent"))
        error = await victim
        assert isinstance(error, JobInterrupted)
        assert error.transient
        assert "was preempted (PREEMPTED" in str(error)
        assert await urgent == JobEnd(0)

    queue.do(check())


def test_a_refused_submission_carries_the_words_of_the_tool(queue: Queued) -> None:
    async def check() -> None:
        with pytest.raises(SubmitError, match=r"(?s)did not take job.*[Ii]nvalid partition") as caught:
            await queue.run("true", partition="nowhere")
        assert not caught.value.transient
        with pytest.raises(SubmitError, match=r"(?s)did not take job.*[Rr]equested node configuration"):
            await queue.run("true", mem_mb=999_999_999)

    queue.do(check())


def test_a_requeued_job_is_not_run_twice(queue: Queued, slurm: Slurm) -> None:
    async def check() -> None:
        mark = queue.site.facts.workdir / "requeue-mark"
        text = f"echo x >>'{mark}'; sleep 300"
        job = asyncio.create_task(queue.ended(text))
        await queue.eventually(Path(mark).exists)
        await asyncio.sleep(1)
        id = id_of(queue, slurm, text)
        slurm.said(f"scontrol update jobid={id} requeue=1; scontrol requeue {id}")
        error = await job
        assert isinstance(error, JobInterrupted)
        assert Path(mark).read_text() == "x\n"
        await queue.eventually(lambda: "CANCELLED" in slurm.said(f"squeue -h -t all -o %T -j {id}"))

    queue.do(check())


def test_100_submissions_are_one_request_and_one_status_call_serves_all(queue: Queued) -> None:
    async def check() -> None:
        asked = 0
        lane = queue.session._lanes[0]
        real = lane.ask

        async def counting(text: str, timeout_s: float):
            nonlocal asked
            asked += 1
            return await real(text, timeout_s)

        lane.ask = counting  # type: ignore[method-assign]
        before, loop = queue.session.asking.status_calls, asyncio.get_running_loop()
        started = loop.time()
        ends = await asyncio.gather(*(queue.run(f"exit {n % 2}") for n in range(100)))
        took = loop.time() - started
        lane.ask = real  # type: ignore[method-assign]
        assert [end.code for end in ends] == [0, 1] * 50
        assert asked == 1
        assert queue.session.asking.status_calls - before <= took / 0.5 + 1

    queue.do(check())

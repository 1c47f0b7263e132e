"""The session of a queue when connections break."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.connect.queue import Profile
from snakemake_executor_plugin_streamflow.connect.slurm import SlurmQueue
from snakemake_executor_plugin_streamflow.errors import CapacityError, Unreachable
from snakemake_executor_plugin_streamflow.remote.job import JobSpec
from snakemake_executor_plugin_streamflow.remote.lane import Lane
from snakemake_executor_plugin_streamflow.remote.queue_session import Out, QueueSession
from snakemake_executor_plugin_streamflow.remote.queue_watch import Tracked
from snakemake_executor_plugin_streamflow.remote.shell import Completed


def session(give_up_s: float) -> QueueSession:
    """A session with one job in the queue, and no connection."""

    async def open_shell() -> Channel:
        raise Unreachable("no route")

    async def gone() -> bool:
        return False

    found = QueueSession(
        "q", "/jobs", open_shell, lambda said: None,
        profile=Profile(SlurmQueue(), "q"), gone=gone, give_up_s=give_up_s,
    )  # fmt: skip
    spec = JobSpec("r-1-a-1", PurePosixPath("/"), [])
    found._out[spec.id] = Out(spec, "", asyncio.get_running_loop().create_future(), Tracked("17", found._now()))
    return found


def test_jobs_that_are_given_up_are_cancelled_or_named() -> None:
    async def do() -> None:
        there = session(give_up_s=0)
        (out,) = there._out.values()
        await there._insist(there._lanes[0], "true", 1)
        with pytest.raises(Unreachable, match="given up"):
            await out.done
        assert there._cancels.left() == {"r-1-a-1": "scancel 17"}

    asyncio.run(do())


def test_a_job_that_asks_for_nonsense_fails_alone() -> None:
    async def do() -> None:
        there = session(give_up_s=60)
        serving = asyncio.create_task(there.serve())
        odd = JobSpec("r-2-a-1", PurePosixPath("/"), [], resources={"gpu": "a100:2"})
        with pytest.raises(CapacityError, match="gpus or gpu or nvidia_gpu is no number for a slurm queue: 'a100:2'"):
            await there.run(odd)
        assert not any(out.done.done() for out in there._out.values())
        serving.cancel()

    asyncio.run(do())


def test_what_other_runs_left_is_cancelled_only_when_it_is_known_which_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    async def ask(_: Lane, text: str, timeout_s: float) -> Completed:
        texts.append(text)
        return Completed(0, b"=O dead-1-a-1\nq\n18\n=\n=O dead-2-a-1\nq\n19\n=\n" if "=O" in text else b"")

    async def do() -> None:
        there = session(give_up_s=60)
        serving = asyncio.create_task(there.serve())
        await asyncio.sleep(0.3)
        assert not any("=O" in text or "scancel" in text for text in texts)
        assert await there.sweep(["r", "alive"], {"dead-2-a-1"}) == ["dead-1-a-1"]
        assert "'r'-*|'alive'-*" in texts[-1]
        await asyncio.sleep(0.2)
        assert any("scancel 18" in text for text in texts)
        assert not any("scancel 19" in text for text in texts)
        serving.cancel()

    monkeypatch.setattr(Lane, "ask", ask)
    asyncio.run(do())


def test_where_an_answer_was_lost_all_jobs_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    async def ask(_: Lane, text: str, timeout_s: float) -> Completed:
        texts.append(text)
        if len(texts) == 1:
            raise Unreachable("it broke")
        return Completed(0, b"")

    async def do() -> None:
        watching = asyncio.create_task(session(give_up_s=60)._watch())
        async with asyncio.timeout(10):
            while len(texts) < 4:
                await asyncio.sleep(0.02)
        watching.cancel()

    monkeypatch.setattr(Lane, "ask", ask)
    asyncio.run(do())
    assert ["r-1-a-1/looked" in text for text in texts[:4]] == [False, False, True, False]

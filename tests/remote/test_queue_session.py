"""The session of a queue when connections break."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.connect.queue import Profile
from snakemake_executor_plugin_streamflow.connect.slurm import SlurmQueue
from snakemake_executor_plugin_streamflow.errors import Unreachable
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
        profile=Profile(SlurmQueue(), "q"), run="r", gone=gone, give_up_s=give_up_s,
    )  # fmt: skip
    spec = JobSpec("r-1-a-1", PurePosixPath("/"), [])
    found._out[spec.id] = Out(spec, asyncio.get_running_loop().create_future(), Tracked("17", found._now()))
    return found


def test_jobs_that_are_given_up_are_cancelled_or_named() -> None:
    async def do() -> None:
        there = session(give_up_s=0)
        (out,) = there._out.values()
        await there._sweep()
        with pytest.raises(Unreachable, match="given up"):
            await out.done
        assert there._cancels.left() == {"r-1-a-1": "scancel 17"}

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

"""A queue deployment that is up, for tests: its site, and the loop that it lives in."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from snakemake_executor_plugin_streamflow.connect.lifecycle import Lifecycle
from snakemake_executor_plugin_streamflow.errors import SiteError
from snakemake_executor_plugin_streamflow.model import Companion, Deployment
from snakemake_executor_plugin_streamflow.remote.job import Command, JobEnd, JobSpec
from snakemake_executor_plugin_streamflow.remote.queue_session import QueueSession
from snakemake_executor_plugin_streamflow.site import Site

T = TypeVar("T")


class Queued:
    """One location of a queue. `said` is what it logged."""

    def __init__(self, runner: asyncio.Runner, site: Site, said: list[str]) -> None:
        self._runner = runner
        self.site = site
        self.said = said
        assert isinstance(site.session, QueueSession)
        self.session = site.session
        self._serving: asyncio.Task[None] | None = None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop of the session."""
        return self._runner.run(work)

    def spec(self, text: str, **more: Any) -> JobSpec:
        """A job of one command for sh."""
        spec = JobSpec(f"q.{secrets.token_hex(6)}", self.site.facts.workdir, [Command(text, shell="sh")])
        return replace(spec, **more)

    async def run(self, text: str, *, timeout_s: float = 60, **resources: int | str) -> JobEnd:
        """Run a job and return its end."""
        async with asyncio.timeout(timeout_s):
            return await self.site.run(self.spec(text, resources=resources))

    async def ended(self, text: str, *, timeout_s: float = 120, **resources: int | str) -> JobEnd | SiteError:
        """Run a job and return its end, or the error."""
        try:
            return await self.run(text, timeout_s=timeout_s, **resources)
        except SiteError as error:
            return error

    async def eventually(self, condition: Callable[[], object], timeout_s: float = 30) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.05)

    async def start(self) -> None:
        """Serve the session."""
        self._serving = asyncio.create_task(self.session.serve())

    async def stop(self) -> list[str]:
        """Close everything."""
        left = await self.site.close()
        assert self._serving is not None
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        return left


@contextmanager
def queued(deployments: Mapping[str, Deployment], here: Path, run: str | None = None) -> Iterator[Queued]:
    """Bring up the last of some deployments, with the first of its services."""
    companion = Companion(Path("streamflow.yml"), deployments=deployments)
    log = logging.getLogger("streamflow.tests")
    lifecycle = Lifecycle(companion, run or f"t{secrets.token_hex(3)}", log)
    said: list[str] = []

    async def up() -> Queued:
        connector = await lifecycle.up(list(deployments)[-1])
        location = (await connector.locations(None))[0]
        site = await Site.open(connector, location, here=PurePosixPath(here), key="queue", limit=4, log=said.append)
        found = Queued(runner, site, said)
        await found.start()
        return found

    async def down(found: Queued | None) -> None:
        if found is not None:
            await found.stop()
        assert await lifecycle.down() == []

    with asyncio.Runner() as runner:
        found = None
        try:
            found = runner.run(up())
            yield found
        finally:
            runner.run(down(found))

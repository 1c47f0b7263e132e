"""Starts commands at the other locations of a job that has several; see `remote/launch.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from .connect.base import Channel
from .errors import SiteError
from .remote.job import JobSpec
from .remote.launch import ANSWER, DELIVER, END, MARK, NAME, START, WATCH, elsewhere
from .remote.quote import decode, quote
from .site import Site

_AGAIN_S = 1.0
"""Before the watch at the first location is set up again."""
_END_S = 3.0
"""How long ending what was left at one location may take."""


@asynccontextmanager
async def launching(sites: Sequence[Site], spec: JobSpec, log: Callable[[str], None]) -> AsyncIterator[None]:
    """Serve a job's launcher while it runs; afterwards nothing that it started is left.

    Args:
        sites: those of the job's locations, the one that runs it first.
    """
    if len(sites) < 2:
        yield
        return
    launcher = _Launcher(sites, spec, log)
    serving = asyncio.create_task(launcher.serve())
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await launcher.end()


class _Launcher:
    def __init__(self, sites: Sequence[Site], spec: JobSpec, log: Callable[[str], None]) -> None:
        self._sites = {site.location.reach: site for site in sites}
        self._first = sites[0]
        self._spec = spec
        self._log = log
        self._directory = self._first.directory(spec.id)
        self._used: set[Site] = set()

    async def serve(self) -> None:
        """Serve each request once, until cancelled."""
        served: set[str] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    async for name in self._requests():
                        if NAME.fullmatch(name) and name not in served:
                            served.add(name)
                            group.create_task(self._serve(name))
                except SiteError as error:
                    self._log(f"{self._first.location.name}: nobody watches the launcher of {self._spec.id}: {error}")
                await asyncio.sleep(_AGAIN_S)

    async def end(self) -> None:
        """End what is left of all that was started."""
        await asyncio.gather(*(self._end(site, f"{self._spec.id}:") for site in self._used))

    async def _requests(self) -> AsyncIterator[str]:
        buffer = b""
        async with await self._open(self._first, WATCH, self._directory) as channel:
            try:
                while data := await channel.read():
                    *lines, buffer = (buffer + data).split(b"\n")
                    for line in lines:
                        yield decode(line)
            finally:
                with suppress(SiteError):
                    await channel.close_stdin()  # its end, where a process outlives its channel

    async def _serve(self, name: str) -> None:
        folder, first = f"{self._directory}/{name}", self._first
        try:
            host, _, command = (await first.shells.ask(f"cat {quote(folder)}/command")).text.partition("\n")
            async with await self._open(first, DELIVER, folder) as answer:
                code, errors = await self._run(name, host, command, answer)
                self._log(f"{self._spec.id}: {name} at {host} ended with code {code}")
                await first.shells.ask(ANSWER, folder, str(code), errors)
                await answer.close_stdin()
                await answer.wait()
        except SiteError as error:  # who has asked sees that there is no code
            self._log(f"{self._spec.id}: {name} gets no answer: {error}")

    async def _run(self, name: str, host: str, command: str, answer: Channel) -> tuple[int, str]:
        """Run a command at a location, as long as somebody waits for it."""
        site = self._sites.get(host)
        if site is None:
            return 255, f"{host} is no location of this job; these are: {', '.join(self._sites)}\n"
        self._log(f"{self._spec.id}: {name} at {host}: {command}")
        self._used.add(site)
        mark = f"{self._spec.id}:{name}:"
        try:
            async with await self._open(site, START, str(site.facts.workdir), command, mark=mark) as there:
                running = asyncio.create_task(_carry(there, answer))
                wanted = asyncio.create_task(answer.wait())
                try:
                    await asyncio.wait([running, wanted], return_when=asyncio.FIRST_COMPLETED)
                    if not running.done():
                        await self._end(site, mark)
                        return 255, ""
                    return await running, decode(there.errors).replace("\0", "")  # no argument can have it
                finally:
                    for task in (running, wanted):
                        task.cancel()
                    await asyncio.gather(running, wanted, return_exceptions=True)
        except SiteError as error:
            return 255, f"{error}\n"

    async def _open(self, site: Site, text: str, *args: str, mark: str = "") -> Channel:
        env = {**elsewhere(self._spec.env), MARK: mark} if mark else None
        return await site.connector.open(site.location, ["sh", "-c", text, "sh", *args], env)

    async def _end(self, site: Site, mark: str) -> None:
        with suppress(SiteError, TimeoutError):
            async with asyncio.timeout(_END_S):
                await site.shells.ask(END, f"{MARK}={mark}")


async def _carry(source: Channel, target: Channel) -> int:
    await source.close_stdin()
    while data := await source.read():
        await target.write(data)
    return await source.wait()

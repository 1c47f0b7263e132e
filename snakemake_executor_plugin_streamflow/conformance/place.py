"""A location under test, and a connector around the real one that counts, cuts and corrupts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ..connect.base import Channel, Connector, Entrance, Through
from ..connect.queue import Profile
from ..errors import Unreachable
from ..model import Location
from ..move.here import Here
from ..move.there import There
from ..remote.job import Command, JobEnd, JobSpec
from ..remote.quote import quote
from ..site import Site

T = TypeVar("T")


class Watched(Connector):
    """Opens channels through another connector and keeps them.

    Attributes:
        env: for each process, beside what is asked for.
        cut_after_b: channels opened from now on break after so many bytes in one direction; None: never.
        flip: the last byte of the first occurrence of these bytes is changed on its way, once.
        read_b, written_b, writes: counts over all channels.
    """

    def __init__(self, real: Connector, env: Mapping[str, str]) -> None:
        super().__init__(real.deployment, run=real.run, inner=real.inner, log=real.log)
        self.real = real
        self.env = env
        self.channels: list[WatchedChannel] = []
        self.cut_after_b: int | None = None
        self.flip: bytes | None = None
        self.read_b = self.written_b = self.writes = 0

    async def deploy(self) -> None:
        await self.real.deploy()

    async def undeploy(self) -> None:
        await self.real.undeploy()

    async def locations(self, service: str | None) -> Sequence[Location]:
        return await self.real.locations(service)

    def profile(self, location: Location) -> Profile | None:
        return self.real.profile(location)

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        channel = WatchedChannel(self, await self.real.open(location, argv, {**self.env, **(env or {})} or None))
        self.channels.append(channel)
        return channel

    def entrance(self, location: Location) -> Entrance | None:
        return self.real.entrance(location)

    def control(self) -> list[WatchedChannel]:
        """The channels of sessions that are open."""
        return [channel for channel in self.channels if channel.control and not channel.broken]

    def data(self) -> list[WatchedChannel]:
        """The other channels that are open."""
        return [channel for channel in self.channels if not channel.control and not channel.broken]


class WatchedChannel(Through):
    """A channel that can break and corrupt."""

    def __init__(self, watched: Watched, real: Channel) -> None:
        super().__init__(real)
        self._watched = watched
        self._left = watched.cut_after_b
        self._in_left = watched.cut_after_b
        self.control = False
        self.broken = False

    async def read(self) -> bytes:
        data = await self._real.read()
        if self.broken:
            raise Unreachable("the connection was cut")
        self._watched.read_b += len(data)
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                await self.cut()
                raise Unreachable("the connection was cut")
        return self._flipped(data)

    async def write(self, data: bytes | memoryview) -> None:
        data = bytes(data)
        if self.broken:
            raise Unreachable("the connection was cut")
        self.control = self.control or b"sf_start()" in data or b"sf_end()" in data
        self._watched.writes += 1
        self._watched.written_b += len(data)
        if self._in_left is not None:
            if len(data) > self._in_left:
                await self._real.write(data[: self._in_left])
                await self.cut()
                raise Unreachable("the connection was cut")
            self._in_left -= len(data)
        await self._real.write(self._flipped(data))

    async def kill(self) -> None:
        self.broken = True
        await self._real.kill()

    async def cut(self) -> None:
        """Break the connection."""
        self.broken = True
        await self._real.kill()

    def cut_soon(self, after_b: int) -> None:
        """Break the connection after so many more bytes to the location."""
        self._in_left = after_b

    def _flipped(self, data: bytes) -> bytes:
        flip = self._watched.flip
        if flip and (at := data.find(flip)) >= 0:
            self._watched.flip = None
            last = at + len(flip) - 1
            return data[:last] + bytes([data[last] ^ 1]) + data[last + 1 :]
        return data


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended and what it printed."""

    code: int
    stdout: bytes
    stderr: bytes
    end: JobEnd


class Place:
    """A location that is up, its session served, and the loop it lives in.

    Attributes:
        sites: one for each location of the deployment under test.
        here: files of this machine.
        small: a directory on a filesystem of at most 8 MiB at the first location; None when there is none.
    """

    def __init__(self, runner: asyncio.Runner, connector: Watched, sites: Sequence[Site], here: Here) -> None:
        self._runner = runner
        self.connector = connector
        self.sites = sites
        self.here = here
        self.small: str | None = None
        self._serving: list[asyncio.Task[None]] = []

    @property
    def site(self) -> Site:
        """The first location."""
        return self.sites[0]

    @property
    def there(self) -> There:
        """Its files."""
        return self.site.shells

    @property
    def workdir(self) -> PurePosixPath:
        """Its working directory."""
        return self.site.facts.workdir

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop of the connector."""
        return self._runner.run(work)

    def local(self, name: str) -> Path:
        """A path of this machine below `here`; its parents exist."""
        path = Path(self.here.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def fresh(self) -> str:
        """A relative path that nothing has used."""
        return f"t-{secrets.token_hex(6)}"

    def job(self, text: str, **more: Any) -> JobSpec:
        """A job of one command for `sh`."""
        spec = JobSpec(id=f"c.{secrets.token_hex(8)}", workdir=self.workdir, commands=[Command(text, shell="sh")])
        return replace(spec, **more)

    async def run(self, text: str, **more: Any) -> Ended:
        """Run a job of one command for `sh`."""
        return await self.run_job(self.job(text, **more))

    async def run_job(self, spec: JobSpec, *, timeout_s: float = 60) -> Ended:
        """Run a job and read what it printed."""
        async with asyncio.timeout(timeout_s):
            end = await self.site.run(spec)
            folder = quote(self.site.directory(spec.id))
            stdout = (await self.there.ask(f"cat {folder}/stdout")).output
            stderr = (await self.there.ask(f"cat {folder}/stderr")).output
        self.site.session.forget(spec.id)
        return Ended(end.code, stdout, stderr, end)

    async def text(self, script: str) -> str:
        """Run shell text in the working directory, outside of a job; it must succeed."""
        done = await self.there.ask(script)
        assert done.code == 0, done.text
        return done.text

    async def eventually(self, script: str, wanted: str, *, timeout_s: float = 10) -> None:
        """Wait until shell text prints what is wanted."""
        end = asyncio.get_running_loop().time() + timeout_s
        while (said := (await self.there.ask(script)).text.strip()) != wanted:
            assert asyncio.get_running_loop().time() < end, f"{script}: {said!r}, not {wanted!r}"
            await asyncio.sleep(0.1)

    async def nothing_left(self) -> None:
        """Wait until no unfinished transfer lies about."""
        await self.eventually("ls -A .streamflow/in", "")

    async def start(self) -> None:
        """Serve the sessions."""
        for site in self.sites:
            self._serving.append(asyncio.create_task(site.session.serve()))

    async def stop(self) -> None:
        """Stop serving."""
        for site in self.sites:
            await site.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

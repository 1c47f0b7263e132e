"""This machine: in place, or sites of their own below a working directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from ..errors import DeployError, Unreachable
from ..model import CONTROLLER, Location
from .base import Channel, Connector

_CHUNK_B = 1 << 20
_TAIL_B = 64 * 1024


class LocalChannel(Channel):
    """A subprocess."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tail = b""
        self._drainer = asyncio.ensure_future(self._drain())

    @property
    def errors(self) -> bytes:
        return self._tail

    async def read(self) -> bytes:
        assert self._process.stdout
        return await self._process.stdout.read(_CHUNK_B)

    async def write(self, data: bytes | memoryview) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError, RuntimeError) as broken:
            raise Unreachable(f"the local process {self._process.pid} closed its input") from broken

    async def close_stdin(self) -> None:
        assert self._process.stdin
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.close()

    async def wait(self) -> int:
        code = await self._process.wait()
        await asyncio.wait([self._drainer], timeout=0.2)  # a daemon that the process left may hold the pipe open
        return code if code >= 0 else 128 - code

    async def kill(self) -> None:
        self._drainer.cancel()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)  # Popen's own would take the exit code from asyncio
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 1)
        transport = getattr(self._process, "_transport", None)
        if transport is not None and self._process.returncode is not None:
            transport.close()  # it would reap a living child itself, and so confuse asyncio's own watcher

    async def _drain(self) -> None:
        assert self._process.stderr
        while data := await self._process.stderr.read(_TAIL_B):
            self._tail = (self._tail + data)[-_TAIL_B:]


class LocalConnector(Connector):
    """Starts processes on this machine.

    Without a `workdir` jobs run in the workflow's working directory, on the filesystem `controller`: nothing moves.
    With one, each location is a folder `NAME` (or `NAME-N`) below it and has a filesystem of its own.
    """

    on_controller = True

    async def deploy(self) -> None:
        for location in await self.locations(None):
            if location.workdir is not None:
                try:
                    os.makedirs(location.workdir, exist_ok=True)
                except OSError as error:
                    raise DeployError(
                        f"{location.name}: cannot make its working directory {location.workdir}: {error.strerror}. "
                        "Set `workdir` to another one."
                    ) from error

    async def undeploy(self) -> None:
        return None

    async def locations(self, service: str | None) -> Sequence[Location]:
        name, workdir = self.deployment.name, self.deployment.workdir
        count = self.options.locations
        found = []
        for index in range(count):
            own = name if count == 1 else f"{name}/{index}"
            below: PurePosixPath | None = None
            if workdir is not None:
                below = workdir if count == 1 else workdir / str(index)
            spec = self.deployment.filesystem
            filesystem = spec.name if spec else own if workdir is not None else CONTROLLER
            found.append(
                Location(
                    name=own,
                    deployment=name,
                    service=service or "",
                    host=f"{os.uname().nodename}/{index}",
                    filesystem=filesystem,
                    workdir=below,
                    cores=self.options.cores,
                    memory_b=self.options.memory,
                    disk_b=self.options.disk,
                    custom=self.options.resources,
                    shared=spec.shared if spec else (),
                )
            )
        return found

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        try:
            process = await asyncio.create_subprocess_exec(
                *(os.fsencode(word) for word in argv),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **env} if env else None,
                start_new_session=True,  # Ctrl-C at the terminal is for Snakemake alone
                limit=4 * _CHUNK_B,
            )
        except OSError as error:
            raise Unreachable(
                f"{location.name}: cannot start {argv[0]!r}: {error.strerror}", transient=False
            ) from error
        return LocalChannel(process)

"""One Docker engine, here or at a location of an inner deployment: connections, requests, and the SDK's client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import requests
from docker import DockerClient
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env

from ..errors import DeployError, Unreachable
from ..model import CONTROLLER
from .base import Inner
from .docker_wire import USUAL_SOCKET, Address, Reply, Wire, parse_address
from .forwards import ForwardsSockets

T = TypeVar("T")

CONTROL_TIMEOUT_S = 600
FIRST_REPLY_TIMEOUT_S = 10


class Engine:
    """One Docker engine. Connects on first use; a forwarded socket that is gone is forwarded anew."""

    def __init__(self, docker_host: str | None, inner: Inner | None) -> None:
        self._docker_host = docker_host
        self._inner = None if inner is not None and inner.connector.deployment.type == "local" else inner
        self._site = inner.location if inner is not None else None
        self._address: Address | None = None
        self._answered = False
        self._finding = asyncio.Lock()
        self._client: DockerClient | None = None

    @property
    def filesystem(self) -> str | None:
        """The filesystem whose paths bind mounts show; None when the engine is somewhere else."""
        if self._site is not None:
            return self._site.filesystem
        return CONTROLLER if self._address is not None and self._address.local else None

    def command(self, text: str) -> str:
        """Return what a user types to have this engine do something."""
        if self._inner is not None:
            return f"`docker {text}` at {self._inner.location.name}"
        host = self._docker_host or os.environ.get("DOCKER_HOST")
        return f"`docker -H {host} {text}`" if host else f"`docker {text}`"

    async def wire(self) -> Wire:
        """Connect.

        Raises:
            Unreachable: nothing answers within 10 s.
            DeployError: the address is unusable, or the inner connector cannot forward sockets.
        """
        address = await self._find(None)
        try:
            wire = await Wire.connect(address)
        except Unreachable as error:
            if self._inner is None:  # one that has answered before may have been stopped for a while
                raise Unreachable(str(error), transient=error.transient or self._answered) from error
            wire = await Wire.connect(await self._find(address))
        self._answered = True
        return wire

    async def address(self) -> Address:
        """Return where its socket is, as seen from here; it is forwarded when need be.

        Raises:
            DeployError: see `wire`.
        """
        return await self._find(None)

    async def call(self, method: str, target: str, body: Any = None) -> Reply:
        """Send one request over a connection of its own.

        Raises:
            Unreachable, DeployError: see `wire`.
        """
        async with await self.wire() as wire:
            return await wire.request(method, target, body)

    async def client(self) -> DockerClient:
        """Return the SDK's client, connected.

        Raises:
            Unreachable, DeployError: see `wire`.
        """
        async with await self.wire() as wire:
            reply = await wire.request("GET", "/version", timeout_s=FIRST_REPLY_TIMEOUT_S)
        if not reply.ok:
            raise DeployError(f"the Docker engine does not tell its version: {reply.text}")
        if self._client is None:
            address = await self._find(None)
            self._client = await control(partial(_client, address, str(reply.json()["ApiVersion"])))
        return self._client

    async def folders(self) -> tuple[str, str]:
        """Return what `~` and `.` mean in source paths of mounts: (home, here) on the engine's host.

        Raises:
            Unreachable: the inner location does not answer.
        """
        if self._inner is None:
            workdir = self._site.workdir if self._site is not None else None
            return str(Path.home()), str(workdir or Path.cwd())
        async with await self._inner.connector.open(self._inner.location, ["sh", "-c", 'printf %s "$HOME"']) as channel:
            home = b""
            while data := await channel.read():
                home += data
        home_path = PurePosixPath(os.fsdecode(home))
        return str(home_path), str(self._inner.location.workdir or home_path)

    async def close(self) -> None:
        """Drop connections. Idempotent."""
        client, self._client, self._address = self._client, None, None
        if client is not None:
            await asyncio.to_thread(client.close)

    async def _find(self, useless: Address | None) -> Address:
        async with self._finding:
            if self._address is None or self._address is useless:
                self._address = await self._forward() if self._inner else parse_address(self._docker_host, os.environ)
            return self._address

    async def _forward(self) -> Address:
        assert self._inner is not None
        connector, location = self._inner.connector, self._inner.location
        if not isinstance(connector, ForwardsSockets):
            raise DeployError(
                f"a docker deployment cannot wrap {connector.deployment.name!r}: type {connector.deployment.type!r} "
                "does not forward sockets; wrap a deployment of type ssh or local"
            )
        wanted = parse_address(self._docker_host or f"unix://{USUAL_SOCKET}", {})
        target = str(wanted.path) if wanted.path else f"{wanted.host}:{wanted.port}"
        path = await connector.forward_socket(location, target)
        self._client = None
        return Address(f"unix://{path}", f"{target} of {location.name}", path=path, forwarded=True)


def _client(address: Address, version: str) -> DockerClient:
    tls = kwargs_from_env().get("tls", False) if address.tls else False
    client = DockerClient(base_url=address.url, version=version, tls=tls, timeout=CONTROL_TIMEOUT_S, max_pool_size=32)
    client.api.trust_env = False  # else REQUESTS_CA_BUNDLE wins over the engine's own certificates (requests#3829)
    return client


async def control(function: Callable[[], T], *, stop: threading.Event | None = None) -> T:
    """Run a blocking call of the SDK in a thread.

    When cancelled, wait for its end first, so that its effect is known; a call that leaves nothing behind is told to
    `stop` instead, and not waited for.

    Raises:
        DeployError: with the engine's words.
        Unreachable: the engine did not answer.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        if stop is not None:
            stop.set()
        while stop is None and not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise
    except APIError as error:
        raise DeployError(str(error.explanation or error), transient=error.is_server_error()) from error
    except (requests.RequestException, DockerException, OSError) as error:
        raise Unreachable(f"the Docker engine did not answer: {error}") from error

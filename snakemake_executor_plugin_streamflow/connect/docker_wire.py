"""The Docker engine's address, and HTTP to it over one plain socket on the event loop.

The Docker SDK blocks, and its stream of a running process cannot be half-closed or slowed down; what is called for
every job (`exec`, the list of containers) goes over this wire instead.
https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import asyncio
import errno
import getpass
import json
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from docker.errors import DockerException
from docker.utils import kwargs_from_env

from ..errors import DeployError, Unreachable
from .docker_tls import tls_socket

CONNECT_TIMEOUT_S = 10
REPLY_TIMEOUT_S = 30
USUAL_SOCKET = "/var/run/docker.sock"
READ_B = 256 * 1024
MAX_HEAD_B = 64 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens.

    Attributes:
        url: as the Docker SDK takes it.
        where: how messages name it.
        path: of a unix socket; None for TCP.
        tls: for TCP with certificates.
        forwarded: whether `path` leads to another machine.
    """

    url: str
    where: str
    path: Path | None = None
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None
    forwarded: bool = False

    @property
    def local(self) -> bool:
        """Whether the engine is on this machine."""
        return self.path is not None and not self.forwarded


def parse_address(text: str | None, environment: Mapping[str, str]) -> Address:
    """Return the address that an option or, without one, the environment gives.

    Raises:
        DeployError: nothing that we can speak to.
    """
    origin = "dockerHost" if text else "DOCKER_HOST"
    text = text or environment.get("DOCKER_HOST") or _usual_socket(environment)
    parts = urlsplit(text if "://" in text else f"unix://{text}" if text.startswith("/") else f"tcp://{text}")
    if parts.scheme == "unix":
        return Address(f"unix://{parts.path}", f"unix://{parts.path}", path=Path(parts.path))
    if parts.scheme in ("tcp", "http", "https") and parts.hostname:
        tls = _tls_context({**environment, "DOCKER_HOST": text})
        port = parts.port or (2376 if tls else 2375)
        scheme = "https" if tls else "http"
        return Address(f"{scheme}://{parts.hostname}:{port}", text, host=parts.hostname, port=port, tls=tls)
    advice = (
        "declare an ssh deployment, and let this one wrap it"
        if parts.scheme == "ssh"
        else "use unix://PATH or tcp://HOST:PORT"
    )
    raise DeployError(f"{origin} {text!r} is no address of a Docker engine that can be used here: {advice}")


def _usual_socket(environment: Mapping[str, str]) -> str:
    rootless = Path(environment.get("XDG_RUNTIME_DIR", "/nonexistent"), "docker.sock")
    return f"unix://{rootless}" if rootless.exists() and not Path(USUAL_SOCKET).exists() else f"unix://{USUAL_SOCKET}"


def _tls_context(environment: dict[str, str]) -> ssl.SSLContext | None:
    try:
        settings: Any = kwargs_from_env(environment).get("tls")
        if settings is None:
            return None
        context = ssl.create_default_context(cafile=settings.ca_cert)
        if not settings.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.cert:
            context.load_cert_chain(*settings.cert)
    except (OSError, DockerException) as error:
        where = environment.get("DOCKER_CERT_PATH") or "~/.docker"
        message = f"cannot use the certificates for the Docker engine ({where}: ca.pem, cert.pem, key.pem): {error}"
        raise DeployError(message) from error
    return context


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the engine."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the engine did what it was asked."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The engine's words when it refuses."""
        try:
            return str(json.loads(self.body)["message"])
        except (ValueError, KeyError, TypeError):
            return self.body.decode("utf-8", "replace").strip() or f"status {self.status}"

    def json(self) -> Any:
        """Return the value that the body holds."""
        return json.loads(self.body)


class Wire:
    """One connection to an engine: requests one after another, at last perhaps a raw stream."""

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self.sock = sock
        self.address = address
        self._rest = bytearray()

    @classmethod
    async def connect(cls, address: Address) -> Self:
        """Connect to an engine.

        Raises:
            Unreachable: not within 10 s, or refused; the message says what to do.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return cls(await _connect(address), address)
        except (OSError, TimeoutError) as error:
            raise unreachable(address, error) from error

    async def request(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        upgrade: bool = False,
        timeout_s: float = REPLY_TIMEOUT_S,
    ) -> Reply:
        """Send a request and return the answer.

        With `upgrade`, an answer with status 101 makes the connection a raw stream: `detach` gives what came with it.

        Raises:
            Unreachable: the connection broke, or there was no answer in time.
        """
        data = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {target} HTTP/1.1", "Host: docker", "Accept: application/json"]
        head += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        head += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else []
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_sendall(self.sock, "\r\n".join([*head, "", ""]).encode() + data)
                return await self._reply(upgrade)
        except (OSError, TimeoutError, EOFError, ValueError) as error:
            reason = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else error
            raise Unreachable(
                f"the Docker engine at {self.address.where} broke off {method} {target}: {reason}"
            ) from error

    def detach(self) -> bytes:
        """Return the first bytes of the raw stream; the socket is the caller's from now on."""
        return bytes(self._rest)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self.sock.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def _reply(self, upgrade: bool) -> Reply:
        head = (await self._until(b"\r\n\r\n", MAX_HEAD_B)).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if status == 101 or (upgrade and status == 200):
            return Reply(status, b"")
        if fields.get("transfer-encoding", "").lower() == "chunked":
            return Reply(status, await self._chunks())
        if "content-length" in fields:
            return Reply(status, await self._exactly(int(fields["content-length"])))
        return Reply(status, b"" if status in (204, 304) else await self._to_end())

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self._until(b"\r\n", MAX_HEAD_B)).split(b";")[0], 16):
            body += (await self._exactly(size + 2))[:-2]
        await self._until(b"\r\n", MAX_HEAD_B)
        return body

    async def _until(self, mark: bytes, limit: int) -> bytes:
        while (found := self._rest.find(mark)) < 0:
            if len(self._rest) > limit:
                raise ValueError("that is not an answer of a Docker engine")
            await self._more()
        taken = bytes(self._rest[:found])
        del self._rest[: found + len(mark)]
        return taken

    async def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            await self._more()
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

    async def _to_end(self) -> bytes:
        try:
            while True:
                await self._more()
        except EOFError:
            return await self._exactly(len(self._rest))

    async def _more(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self.sock, READ_B)
        if not data:
            raise EOFError("the connection ended before the answer did")
        self._rest += data


async def _connect(address: Address) -> socket.socket:
    if address.path is not None:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        while True:
            try:
                sock.connect(os.fspath(address.path))
                return sock
            except BlockingIOError:  # the listener's backlog is full: unix(7) does not queue us then
                await asyncio.sleep(0.01)
            except BaseException:
                sock.close()
                raise
    if address.tls is not None:
        return await tls_socket(address.host, address.port, address.tls)
    sock = await asyncio.to_thread(socket.create_connection, (address.host, address.port), CONNECT_TIMEOUT_S)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def unreachable(address: Address, error: BaseException) -> Unreachable:
    """Return the error that says why no engine answers, and what can be done."""
    code = error.errno if isinstance(error, OSError) else None
    reason = f"no answer within {CONNECT_TIMEOUT_S} s" if isinstance(error, TimeoutError) else str(error)
    if code in (errno.EACCES, errno.EPERM):
        advice = f"let the user in (`sudo usermod -aG docker {getpass.getuser()}`, then log in again)"
    elif address.path is not None:
        advice = "start it (`sudo systemctl start docker`), or name another one by dockerHost or DOCKER_HOST"
    else:
        advice = "check that it listens there and is let through, or name another one by dockerHost or DOCKER_HOST"
    permanent = code in (errno.EACCES, errno.EPERM, errno.ENOENT) or isinstance(error, ssl.SSLError)
    return Unreachable(f"no Docker engine answers at {address.where}: {reason}; {advice}", transient=not permanent)

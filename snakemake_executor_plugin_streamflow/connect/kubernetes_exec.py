"""A process in a container of a pod: the websocket of `pods/exec`.

Each message starts with a byte that says which stream it belongs to; the last one is the process's end, as a Status.
`v5.channel.k8s.io` can close standard input alone; for older servers a small reader in the container takes input in
pieces of told length, and an empty one is its end.
https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ..errors import DeployError, Unreachable
from .container_channel import ERRORS_B, ContainerChannel
from .kubernetes_api import Cluster, Refused
from .kubernetes_manifests import Json
from .spell_out import undecodable

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, STATUS, CLOSE = 0, 1, 2, 3, 255
PIECE_B = 256 * 1024
MARK_B = 40
LINGER_S = 5.0
NOT_FOUND = ("executable file not found", "no such file or directory")

RUN = """sf_m=$1 sf_n=$2; shift 2
[ "$sf_n" = 0 ] || { sf_v=$(head -c "$sf_n") || exit 125; eval "$sf_v"; unset sf_v; }
"$@"; sf_n=$?; echo "$sf_m $sf_n" >&2; cat >/dev/null; exit $sf_n"""
"""Starts a process, says how it ended, and takes what is left of its input, until we close it.

A server whose process ends with input unread resets the connection, and with it goes what was on its way here. The
environment, and arguments that are long or no UTF-8, come through standard input: what is in an exec request is in the
cluster's audit log, is UTF-8, and must not be longer than proxies take."""

REQUEST_B = 2048

FRAMED = """exec 3<&0
sh -c 'echo $$; while read -r n <&3 && [ "$n" -gt 0 ]; do head -c "$n" <&3; done' |
{ exec 3<&-; read -r p; "$@"; c=$?; kill "$p" 2>/dev/null; exit $c; }"""
# `read` takes no more than its line of a pipe. The reader's id goes first: it must not outlive the process.


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it runs now: one that was restarted is another."""

    namespace: str
    pod: str
    name: str
    id: str

    @property
    def path(self) -> str:
        """Its pod in the API."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}"


class ExecChannel(ContainerChannel):
    """A process in a container of a pod."""

    def __init__(
        self, socket: ClientConnection, name: str, mark: bytes, lives: Callable[[], Awaitable[bool]], framed: bool
    ) -> None:
        super().__init__(name)
        self._socket = socket
        self._mark = mark
        self._lives = lives
        self._framed = framed
        self._status = bytearray()
        self._told: int | None = None
        self._broken = ""
        self._room = asyncio.Event()
        self._receiving = asyncio.create_task(self._receive())  # `kill` ends it, and so does the connection's end

    async def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), PIECE_B):
            self._check_input()
            piece = view[start : start + PIECE_B]
            head = b"%d\n" % len(piece) if self._framed else b""
            await self._send(b"".join((bytes((STDIN,)), head, piece)))

    async def close_stdin(self) -> None:
        if self._stdin_open:
            self._stdin_open = False
            with contextlib.suppress(Unreachable):
                await self._send(bytes((STDIN,)) + b"0\n" if self._framed else bytes((CLOSE, STDIN)))

    def _go_on(self) -> None:
        self._room.set()

    async def _close(self) -> None:
        self._receiving.cancel()
        await asyncio.wait([self._receiving])
        self._socket.transport.abort()

    async def _send(self, message: bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise Unreachable(f"{self._name}: the process does not take input any more: {error}") from error

    async def _receive(self) -> None:
        try:
            while True:
                async with asyncio.timeout(LINGER_S if self._status or self._told is not None else None):
                    message = await self._socket.recv(decode=False)
                await self._take(message[0], message[1:]) if message else None
        except (ConnectionClosed, TimeoutError) as error:
            self._broken = str(error)
        finally:
            self._over()

    async def _take(self, stream: int, data: bytes) -> None:
        if stream == STDOUT and data:
            if self._keep(data):
                self._room.clear()
                await self._room.wait()
        elif stream == STDERR:
            self._errors += data
            if self._told is None and (at := self._errors.find(self._mark, -len(data) - MARK_B)) >= 0:
                await self._take_code(at)
            del self._errors[:-ERRORS_B]
        elif stream == STATUS:
            self._status += data

    async def _take_code(self, at: int) -> None:
        """Take the code from the last word of the wrapper, which waits for the end of its input."""
        end = self._errors.find(b"\n", at)
        if end >= 0:
            self._told = int(self._errors[at + len(self._mark) : end])
            del self._errors[at : end + 1]
            await self.close_stdin()

    async def _judge(self) -> int | Unreachable:
        if self._told is not None:
            return self._told
        try:
            status = json.loads(self._status)
        except ValueError:
            return Unreachable(f"{self._name}: the connection broke while the process was running: {self._broken}")
        code = exit_code(status)
        if status.get("reason") != "NonZeroExitCode":
            self._errors += str(status.get("message", "")).encode()
        if code is None:
            return Unreachable(f"{self._name}: {status.get('message')}")
        if code and not await self._lives():  # a process is killed with its container
            return Unreachable(f"{self._name}: the container stopped while the process was running")
        return code


def exit_code(status: Json) -> int | None:
    """Return the code that a Status tells; None: the process did not end by itself, or was never started."""
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == "NonZeroExitCode":
        causes = status.get("details", {}).get("causes", ())
        return next((int(one["message"]) for one in causes if one.get("reason") == "ExitCode"), None)
    said = str(status.get("message"))
    if any(words in said for words in NOT_FOUND):
        return 127  # runtimes differ; POSIX shells agree
    return 126 if "permission denied" in said else None


async def start(
    cluster: Cluster, container: Container, name: str, argv: Sequence[str], env: Mapping[str, str]
) -> ExecChannel:
    """Start a process in a container.

    Raises:
        Unreachable: no cluster, no such container, or it does not run; nothing was started then.
    """
    words, first, mark = list(argv), b"", f"sf-{secrets.token_hex(8)}"
    if env or len(shlex.join(words)) > REQUEST_B or any(map(undecodable, words)):
        lines = [f"export {key}={shlex.quote(value)}" for key, value in env.items()]
        first, words = os.fsencode("\n".join([*lines, f"set -- {shlex.join(words)}"])), []
    words = ["sh", "-c", RUN, "sh", mark, str(len(first)), *words]

    async def lives() -> bool:
        for pause_s in (0.0, 0.3):  # the kubelet may notice the end of a container a moment later
            await asyncio.sleep(pause_s)
            if not await is_running(cluster, container):
                return False
        return True

    try:
        socket, framed = await _connect(cluster, container, words)
    except DeployError as error:
        raise Unreachable(f"{name}: {error}") from error
    channel = ExecChannel(socket, name, f"{mark} ".encode(), lives, framed)
    try:
        if first:
            await channel.write(first)
    except BaseException:
        await channel.kill()
        raise
    return channel


async def _connect(cluster: Cluster, container: Container, words: Sequence[str]) -> tuple[ClientConnection, bool]:
    """Return the websocket and whether its input is framed."""
    path = f"{container.path}/exec"
    query = [("container", container.name), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    if not cluster.old:
        try:
            return await cluster.stream(path, [*query, *(("command", word) for word in words)], V5), False
        except Refused as error:
            if error.status in (401, 404, 429) or error.status >= 502:
                raise
            refused = error
    framed = ["sh", "-c", FRAMED, "sh", *words]
    try:
        socket = await cluster.stream(path, [*query, *(("command", word) for word in framed)], V4), True
    except Refused as error:
        raise (error if cluster.old else refused) from None
    cluster.old = True
    return socket


async def is_running(cluster: Cluster, container: Container) -> bool:
    """Tell whether a container is there, the same as ever, and runs; an API that does not answer says nothing."""
    try:
        pod = await cluster.call("GET", container.path)
    except Refused as error:
        return error.status != 404
    except Unreachable:
        return True
    states = pod["status"].get("containerStatuses", ())
    return "deletionTimestamp" not in pod["metadata"] and any(
        one["name"] == container.name and one.get("containerID") == container.id and "running" in one["state"]
        for one in states
    )

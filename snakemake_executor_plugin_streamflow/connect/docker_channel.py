"""A process in a container: the raw stream of `docker exec`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from struct import Struct

from ..errors import Unreachable
from .container_channel import ERRORS_B, ContainerChannel
from .docker_engine import Engine
from .docker_wire import READ_B, Wire
from .spell_out import spell_out

FRAME = Struct(">BxxxI")
"""Stream (1 stdout, 2 stderr) and length of what follows.
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach"""

STDERR = 2
SEND_BUFFER_B = 1024 * 1024
GRACE_S = 5.0
ENGINE_COMPLAINS = b"OCI runtime exec failed: "
NOT_FOUND = (b"executable file not found", b"no such file or directory")


class Frames:
    """Takes the framed stream apart; what it has seen of a frame survives between calls."""

    def __init__(self) -> None:
        self._head = b""
        self._kind = 0
        self._left = 0

    @property
    def complete(self) -> bool:
        """Whether the stream may end here."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what `data` holds of (stdout, stderr)."""
        out: list[memoryview] = []
        err: list[memoryview] = []
        if self._head:
            data, self._head = self._head + data, b""
        view, position, end = memoryview(data), 0, len(data)
        while position < end:
            if not self._left:
                if end - position < FRAME.size:
                    self._head = data[position:]
                    break
                self._kind, self._left = FRAME.unpack_from(data, position)
                position += FRAME.size
            part = view[position : position + self._left]
            (err if self._kind == STDERR else out).append(part)
            position += len(part)
            self._left -= len(part)
        return b"".join(out), b"".join(err)


class DockerChannel(ContainerChannel):
    """A process in a container. Docker has no call that signals one: shells that read their commands end at once."""

    def __init__(self, engine: Engine, wire: Wire, exec_id: str, container: str, name: str) -> None:
        super().__init__(name)
        self._engine = engine
        self._sock = wire.sock
        self._local = wire.address.local
        self._exec_id = exec_id
        self._container = container
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._first = True
        self._refused = False
        self._paused = False
        self._broken: OSError | None = None
        self._sending = asyncio.Lock()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_B)
        if rest := wire.detach():
            self._feed(rest)
        if not self._paused:
            self._loop.add_reader(self._sock, self._readable)

    async def write(self, data: bytes | memoryview) -> None:
        async with self._sending:
            self._check_input()
            try:
                await self._loop.sock_sendall(self._sock, data)
            except OSError as error:
                raise Unreachable(f"{self._name}: the process does not take input any more: {error}") from error

    async def close_stdin(self) -> None:
        async with self._sending:
            if self._stdin_open:
                self._stdin_open = False
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_WR)

    def _go_on(self) -> None:
        if self._paused:
            self._paused = False
            if not self._ended.is_set():
                self._loop.add_reader(self._sock, self._readable)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(READ_B)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._broken = error
            data = b""
        if data:
            self._feed(data)
        else:
            self._over()

    def _feed(self, data: bytes) -> None:
        out, err = self._frames.feed(data)
        if out and self._first:
            self._first = False
            if out.startswith(ENGINE_COMPLAINS):  # the engine writes its own words to the process's stdout
                out, err, self._refused = b"", out, True
        if err:
            self._errors += err
            del self._errors[:-ERRORS_B]
        if out and self._keep(out) and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._sock)

    def _over(self) -> None:
        if self._ended.is_set():
            return
        super()._over()
        self._loop.remove_reader(self._sock)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes a writer that waits

    async def _close(self) -> None:
        async with self._sending:  # a descriptor that a writer waits on must not be closed
            self._sock.close()

    async def _judge(self) -> int | Unreachable:
        if not self._frames.complete:
            return Unreachable(f"{self._name}: the connection to the Docker engine broke in the middle of the output")
        # An engine on this machine that has sent everything may reset the stream because input is left unread.
        if self._broken is not None and not self._local:
            return Unreachable(f"{self._name}: the connection to the Docker engine broke: {self._broken}")
        try:
            code = await exit_code(self._engine, self._exec_id, self._container)
            missing = self._refused and any(words in self._errors for words in NOT_FOUND)
            return 127 if missing else code  # engines differ; POSIX shells agree
        except Unreachable as error:
            return Unreachable(f"{self._name}: {error}")


async def start(
    engine: Engine, container: str, name: str, argv: Sequence[str], env: Mapping[str, str], user: str | None
) -> DockerChannel:
    """Start a process in a container.

    Raises:
        Unreachable: no engine, no such container, or it does not run; nothing was started then.
    """
    wire = await engine.wire()
    try:
        argv, env = spell_out(argv, env)
        wanted = {
            "Cmd": argv,
            "Env": [f"{key}={value}" for key, value in env.items()],
            "User": user or "",
            "Tty": False,
        }
        wanted |= {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
        made = await wire.request("POST", f"/containers/{container}/exec", wanted)
        if not made.ok:
            raise Unreachable(f"{name}: {made.text}")
        exec_id = str(made.json()["Id"])
        started = await wire.request("POST", f"/exec/{exec_id}/start", {"Detach": False, "Tty": False}, upgrade=True)
        if started.status not in (101, 200):
            raise Unreachable(f"{name}: {started.text}")
        return DockerChannel(engine, wire, exec_id, container, name)
    except BaseException:
        wire.close()
        raise


async def exit_code(engine: Engine, exec_id: str, container: str) -> int:
    """Return the code of a process whose stream has ended.

    Raises:
        Unreachable: the engine does not know it, the process still runs (so the stream broke), or its container died.
    """
    pause_s, waited_s = 0.005, 0.0
    while True:
        reply = await engine.call("GET", f"/exec/{exec_id}/json")
        if not reply.ok:
            raise Unreachable(f"the container is gone: {reply.text}")
        state = reply.json()
        code = state["ExitCode"]
        if not state["Running"] and code is not None:
            break
        if waited_s > GRACE_S:
            raise Unreachable("the connection to the Docker engine broke while the process was running")
        await asyncio.sleep(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 2, 0.5)
    # A process is killed with its container, or was never started in it; the engine may notice the end a moment later.
    for pause_s in (0.0, 0.1, 0.2) if code in (126, 137) else (0.0,) if code else ():
        await asyncio.sleep(pause_s)
        reply = await engine.call("GET", f"/containers/{container}/json")
        if not reply.ok or not reply.json()["State"]["Running"]:
            raise Unreachable("the container stopped while the process was running")
    return int(code)

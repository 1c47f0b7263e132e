"""The part of a Kubernetes API server that runs processes: pods are listed, `exec` starts real ones on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

PODS = "/api/v1/namespaces/lab/pods"


class ExecServer:
    """A server on the loopback interface.

    Attributes:
        protocols: what it speaks; an older server has no v5.
        pods: {name: restarts}; one that is taken out is gone, and what runs in it is killed.
        commands: that were asked for.
        headers: of each request.
    """

    def __init__(self, folder: Path, protocols: tuple[str, ...]) -> None:
        self.protocols = protocols
        self.pods = {"worker-0": 0, "worker-1": 0}
        self.commands: list[list[str]] = []
        self.headers: list[Headers] = []
        self.address = ""
        self.kubeconfig = folder / "kubeconfig"
        self._started, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._processes: set[tuple[str, asyncio.subprocess.Process]] = set()

    def __enter__(self) -> ExecServer:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def evict(self, pod: str) -> None:
        """Take a pod away, with all that runs in it."""
        del self.pods[pod]
        self._loop.call_soon_threadsafe(self._kill, pod)

    def _kill(self, pod: str) -> None:
        for where, process in self._processes:
            if where == pod:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        known = [*self.protocols]
        async with serve(
            self._exec,
            "127.0.0.1",
            0,
            process_request=self._answer,
            subprotocols=known,
            compression=None,
            max_size=None,
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.address = f"http://127.0.0.1:{port}"
            self.kubeconfig.write_text(yaml.safe_dump(kubeconfig(self.address)))
            self._started.set()
            await self._stop.wait()
            for pod in list(self.pods):
                self._kill(pod)

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is no websocket."""
        path = urlsplit(request.path).path
        self.headers.append(request.headers)
        if path.endswith("/exec"):
            offered = request.headers.get("Sec-WebSocket-Protocol", "")
            if path.split("/")[-2] not in self.pods:
                return reply({"message": f"pods {path.split('/')[-2]!r} not found"}, HTTPStatus.NOT_FOUND)
            if offered not in self.protocols:
                return reply({"message": f"unable to upgrade: {offered} is not known"}, HTTPStatus.FORBIDDEN)
            return None
        found = [pod(name, restarts) for name, restarts in self.pods.items()]
        if path == PODS:
            return reply({"items": found})
        one = next((one for one in found if path == f"{PODS}/{one['metadata']['name']}"), None)
        return reply(one) if one else reply({"message": f"{path} not found"}, HTTPStatus.NOT_FOUND)

    async def _exec(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        where = urlsplit(connection.request.path)
        command = parse_qs(where.query, keep_blank_values=True)["command"]
        self.commands.append(command)
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError:
            said = f'exec failed: "{command[0]}": executable file not found in $PATH'
            await connection.send(b"\x03" + json.dumps({"status": "Failure", "message": said}).encode())
            return
        running = (where.path.split("/")[-2], process)
        self._processes.add(running)
        try:
            feeding = asyncio.create_task(feed(connection, process))
            await asyncio.gather(pump(connection, 1, process.stdout), pump(connection, 2, process.stderr))
            code = await process.wait()
            feeding.cancel()
            await connection.send(b"\x03" + json.dumps(status(code if code >= 0 else 128 - code)).encode())
        except ConnectionClosed:
            process.stdin.close()  # type: ignore[union-attr]
            for stream in (process.stdout, process.stderr):
                stream._transport.close()  # type: ignore[union-attr]
        finally:
            self._processes.discard(running)


async def feed(connection: ServerConnection, process: asyncio.subprocess.Process) -> None:
    """Pass on what the client sends, and its end."""
    assert process.stdin is not None
    with contextlib.suppress(ConnectionClosed, OSError):
        async for message in connection:
            assert isinstance(message, bytes)
            if message[0] == 255:
                process.stdin.close()
            elif len(message) > 1:
                process.stdin.write(message[1:])
                await process.stdin.drain()
    process.stdin.close()


async def pump(connection: ServerConnection, stream: int, source: asyncio.StreamReader | None) -> None:
    """Send what the process prints."""
    assert source is not None
    while data := await source.read(32 * 1024):
        await connection.send(bytes((stream,)) + data)


def status(code: int) -> dict[str, Any]:
    """The end of a process, as the kubelet tells it."""
    if code == 0:
        return {"status": "Success", "metadata": {}}
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}


def pod(name: str, restarts: int) -> dict[str, Any]:
    """A pod that is ready."""
    container = {"name": "work", "resources": {"limits": {"cpu": "1500m", "memory": "2Gi", "nvidia.com/gpu": "1"}}}
    state = {"name": "work", "ready": True, "state": {"running": {}}, "containerID": f"containerd://{name}/{restarts}"}
    return {
        "metadata": {"name": name, "namespace": "lab", "uid": name},
        "spec": {"containers": [container]},
        "status": {"phase": "Running", "containerStatuses": [state]},
    }


def reply(content: Any, code: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer in JSON."""
    body = json.dumps(content).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
    return Response(code.value, code.phrase, headers, body)


def kubeconfig(address: str) -> dict[str, Any]:
    """Credentials for the server: it asks for none."""
    return {
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "users": [{"name": "me", "user": {"token": "secret-token"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "lab"}}],
    }


@contextlib.contextmanager
def exec_server(folder: Path, *protocols: str) -> Iterator[ExecServer]:
    """A server that speaks these protocols."""
    with ExecServer(folder, protocols) as server:
        yield server

"""The API server of one cluster: credentials, requests in threads, websockets on the event loop.

The official client reads the kubeconfig (certificates, tokens, exec plugins, proxies) and owns the connections; objects
are plain JSON, so that any kind of a manifest can be sent, custom resources included.
https://kubernetes.io/docs/reference/using-api/
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import urllib3
from kubernetes import client
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from ..errors import DeployError, Unreachable
from ..model import ClusterOptions
from .base import Inner
from .forwards import ForwardsSockets
from .kubernetes_access import Access
from .kubernetes_manifests import Json
from .kubernetes_tunnel import Tunnel

CONNECT_TIMEOUT_S, REPLY_TIMEOUT_S = 10, 60
PING_S, PONG_S = 30, 120
BUSY_S, LONGEST_PAUSE_S = 20.0, 5.0
"""How long a server is asked again that says when to come back, and the longest pause before that."""
QUEUE_FRAMES = 64
SEND_BUFFER_B = 1024 * 1024


Answer = tuple[int, bytes, float | None]
"""HTTP's status, what is said, and the seconds after which to ask again."""


class Refused(DeployError):
    """The API server answered, and did not do what it was asked. `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, transient=status == 429 or status >= 500)
        self.status = status


class Cluster:
    """One cluster. Connects on first use."""

    def __init__(self, options: ClusterOptions, inner: Inner | None) -> None:
        self._options = options
        self._inner = None if inner is not None and inner.connector.deployment.type == "local" else inner
        self._access: Access | None = None
        self._pool = urllib3.PoolManager()
        self._tls: ssl.SSLContext | None = None
        self._tunnel: Tunnel | None = None
        self._finding = asyncio.Lock()
        self.old = False
        """Whether its exec knows no half-close; found out by the first one."""

    async def namespace(self) -> str:
        """Return the namespace of what does not name its own.

        Raises:
            DeployError: the kubeconfig cannot be used.
        """
        return (await self._connected()).namespace

    async def call(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None) -> Json:
        """Send a request and return the object in the answer.

        When cancelled, the answer is awaited first: whether something was made must be known.

        Raises:
            Refused: with the server's words.
            Unreachable: it does not answer.
            DeployError: the kubeconfig cannot be used.
        """
        answer = await self._answer(method, path, query, body)
        found: Json = json.loads(answer or b"{}")
        return found

    async def text(self, path: str, query: Mapping[str, Any] | None = None) -> str:
        """Return an answer that is no JSON, such as a log. Raises as `call` does."""
        return (await self._answer("GET", path, query, None)).decode("utf-8", "replace")

    async def stream(self, path: str, query: Sequence[tuple[str, str]], protocol: str) -> ClientConnection:
        """Open a websocket that speaks `protocol`.

        Raises:
            Refused: with the server's words; nothing was started.
            Unreachable: it does not answer.
        """
        access = await self._connected()
        headers = await asyncio.to_thread(access.headers)
        url = access.url(path, query)
        more: dict[str, Any] = {}
        if self._tls is not None:
            more["ssl"] = self._tls
            more["server_hostname"] = access.server_name or urlsplit(url).hostname
        if access.proxy:
            more["proxy"] = access.proxy
        try:
            return await connect_websocket(
                url.replace("http", "ws", 1),
                subprotocols=[Subprotocol(protocol)],
                additional_headers=headers,
                compression=None,
                open_timeout=REPLY_TIMEOUT_S,
                ping_interval=PING_S,
                ping_timeout=PONG_S,
                max_size=None,
                max_queue=QUEUE_FRAMES,
                write_limit=SEND_BUFFER_B,
                **more,
            )
        except InvalidStatus as error:
            response = error.response
            raise Refused(_words(bytes(response.body or b""), response.status_code), response.status_code) from error
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise self._unreachable(error) from error

    async def close(self) -> None:
        """Drop connections. Idempotent."""
        access, self._access = self._access, None
        tunnel, self._tunnel = self._tunnel, None
        if access is not None:
            await asyncio.to_thread(self._pool.clear)
        if tunnel is not None:
            tunnel.close()

    async def _answer(self, method: str, path: str, query: Mapping[str, Any] | None, body: Any) -> bytes:
        """Send a request; one that was turned away with a time to come back (`Retry-After`) is sent again.

        Such a request was not begun, so this holds for all methods, as in the clients of Kubernetes itself.
        """
        end = time.monotonic() + BUSY_S
        while True:
            status, answer, later = await self._once(method, path, query, body)
            if 200 <= status < 300:
                return answer
            if later is None or (status != 429 and status < 500) or time.monotonic() > end:
                raise Refused(_words(answer, status), status)
            await asyncio.sleep(min(later, LONGEST_PAUSE_S))

    async def _once(self, method: str, path: str, query: Mapping[str, Any] | None, body: Any) -> Answer:
        access = await self._connected()
        words = tuple((query or {}).items())
        running = asyncio.ensure_future(asyncio.to_thread(_request, self._pool, access, method, path, words, body))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            while method != "GET" and not running.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([running])
            raise
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise self._unreachable(error) from error

    async def _connected(self) -> Access:
        async with self._finding:
            if self._access is None:
                found = await asyncio.to_thread(Access.read, self._options)
                if self._inner is not None:
                    await self._through(self._inner, found)
                if not found.configuration.verify_ssl:  # the user wants that; a warning for each request helps nobody
                    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
                self._tls = found.tls()
                self._pool = client.ApiClient(found.configuration).rest_client.pool_manager
                self._access = found
            return self._access

    async def _through(self, inner: Inner, found: Access) -> None:
        """Have the server reached as the inner location reaches it."""
        connector, location = inner.connector, inner.location
        if not isinstance(connector, ForwardsSockets):
            raise DeployError(
                f"{connector.deployment.name!r}, of type {connector.deployment.type}, forwards no sockets"
            )
        parts = urlsplit(found.host)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tunnel = await Tunnel.open(connector, location, f"{parts.hostname}:{port}")
        found.through(self._tunnel.port)

    def _unreachable(self, error: BaseException) -> Unreachable:
        where = self._access.host if self._access else "the cluster"
        reason = str(error) or type(error).__name__
        return Unreachable(f"the Kubernetes API at {where} does not answer: {reason}; try `kubectl version`")


def _request(
    pool: urllib3.PoolManager, access: Access, method: str, path: str, query: Sequence[tuple[str, Any]], body: Any
) -> Answer:
    headers = [("Accept", "application/json, */*"), *access.headers()]
    if body is not None:
        headers.append(("Content-Type", "application/merge-patch+json" if method == "PATCH" else "application/json"))
    reply = pool.request(
        method,
        access.url(path, query),
        headers=urllib3.HTTPHeaderDict(headers),
        body=None if body is None else json.dumps(body, default=str).encode(),
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=REPLY_TIMEOUT_S),
        retries=False,
    )
    later = reply.headers.get("Retry-After", "")
    return reply.status, reply.data, float(later) if later.isdecimal() else None


def _words(answer: bytes, status: int) -> str:
    """Return the server's words when it refuses."""
    try:
        said = str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        said = answer.decode("utf-8", "replace").strip() or "no reason given"
    advice = "; log in to the cluster again" if status == 401 else ""
    return f"{said} (status {status}{advice})"

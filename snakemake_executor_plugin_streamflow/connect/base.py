"""The contract of a connector: what an author of a new one writes, and what the rest is built on."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from ..errors import DeployError, Unreachable
from ..model import Deployment, Location, Request

if TYPE_CHECKING:
    from .queue import Profile


READY_S = 60.0
"""How long a service that a job needs is waited for."""


class Channel(ABC):
    """One running process at a location.

    Standard error is drained by the channel itself: `errors` keeps its last 64 KiB. A channel is used by one reader
    and one writer. Leaving `async with` kills what still runs.
    """

    @property
    @abstractmethod
    def errors(self) -> bytes:
        """The last 64 KiB of standard error so far."""

    @abstractmethod
    async def read(self) -> bytes:
        """Return the next bytes of standard output, as they come; b"" at its end.

        Raises:
            Unreachable: the connection broke. Never raised for an orderly end.
        """

    @abstractmethod
    async def write(self, data: bytes | memoryview) -> None:
        """Write all of `data` to standard input; returns when more may be written (back-pressure).

        Raises:
            Unreachable: the connection broke, or the process closed its input.
        """

    @abstractmethod
    async def close_stdin(self) -> None:
        """Signal the end of standard input; output can still be read. Idempotent."""

    @abstractmethod
    async def wait(self) -> int:
        """Wait for the process and return its code, 128+n after signal n.

        Raises:
            Unreachable: the connection broke before the code was known.
        """

    @abstractmethod
    async def kill(self) -> None:
        """Close the channel and end the process as far as the transport allows. Idempotent; raises nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.kill()


class Through(Channel):
    """A channel that passes everything on to another one."""

    def __init__(self, real: Channel) -> None:
        self._real = real

    @property
    def errors(self) -> bytes:
        return self._real.errors

    async def read(self) -> bytes:
        return await self._real.read()

    async def write(self, data: bytes | memoryview) -> None:
        await self._real.write(data)

    async def close_stdin(self) -> None:
        await self._real.close_stdin()

    async def wait(self) -> int:
        return await self._real.wait()

    async def kill(self) -> None:
        await self._real.kill()


@dataclass(frozen=True, slots=True)
class Inner:
    """What a wrapping connector goes through: a connector that is up, and one of its locations."""

    connector: Connector
    location: Location


@dataclass(frozen=True, slots=True)
class Entrance:
    """How a process of an inner location starts one at ours: `argv`, followed by the command."""

    inner: Inner
    argv: tuple[str, ...]


class Log(Protocol):
    """The part of a logger that connectors use."""

    def info(self, message: str) -> None: ...
    def debug(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...


class Connector(ABC):
    """Speaks to one deployment. Built from the companion file; does nothing until asked.

    `deploy` and `undeploy` are never called concurrently for one connector, and `deploy` never for an external one.
    `locations` and `open` are called after `deploy` (or at once, when external), concurrently.
    """

    ephemeral = False
    """Whether a location that `locations` no longer lists is gone for good (a container), or may come back (a host)."""

    on_controller = False
    """Whether the files of its locations are those of this machine."""

    def __init__(self, deployment: Deployment, *, run: str, inner: Inner | None, log: Log) -> None:
        """Keep what the connector needs.

        Args:
            deployment: options and names; `deployment.options` is this connector's own option class.
            run: identity of this run, a short [a-z0-9] string: label what you make with it.
            inner: what to go through, when the deployment `wraps` another.
            log: info for what users act on, debug for every command.
        """
        self.deployment = deployment
        self.options: Any = deployment.options
        self.run = run
        self.inner = inner
        self.log = log

    @abstractmethod
    async def deploy(self) -> None:
        """Bring the deployment up. On failure and on cancellation nothing is left behind.

        Raises:
            DeployError: with the tool's own text.
            Unreachable: there was no answer within the time-out.
        """

    @abstractmethod
    async def undeploy(self) -> None:
        """Take down what `deploy` made, and only that. Idempotent; what has vanished is no error.

        Raises:
            DeployError: something is left; the message holds the command that removes it.
        """

    @abstractmethod
    async def locations(self, service: str | None) -> Sequence[Location]:
        """Return what can run jobs now, in a stable order.

        Raises:
            DeployError: no such service, or nothing is up.
        """

    @abstractmethod
    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        """Start a process at a location, byte-exact in arguments and environment, and give its streams.

        Raises:
            Unreachable: the location does not answer (within the connector's time-out).
        """

    async def ready(self, service: str) -> Sequence[Location]:
        """Wait until a service that jobs of other services need is ready, and return its locations.

        Raises:
            DeployError: it does not become ready within a minute.
        """
        end = time.monotonic() + READY_S
        while True:
            try:
                return await self.locations(service)
            except (DeployError, Unreachable) as error:
                if time.monotonic() > end:
                    raise DeployError(f"{error}\nIt was waited for, for {READY_S:.0f} s.", transient=True) from error
            await asyncio.sleep(0.3)

    async def scale(self, service: str, count: int, *, spare: Collection[str]) -> None:
        """Have so many replicas of a service; new ones are ready when this returns.

        Never called while `deploy`, `undeploy` or itself runs. On failure and on cancellation what was there before is
        there still; `undeploy` takes all of it down.

        Args:
            service: "" is that of a type whose deployments have one service.
            spare: names of locations that stay. There are never more of them than `count`.

        Raises:
            DeployError: there are not so many, or one of `spare` would go.
        """
        raise DeployError(f"{self.deployment.name}: the replicas of a {self.deployment.type} deployment are fixed")

    async def scales_in_order(self, service: str) -> bool:
        """Return whether `scale` can only remove the last location; else any."""
        return False

    async def tailor(self, service: str | None, request: Request, count: int) -> str:
        """Make locations for one task, each of the size of its request, and wait until they are there.

        Called for deployments that tailor. The task waits here as it would in a queue. On failure and on cancellation
        nothing is left.

        Returns:
            A name by which `locations` lists these and no others, and `discard` takes them away.

        Raises:
            DeployError: with the tool's own text.
        """
        raise DeployError(f"{self.deployment.name}: a {self.deployment.type} deployment makes no locations for a task")

    async def discard(self, service: str) -> None:
        """Take away what `tailor` has made. Idempotent. Raises DeployError: something is left."""
        raise NotImplementedError

    async def close(self) -> None:  # noqa: B027 - most connectors have nothing to drop
        """Drop connections; the deployment stays up. Idempotent."""

    def handle(self) -> str:
        """Say how people find what `deploy` makes: a label, a name; no secret. Empty: it makes nothing that stays.

        A connector with the same deployment and `run` finds it too: its `undeploy` takes it down.
        """
        return ""

    def entrance(self, location: Location) -> Entrance | None:
        """Return how a location is entered from an inner one; None: through `open` only."""
        return None

    def services(self) -> Sequence[str]:
        """Return the names of the services, as far as the options tell; empty: one, without a name."""
        return ()

    def profile(self, location: Location) -> Profile | None:
        """Return how jobs are queued at a location whose processes are not its jobs; None: a session starts them."""
        return None

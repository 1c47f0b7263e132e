"""The connections to one host: made when needed, shared, and never asked for more sessions than sshd allows."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

import asyncssh
from asyncssh.constants import OPEN_REQUEST_SESSION_FAILED

from ..errors import SiteError, Unreachable
from ..model import SshOptions
from .base import Log
from .ssh_channel import PACKET_B, WINDOW_B, Launch, SshChannel
from .ssh_login import Login, Prepared, explain, prepare

MAX_DELAY_S = 30.0
HOLD_S = 30.0
CLOSE_S = 2.0
ABANDON_S = 1.0

Opening = asyncio.Task[tuple[asyncssh.SSHClientChannel[bytes], asyncssh.SSHClientSession[bytes]]]


class Link:
    """One connection, and how many sessions of it are taken."""

    def __init__(self, connection: asyncssh.SSHClientConnection, limit: int) -> None:
        self.connection = connection
        self.limit = limit
        self.used = 0
        self.proven = False
        self.opening: set[Opening] = set()

    @property
    def free(self) -> bool:
        """Whether one more session may be opened."""
        return self.used < self.limit


class Slot:
    """The right to one session of a link.

    sshd confirms the end of a session only when its process has ended. A process that lives on keeps its session, but
    must not keep others waiting for ever: the link's limit is lower for that time.
    """

    def __init__(self, host: Host, link: Link) -> None:
        self.link = link
        self._host = host
        self._held = True
        self._abandoned = False
        self._timer: asyncio.TimerHandle | None = None
        link.used += 1

    def release(self) -> None:
        """Give the session back. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._held:
            self._held = False
            self.link.used -= 1
            self._host.give()
        elif self._abandoned:
            self._abandoned = False
            self.link.limit += 1
            self._host.give()

    def expect_release(self) -> None:
        """Say that the session was closed from here, so that sshd should confirm it soon."""
        if self._held and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ABANDON_S, self._abandon)

    def _abandon(self) -> None:
        if self._held:
            self._held, self._abandoned = False, True
            self.link.used -= 1
            self.link.limit -= 1
            self._host.retire(self.link)


class Host:
    """The connections to one host.

    Who comes first is served first. Concurrent callers share one attempt to connect, and its failure.
    """

    def __init__(self, login: Login, options: SshOptions, *, log: Log, jump: Callable[[Login], Host]) -> None:
        self.login = login
        self.failure: SiteError | None = None
        self.prepared: Prepared | None = None
        self._log = log
        self._timeout_s = float(options.connect_timeout)
        self._retries = options.retries
        self._retry_delay_s = float(options.retry_delay)
        self._keep_alive_s = options.keep_alive
        self._sessions = options.max_concurrent_sessions
        self._connections = options.max_connections
        self._jump = jump
        self._links: list[Link] = []
        self._waiting: deque[asyncio.Future[Slot | None]] = deque()
        self._leading = False
        self._hold_until = 0.0
        self._answered = False
        self._era = 0

    async def open(self, name: str, launch: Launch) -> SshChannel:
        """Start a process in a session of its own, at most once.

        Raises:
            Unreachable: no connection, or it broke before the answer.
        """
        while True:
            channel = await self._start(await self._acquire(), name, launch)
            if channel is not None:
                return channel

    async def connection(self) -> asyncssh.SSHClientConnection:
        """Return a connection that is up, for forwarding; it takes no session.

        Raises:
            Unreachable: the host does not answer.
        """
        if not self._links:
            (await self._acquire()).release()
        return self._links[0].connection if self._links else await self.connection()

    async def close(self) -> None:
        """Close all connections; what runs in them is cut off. A later `open` connects again."""
        links, self._links = self._links, []
        self._era += 1
        for link in links:
            link.connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                for link in links:
                    await link.connection.wait_closed()
        for link in links:
            link.connection.abort()

    def give(self) -> None:
        """Hand what is free to who waits; when nothing is, let the first one connect."""
        while self._waiting and (link := self._free()) is not None:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(Slot(self, link))
        while self._waiting and self._may_connect():
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def retire(self, link: Link) -> None:
        """Close a link that is of no use any more, and make room for another."""
        if link in self._links and link.limit <= 0 and not link.used:
            self._links.remove(link)
            link.connection.close()
            self.give()

    def _free(self) -> Link | None:
        return next((link for link in self._links if link.free), None)

    def _may_connect(self) -> bool:
        if self._leading or len(self._links) >= self._connections:
            return False
        return not self._links or asyncio.get_running_loop().time() >= self._hold_until

    async def _acquire(self) -> Slot:
        while True:
            if (link := self._free()) is not None:
                return Slot(self, link)
            if self._may_connect():
                await self._lead()
                continue
            waiter: asyncio.Future[Slot | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                slot = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                    given = waiter.result()
                    if given is not None:
                        given.release()
                    else:
                        self.give()
                raise
            if slot is not None:
                return slot

    async def _lead(self) -> None:
        """Connect for all who wait."""
        self._leading, era = True, self._era
        try:
            connection = await self._connect()
            if era != self._era:
                connection.abort()
                raise Unreachable(f"{self.login.name}: the connections were closed meanwhile")
            self._links.append(Link(connection, self._sessions))
            self.failure, self._answered = None, True
        except SiteError as error:
            if self._links:
                self._hold_until = asyncio.get_running_loop().time() + HOLD_S
                self._log.debug(f"no further connection to {self.login.name}: {error}")
                return
            self.failure = error
            waiting, self._waiting = self._waiting, deque()
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_exception(Unreachable(str(error), transient=error.transient))
            raise
        finally:
            self._leading = False
            self.give()

    async def _connect(self) -> asyncssh.SSHClientConnection:
        """Connect, again and again within the time-out while that can help."""
        loop = asyncio.get_running_loop()
        end, delay_s, tried = loop.time() + self._timeout_s, self._retry_delay_s, 0
        while True:
            try:
                return await self._connect_once(max(end - loop.time(), 0.1))
            except SiteError as error:
                pause_s = delay_s * random.uniform(0.75, 1.25)
                if not error.transient or tried >= self._retries or loop.time() + pause_s >= end:
                    raise
                self._log.debug(f"{error}; next try in {pause_s:.1f} s")
                await asyncio.sleep(pause_s)
                tried, delay_s = tried + 1, min(delay_s * 2, MAX_DELAY_S)

    async def _connect_once(self, timeout_s: float) -> asyncssh.SSHClientConnection:
        prepared = await asyncio.to_thread(prepare, self.login, timeout_s=timeout_s, keep_alive_s=self._keep_alive_s)
        try:
            async with asyncio.timeout(timeout_s):
                arguments = dict(prepared.arguments)
                if prepared.through is not None:
                    arguments["tunnel"] = await self._jump(prepared.through).connection()
                connection = await asyncssh.connect(**arguments)
        except (OSError, ValueError, SiteError, asyncssh.Error) as error:
            raise explain(prepared, error, timeout_s=self._timeout_s, answered=self._answered) from error
        self.prepared = prepared
        prepared.visitor.on_lost = lambda error: self._lost(connection, error)
        if connection.is_closed():
            raise Unreachable(f"{prepared.who}: the connection was closed at once")
        self._log.debug(f"connected to {prepared.who}")
        return connection

    async def _start(self, slot: Slot, name: str, launch: Launch) -> SshChannel | None:
        """Open a session; None when sshd refused it, so that nothing was started and another may be tried."""
        link = slot.link
        task: Opening = asyncio.ensure_future(
            link.connection.create_session(
                lambda: SshChannel(name, launch.mark, slot, self._timeout_s),
                cast(str, launch.command),  # bytes pass unchanged
                request_pty=False,
                x11_forwarding=False,
                encoding=None,
                window=WINDOW_B,
                max_pktsize=PACKET_B,
            )
        )
        link.opening.add(task)
        task.add_done_callback(link.opening.discard)
        try:
            async with asyncio.timeout(self._timeout_s):
                _, channel = await asyncio.shield(task)
                assert isinstance(channel, SshChannel)
        except asyncio.CancelledError:
            task.add_done_callback(partial(_drop, slot))
            raise
        except TimeoutError:
            task.add_done_callback(partial(_drop, slot))
            self._lost(link.connection, None)
            link.connection.abort()
            raise Unreachable(f"{name}: no answer within {self._timeout_s:g} s on a connection that was up") from None
        except asyncssh.ChannelOpenError as error:
            slot.release()
            if error.code == OPEN_REQUEST_SESSION_FAILED:
                raise Unreachable(f"{name}: sshd did not run the command, or the connection broke") from error
            self._refused(name, link, error)
            return None
        except (OSError, asyncssh.Error) as error:
            slot.release()
            raise Unreachable(f"{name}: the connection broke: {error}") from error
        link.proven = True
        return channel

    def _refused(self, name: str, link: Link, error: asyncssh.ChannelOpenError) -> None:
        if link not in self._links:
            return
        if link.connection.is_closed() or error.reason == "SSH connection closed":
            self._lost(link.connection, error)
        elif link.used:
            link.limit = min(link.limit, link.used)  # MaxSessions of sshd_config(5) is lower than believed
        elif link.proven:
            link.limit = 0  # killed processes that live on still hold its sessions
            self.retire(link)
        else:
            raise Unreachable(f"{name}: sshd refuses sessions: {error.reason}", transient=False) from error

    def _lost(self, connection: asyncssh.SSHClientConnection, error: Exception | None) -> None:
        for link in self._links:
            if link.connection is connection:
                self._links.remove(link)
                self._log.debug(f"lost the connection to {self.login.name}: {error or 'closed'}")
                self.give()
                return


def _drop(slot: Slot, task: Opening) -> None:
    """Close a session that nobody waits for any more."""
    if task.cancelled() or task.exception() is not None:
        slot.release()
    else:
        cast(SshChannel, task.result()[1]).drop()

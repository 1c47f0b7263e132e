"""A process behind a session of an ssh connection. RFC 4254, section 6."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import asyncssh

from ..errors import ConfigError, Unreachable, quote_tail
from .base import Channel

WINDOW_B = 4 * 1024 * 1024
PACKET_B = 64 * 1024
LOW_WATER_B = 1024 * 1024
HIGH_WATER_B = LOW_WATER_B + WINDOW_B
"""asyncssh grants a whole window on the first packet after a pause: a pause must drain what it held."""

READ_B = 1024 * 1024
WRITE_B = 256 * 1024
SEND_BUFFER_B = 1024 * 1024
ERRORS_B = 64 * 1024
NOISE_B = 256 * 1024
UNQUOTABLE = re.compile(rb"['\\]")
COMMAND_B = 100_000
"""Longer command lines go through standard input: one argument of execve(2) holds 128 KiB."""


def quote(text: str) -> bytes:
    """Quote one word for sh, byte-exact; also right for fish and, but for newlines, for csh."""
    data = os.fsencode(text)
    if b"\0" in data:
        raise ConfigError([f"a command or environment cannot hold a NUL byte: {text!r}"])
    return b"'" + UNQUOTABLE.sub(rb"'\\\g<0>'", data) + b"'"


class Slot(Protocol):
    """The right to one session of a connection."""

    def release(self) -> None:
        """Give the session back. Idempotent."""

    def expect_release(self) -> None:
        """Say that the session was closed from here, so that sshd should confirm it soon."""


class Launch:
    """The command line of a process, and what has to be told to its shell.

    A login shell may print something before it runs the command; a mark, printed first, says where the process's own
    output begins. Environment goes over standard input, where no other user of the host can see it.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None) -> None:
        token = secrets.token_hex(8)
        self.mark = f"sf:{token}:".encode()
        start = f"printf sf:%s: {token};exec ".encode() + b" ".join(map(quote, argv))
        lines = [_export(name, value) for name, value in (env or {}).items()]
        self.script = b"".join(lines) + start + b"\n" if lines or len(start) > COMMAND_B else b""
        self.command = b"exec sh" if self.script else start


def _export(name: str, value: str) -> bytes:
    if not (name.isascii() and name.isidentifier()):
        raise ConfigError([f"env: {name!r} is no name that a shell can export; use letters, digits and _"])
    return b"export " + name.encode() + b"=" + quote(value) + b"\n"


class SshChannel(Channel, asyncssh.SSHClientSession[bytes]):
    """A process at a host.

    `kill` sends TERM to the process group; sshd refuses that for root, whose processes only see their streams end.
    That a process has closed its input, and lives on, stays unknown: sshd tells nobody but OpenSSH's own client.

    Output beyond some MiB that nobody reads holds the process back. A login shell that has not started the process
    `start_s` seconds after somebody began to wait for it is given up: it may sit in a start file for ever.
    """

    def __init__(self, name: str, mark: bytes, slot: Slot, start_s: float) -> None:
        self._name = name
        self._start_s = start_s
        self._mark: bytes | None = mark
        self._noise = bytearray()
        self._slot = slot
        self._out: deque[bytes] = deque()
        self._buffered_b = 0
        self._paused = False
        self._errors = bytearray()
        self._eof = False
        self._code: int | None = None
        self._gone: Unreachable | None = None
        self._input_closed = False
        self._writing = asyncio.Event()
        self._writing.set()
        self._news = asyncio.Event()
        self._exit = asyncio.Event()
        self._marked = asyncio.Event()
        self._chan: asyncssh.SSHClientChannel[bytes]

    @property
    def errors(self) -> bytes:
        return bytes(self._errors)

    async def read(self) -> bytes:
        while not self._out:
            if self._eof or self._gone is not None:
                return self._end()
            self._news.clear()
            try:
                async with asyncio.timeout(self._start_s if self._mark is not None else None):
                    await self._news.wait()
            except TimeoutError:
                if self._mark is not None:
                    raise self._not_started() from None
        parts = [self._out.popleft()]
        size = len(parts[0])
        while self._out and size + len(self._out[0]) <= READ_B:
            parts.append(self._out.popleft())
            size += len(parts[-1])
        self._buffered_b -= size
        if self._paused and self._buffered_b <= LOW_WATER_B:
            self._paused = False
            self._chan.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), WRITE_B):
            self._check_input()
            try:
                self._chan.write(cast(bytes, view[start : start + WRITE_B]))
            except OSError as error:
                raise Unreachable(f"{self._name}: the process does not take input any more") from error
            if not self._writing.is_set():
                await self._writing.wait()
        self._check_input()

    async def close_stdin(self) -> None:
        if not self._input_closed:
            self._input_closed = True
            with contextlib.suppress(OSError):
                self._chan.write_eof()

    async def wait(self) -> int:
        await self._exit.wait()
        if self._mark is not None and self._gone is None:
            await self._marked.wait()
        if self._gone is not None and (self._code is None or self._mark is not None):
            raise self._broken()
        assert self._code is not None
        return self._code

    async def kill(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Do what `kill` does, which needs no waiting."""
        if self._gone is None:
            self._slot.expect_release()
        with contextlib.suppress(Exception):
            if self._code is None and self._gone is None:
                self._chan.terminate()
            self._chan.abort()
        self._fail(Unreachable(f"{self._name}: the channel was closed before the process ended"))

    async def started(self, script: bytes) -> None:
        """Send the script that starts the process, and wait until it has.

        Raises:
            Unreachable: not in the time that a start may take.
        """
        try:
            async with asyncio.timeout(self._start_s):
                await self.write(script)
                await self._marked.wait()
        except TimeoutError:
            raise self._not_started() from None
        if self._mark is not None:
            raise self._broken()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._chan = chan
        chan.set_write_buffer_limits(SEND_BUFFER_B, SEND_BUFFER_B // 4)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype is not None:
            self._errors += data
            del self._errors[:-ERRORS_B]
            return
        if self._mark is not None:
            data = self._after_mark(data)
            if not data:
                return
        self._out.append(data)
        self._buffered_b += len(data)
        self._news.set()
        if self._buffered_b >= HIGH_WATER_B and not self._paused:
            self._paused = True
            self._chan.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        self._news.set()
        self._marked.set()
        return True

    def pause_writing(self) -> None:
        self._writing.clear()

    def resume_writing(self) -> None:
        self._writing.set()

    def exit_status_received(self, status: int) -> None:
        self._ended(status)

    def exit_signal_received(self, signal_: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._ended(128 + getattr(signal, f"SIG{signal_}", 0))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._code is not None:
            self._eof = True  # a close without an end of file is an orderly end as well
        reason = "closed the session without an exit code" if exc is None else f"broke: {exc}"
        self._fail(Unreachable(f"{self._name}: the connection {reason}"))
        self._slot.release()

    def _ended(self, code: int) -> None:
        self._code = code
        self._exit.set()
        self._writing.set()

    def _fail(self, error: Unreachable) -> None:
        if self._gone is None:
            self._gone = error
        for event in (self._news, self._exit, self._marked, self._writing):
            event.set()

    def _after_mark(self, data: bytes) -> bytes:
        assert self._mark is not None
        self._noise += data
        found = self._noise.find(self._mark)
        if found < 0:
            del self._noise[:-NOISE_B]
            return b""
        rest = bytes(self._noise[found + len(self._mark) :])
        self._mark = None
        self._noise.clear()
        self._marked.set()
        return rest

    def _end(self) -> bytes:
        if not self._eof or self._mark is not None:
            raise self._broken()
        return b""

    def _broken(self) -> Unreachable:
        if self._mark is not None and (self._eof or self._code is not None):
            said = quote_tail(bytes(self._noise + self._errors))
            heard = f", but said:\n{said}\n" if said else ", and said nothing. "
            advice = "Check the user's login shell there, and that none of its start files (.bashrc, .cshrc) ends it"
            return Unreachable(f"{self._name}: the login shell did not run the command{heard}{advice}", transient=False)
        return Unreachable(str(self._gone))

    def _not_started(self) -> Unreachable:
        return Unreachable(
            f"{self._name}: the login shell did not start the command in {self._start_s:g} s. Check that none of the "
            "user's start files there (.bashrc, .cshrc) waits for something"
        )

    def _check_input(self) -> None:
        if self._gone is not None:
            raise self._broken()
        if self._input_closed or self._code is not None:
            raise Unreachable(f"{self._name}: the process has ended, or its input was closed")

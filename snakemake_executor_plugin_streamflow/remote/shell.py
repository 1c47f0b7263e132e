"""A data shell: one `sh` at a location that answers one request after another.

Used for what has a reply: questions, file lists, file contents. Answers are framed by a random mark, file contents by
their known length, so that one shell serves any number of requests and no half-close is needed.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from ..connect.base import Channel
from ..errors import TransferError, Unreachable
from .quote import decode, encode, quote, words


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of one request: its code and what it printed (standard error included)."""

    code: int
    output: bytes

    @property
    def text(self) -> str:
        """What it printed, as text."""
        return decode(self.output)


class Shell:
    """One data shell. Not for concurrent use. After any exception but a `ValueError` it is broken: close it."""

    def __init__(self, location: str, channel: Channel) -> None:
        self.location = location
        self._channel = channel
        self._mark = f"sf-{secrets.token_hex(8)}"
        self._buffer = b""

    @classmethod
    async def open(cls, location: str, open_shell: Callable[[], Awaitable[Channel]]) -> Shell:
        """Open a shell. Raises Unreachable."""
        return cls(location, await open_shell())

    async def ask(self, script: str, *args: str) -> Completed:
        """Run shell text in a subshell, with positional parameters, and return what it printed."""
        await self._send(script, args, "2>&1")
        return await self._finish()

    async def fetch(self, script: str, size_b: int) -> AsyncIterator[bytes]:
        """Run shell text that prints exactly `size_b` bytes and then some lines; yield the bytes in pieces.

        The lines and the code are then in `self.last`. Its standard error is lost.
        """
        await self._send(script, (), "2>/dev/null")
        left, tail, mark = size_b, b"", self._mark.encode()
        while left:
            piece = self._buffer or await self._more()
            tail = (tail + piece[:left][-64:])[-64:]
            if len(piece) < left and mark in tail and tail.endswith(b"\n"):
                raise TransferError(
                    f"{self.location}: a file became shorter, or unreadable, while it was sent", transient=True
                )
            if len(piece) > left:
                piece, self._buffer = piece[:left], piece[left:]
            else:
                self._buffer = b""
            left -= len(piece)
            yield piece
        # Where the file was shorter, some of what follows it was taken for content: perhaps the mark itself.
        self._buffer = tail + self._buffer
        done = await self._finish()
        if len(done.output) < len(tail):
            raise TransferError(f"{self.location}: a file became shorter while it was sent", transient=True)
        self.last = Completed(done.code, done.output[len(tail) :])

    async def feed(self, script: str, data: bytes) -> Completed:
        """Run shell text whose standard input is `data`, and return what it printed.

        All of the data is read there, whatever the text does: the shell must never take a rest of it for commands.
        The text prints little before it has read its input.
        """
        # What `head` leaves when it is killed would be commands to this shell: then it must not live.
        read = f"{{ head -c {len(data)} || kill -9 $$; }}"
        text = f"echo go; {read} | {{ (eval {quote(script)}); c=$?; cat >/dev/null; exit $c; }}"
        await self._send(text, (), "2>&1", stdin="")
        while not self._buffer.startswith(b"go\n"):  # the shell reads ahead: the data must not be in its buffer
            if len(self._buffer) > 3:
                return await self._finish()
            self._buffer += await self._more()
        self._buffer = self._buffer[3:]
        await self._channel.write(data)
        return await self._finish()

    async def close(self) -> None:
        """End the shell. Idempotent."""
        await self._channel.kill()

    last: Completed = Completed(0, b"")

    async def _send(self, script: str, args: tuple[str, ...], errors: str, stdin: str = "</dev/null") -> None:
        sets = f"set -- {words(args)}\n" if args else ""
        # `(eval TEXT)`: a syntax error, `exit` or `cd` in it does not reach this shell.
        text = f"(eval {quote(sets + script)}) {stdin} {errors}; printf '\\n%s %s\\n' {self._mark} $?\n"
        await self._channel.write(encode(text))

    async def _finish(self) -> Completed:
        mark = b"\n" + self._mark.encode() + b" "
        start = 0
        while True:
            at = self._buffer.find(mark, start)
            if at >= 0 and (end := self._buffer.find(b"\n", at + len(mark))) >= 0:
                output, code = self._buffer[:at], self._buffer[at + len(mark) : end]
                self._buffer = self._buffer[end + 1 :]
                return Completed(int(code), output)
            start = max(0, len(self._buffer) - len(mark) - 8) if at < 0 else at
            self._buffer += await self._more()

    async def _more(self) -> bytes:
        data = await self._channel.read()
        if not data:
            said = decode(self._channel.errors)[-300:].strip()
            raise Unreachable(f"{self.location}: the shell there ended{': ' + said if said else ''}")
        return data

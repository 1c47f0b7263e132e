"""A pipe between two locations that runs at a third place, or at one of them: none of its bytes pass through here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..connect.base import Channel, Connector
from ..connect.peers import Gate, HasPeers, Peer
from ..errors import TransferError, quote_tail
from ..model import Location
from ..remote.quote import decode, quote, words

_SSH = """ssh -T -o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=15 -o LogLevel=ERROR \
-o StrictHostKeyChecking=yes -o HostKeyAlias=peer -o UserKnownHostsFile="$d"/known -o GlobalKnownHostsFile=/dev/null \
-o ClearAllForwardings=yes -o ForwardAgent=no -o ForwardX11=no"""


@dataclass(frozen=True, slots=True)
class Login:
    """How one end of a pipe is logged in to from where it runs: with keys that are lent; None: with what is there."""

    peer: Peer
    keys: Sequence[Any] | None


@dataclass(frozen=True, slots=True)
class End:
    """One end of a pipe: `argv` is what starts a command there, after the login when there is one."""

    argv: tuple[str, ...] = ()
    login: Login | None = None

    def command(self, script: str) -> str:
        """Shell text that runs a script there."""
        command = words([*self.argv, "sh", script])
        if self.login is None:
            return command
        peer = self.login.peer
        agent = 'SSH_AUTH_SOCK="$d"/agent ' if self.login.keys is not None else ""
        return f"{agent}{_SSH} -p {peer.port} -l {quote(peer.user)} -- {quote(peer.host)} {quote(command)}"


@dataclass(frozen=True, slots=True)
class Pipe:
    """Where a pipe runs and what it joins."""

    connector: Connector
    location: Location
    giver: End
    taker: End

    async def run(self, script: str, other: str) -> None:
        """Run a script at the giver; its output is the input of the other script, at the taker.

        Raises:
            TransferError: the taker failed.
            Unreachable: the place where the pipe runs does not answer.
        """
        joined = f"{self.giver.command(script)} </dev/null | {self.taker.command(other)}"
        login = self.giver.login or self.taker.login
        if login is None:
            text = f"exec 2>&1; {joined}"
        else:
            known = f"peer {login.peer.host_key}"
            text = f"""exec 2>&1; d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT; trap 'exit 1' HUP INT TERM PIPE
printf '%s\\n' {quote(known)} >"$d"/known; printf '%s\\n' "$d"; read -r x || exit 1
{joined}"""
        async with await self.connector.open(self.location, ["sh", "-c", text]) as channel:
            output = await (_drained(channel, b"") if login is None else self._joined(channel, login))
            if code := await channel.wait():
                raise TransferError(f"the pipe at {self.location.name} ended with code {code}:\n{quote_tail(output)}")

    async def _joined(self, channel: Channel, login: Login) -> bytes:
        folder = b""
        while b"\n" not in folder:
            if not (data := await channel.read()):
                return folder
            folder += data
        if login.keys is None:
            await channel.write(b"\n")
            return await _drained(channel, b"")
        assert isinstance(self.connector, HasPeers)
        path = decode(folder).rstrip("\n") + "/agent"
        async with self.connector.lend(self.location, path, login.keys, login.peer.user):
            await channel.write(b"\n")
            return await _drained(channel, b"")


async def _drained(channel: Channel, output: bytes) -> bytes:
    while data := await channel.read():
        output = (output + data)[-10_000:]
    return output


def at_gate(giver: Gate, taker: Gate) -> Pipe:
    """Return the pipe between two locations that are entered from the same place."""
    return Pipe(giver.connector, giver.location, End(giver.argv), End(taker.argv))


async def by_ssh(giver: Gate, taker: Gate, *, at_giver: bool) -> Pipe:
    """Return the pipe that runs at one gate and logs in to the other.

    Raises:
        Unreachable: the other does not answer.
    """
    near, far = (giver, taker) if at_giver else (taker, giver)
    assert isinstance(near.connector, HasPeers)
    assert isinstance(far.connector, HasPeers)
    keys = await far.connector.keys(far.location) if near.connector.direct == "agent" else None
    end = End(far.argv, Login(await far.connector.peer(far.location), keys))
    ends = (End(near.argv), end) if at_giver else (end, End(near.argv))
    return Pipe(near.connector, near.location, *ends)

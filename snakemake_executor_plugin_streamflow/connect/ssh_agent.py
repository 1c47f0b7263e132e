"""An agent that lives here and is lent to a host: it signs logins of one user, and nothing else.

The protocol: https://datatracker.ietf.org/doc/html/draft-miller-ssh-agent
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Sequence

import asyncssh
from asyncssh.packet import Byte, SSHPacket, String, UInt32

from ..errors import Unreachable
from .ssh_login import Prepared

FAILURE, REQUEST_IDENTITIES, IDENTITIES_ANSWER, SIGN_REQUEST, SIGN_RESPONSE = 5, 11, 12, 13, 14
RSA_FLAGS = {2: b"rsa-sha2-256", 4: b"rsa-sha2-512"}
USERAUTH_REQUEST = 50
LONGEST_B = 256 * 1024


async def keys_of(prepared: Prepared) -> Sequence[asyncssh.SSHKeyPair]:
    """Return the keys that a login is proved with: from files, then from the user's own agent."""
    options = await asyncio.to_thread(lambda: asyncssh.SSHClientConnectionOptions(**prepared.arguments))
    keys = list(options.client_keys or ())
    if options.agent_path:
        with contextlib.suppress(OSError, asyncssh.Error):
            agent = await asyncssh.connect_agent(options.agent_path)
            keys += await agent.get_keys()
    return keys


@contextlib.asynccontextmanager
async def lent(
    connection: asyncssh.SSHClientConnection, path: str, keys: Sequence[asyncssh.SSHKeyPair], user: str
) -> AsyncIterator[None]:
    """Serve an agent at a unix socket of a host.

    Raises:
        Unreachable: sshd does not allow it.
    """

    async def serve(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncssh.Error, OSError):
            while (size := int.from_bytes(await reader.readexactly(4), "big")) <= LONGEST_B:
                answer = await _answer(await reader.readexactly(size), keys, user)
                writer.write(UInt32(len(answer)) + answer)
        writer.close()

    try:
        listener = await connection.start_unix_server(lambda: serve, path, encoding=None)
    except (OSError, asyncssh.Error) as error:
        raise Unreachable(f"no agent can be lent: {error}") from error
    try:
        yield
    finally:
        listener.close()


async def _answer(message: bytes, keys: Sequence[asyncssh.SSHKeyPair], user: str) -> bytes:
    packet = SSHPacket(message)
    try:
        kind = packet.get_byte()
        if kind == REQUEST_IDENTITIES:
            listed = b"".join(String(key.public_data) + String(key.get_comment_bytes() or b"") for key in keys)
            return Byte(IDENTITIES_ANSWER) + UInt32(len(keys)) + listed
        if kind == SIGN_REQUEST:
            blob, data, flags = packet.get_string(), packet.get_string(), packet.get_uint32()
            key = next((key for key in keys if key.public_data == blob), None)
            if key is not None and _user(data) == user:
                return Byte(SIGN_RESPONSE) + String(await _sign(key, data, flags))
    except (asyncssh.Error, ValueError):
        pass
    return Byte(FAILURE)


def _user(data: bytes) -> str:
    """The user of what is to be signed: RFC 4252, section 7."""
    packet = SSHPacket(data)
    packet.get_string()  # of the session
    if packet.get_byte() != USERAUTH_REQUEST:
        raise ValueError("this is no login")
    return packet.get_string().decode()


async def _sign(key: asyncssh.SSHKeyPair, data: bytes, flags: int) -> bytes:
    if key.algorithm == b"ssh-rsa":
        key.set_sig_algorithm(next((name for flag, name in RSA_FLAGS.items() if flags & flag), b"ssh-rsa"))
    signature = key.sign(data)
    return await signature if inspect.isawaitable(signature) else signature

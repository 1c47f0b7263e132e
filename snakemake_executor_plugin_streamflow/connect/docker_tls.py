"""TLS to a Docker engine, with the half-close that asyncio's and Python's own TLS streams lack."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import threading

CONNECT_TIMEOUT_S = 10
PIECE_B = 256 * 1024
ENOUGH_B = 1024 * 1024


async def tls_socket(host: str, port: int, context: ssl.SSLContext) -> socket.socket:
    """Connect, and return a plain socket that stands for the inside of the TLS connection.

    What is written to it arrives at the server; shutting it down for writing sends TLS's own end of data, after which
    the server's answer can still be read (RFC 8446, section 6.1). A thread stands between; it ends with either side.

    Raises:
        OSError: no connection, or the certificates are not accepted (`ssl.SSLError`).
    """
    relay = await asyncio.to_thread(Relay, host, port, context)
    relay.near.setblocking(False)
    threading.Thread(target=relay.run, name=f"tls-{host}", daemon=True).start()
    return relay.near


class Relay:
    """One TLS connection and the plain socket that stands for it."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._raw = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        try:
            self._raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._shake_hands()
        except BaseException:
            self._raw.close()
            raise
        self.near, self._plain = socket.socketpair()
        self._raw.setblocking(False)
        self._plain.setblocking(False)
        self._to_raw, self._to_plain = bytearray(), bytearray()
        self._raw_ended = self._plain_ended = False

    def run(self) -> None:
        """Carry bytes both ways until the server ends, the near side is closed, or the connection breaks.

        A connection that breaks looks like one that ends, as with any socket: who reads asks the engine.
        """
        with self._raw, self._plain, contextlib.suppress(OSError):
            self._decrypt()  # what came with the handshake
            while not (self._raw_ended and not self._to_plain):
                reading = [self._raw] if not self._raw_ended and len(self._to_plain) < ENOUGH_B else []
                reading += [self._plain] if not self._plain_ended and len(self._to_raw) < ENOUGH_B else []
                writing = [self._raw] if self._to_raw else []
                writing += [self._plain] if self._to_plain else []
                readable, writable = _ready(self._plain, reading, writing)
                if self._plain in readable:
                    self._encrypt(self._plain.recv(PIECE_B))
                if self._raw in readable:
                    data = self._raw.recv(PIECE_B)
                    self._incoming.write(data) if data else self._incoming.write_eof()
                    self._raw_ended |= not data
                    self._decrypt()
                for sock, waiting in ((self._raw, self._to_raw), (self._plain, self._to_plain)):
                    if sock in writable:
                        del waiting[: sock.send(waiting)]

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self._raw.sendall(self._outgoing.read())
                if not (data := self._raw.recv(PIECE_B)):
                    raise ConnectionResetError("the server ended the connection in the TLS handshake") from None
                self._incoming.write(data)
            finally:
                self._raw.sendall(self._outgoing.read())

    def _encrypt(self, data: bytes) -> None:
        if data:
            self._tls.write(data)
        else:
            self._plain_ended = True
            # Everything that came was taken already, so this sends our end and finds nothing to read: the way back
            # stays open.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
        self._to_raw += self._outgoing.read()

    def _decrypt(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                try:
                    data = self._tls.read(PIECE_B)
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    data = b""
                if not data:
                    self._raw_ended = True
                    break
                self._to_plain += data
        self._to_raw += self._outgoing.read()


def _ready(
    plain: socket.socket, reading: list[socket.socket], writing: list[socket.socket]
) -> tuple[set[socket.socket], set[socket.socket]]:
    """Wait as `select.select` does, for descriptors of any number; notices also that the near side is gone.

    Raises:
        ConnectionResetError: it is.
    """
    poll, sockets = select.poll(), {sock.fileno(): sock for sock in {*reading, *writing, plain}}
    for number, sock in sockets.items():
        wanted = (select.POLLIN if sock in reading else 0) | (select.POLLOUT if sock in writing else 0)
        poll.register(number, wanted)
    readable, writable = set(), set()
    for number, event in poll.poll():
        sock = sockets[number]
        if sock is plain and event & (select.POLLHUP | select.POLLERR):
            raise ConnectionResetError("nobody listens any more")
        if sock in reading and event & (select.POLLIN | select.POLLHUP | select.POLLERR):
            readable.add(sock)
        if sock in writing and event & select.POLLOUT:
            writable.add(sock)
    return readable, writable

"""Known hosts: which host keys are trusted, and remembering new ones. Format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncssh

GLOBAL = Path("/etc/ssh/ssh_known_hosts")
SSH_PORT = 22


class KnownHosts:
    """The known hosts of one or more files; new ones are written to the first."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def load(self) -> asyncssh.SSHKnownHosts:
        """Read the files as they are now. What is missing or not understood is left out, as OpenSSH does."""
        known = asyncssh.SSHKnownHosts()
        for file in (*self.files, GLOBAL):
            try:
                text = file.read_text("utf-8", "surrogateescape")
            except OSError:
                continue
            for line in text.splitlines():
                try:
                    known.load(line)
                except ValueError:
                    continue
        return known

    def knows(self, host: str, address: str, port: int) -> bool:
        """Whether some key, or an authority, is on file for a host."""
        keys, authorities, *_ = self.load().match(host, address, port if port != SSH_PORT else None)
        return bool(keys or authorities)

    def remember(self, host: str, port: int, key: asyncssh.SSHKey) -> None:
        """Append a host's key, hashed when the file's other names are. Safe against other writers.

        Raises:
            OSError: the file cannot be written.
        """
        file = self.files[0]
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            text = stream.read()
            name = host if port == SSH_PORT else f"[{host}]:{port}"
            if any(line.startswith(b"|1|") for line in text.splitlines()):
                name = _hashed(name)
            line = f"{name} {key.export_public_key().decode().strip()}\n".encode()
            stream.write(line if not text or text.endswith(b"\n") else b"\n" + line)


def _hashed(name: str) -> str:
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


class Visitor(asyncssh.SSHClient):
    """Looks at the key that a host shows, and accepts a new one when it may."""

    def __init__(self, known: KnownHosts, *, accept_new: bool) -> None:
        self._known = known
        self._accept_new = accept_new
        self.shown: asyncssh.SSHKey | None = None
        self.changed = False
        self.unwritten: OSError | None = None
        self.on_lost: Callable[[Exception | None], None] | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Say whether a key that is not on file is trusted."""
        self.shown = key
        self.changed = self._known.knows(host, addr, port)
        if self.changed or not self._accept_new:
            return False
        try:
            self._known.remember(host, port, key)
        except OSError as error:
            self.unwritten = error
            return False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner of the connection that it is gone."""
        if self.on_lost is not None:
            self.on_lost(exc)

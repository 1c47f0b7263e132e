"""A login host: an sshd on this machine, for root and on a free port, that sees the same files."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from .ssh import check


class Login:
    """The host `address`, which lets `key` in; `known_hosts` knows it. `env` is set in every session."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.dir = Path()
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def key(self) -> Path:
        return self.dir / "id"

    @property
    def known_hosts(self) -> Path:
        return self.dir / "known_hosts"

    def __enter__(self) -> Self:
        check()
        self.dir = Path(tempfile.mkdtemp(prefix="sflogin-"))
        for name in ("id", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.dir / name], check=True)
        shutil.copy(self.dir / "id.pub", self.dir / "authorized")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        kind, key, *_ = (self.dir / "host_key.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        options = [
            *("HostKey", self.dir / "host_key", "AuthorizedKeysFile", self.dir / "authorized", "ListenAddress"),
            *(f"127.0.0.1:{self.port}", "UsePAM", "no", "PermitRootLogin", "yes", "StrictModes", "no"),
            *("UseDNS", "no", "PidFile", "none", "MaxStartups", "100:30:200"),
            *("SetEnv", " ".join(f"{name}={value}" for name, value in self._env.items())),
        ]
        words = [f"-o{name}={value}" for name, value in zip(options[::2], options[1::2], strict=True)]
        Path("/run/sshd").mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", *words], stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            if time.monotonic() > end or self._process.poll() is not None:
                self.close()
                raise RuntimeError("sshd did not start")
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut(self) -> None:
        """End all connections; new ones are taken."""
        children = Path(f"/proc/{self._pid()}/task/{self._pid()}/children").read_text().split()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), 9)

    def close(self) -> None:
        """End sshd and its connections."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                self.cut()
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

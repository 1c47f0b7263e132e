"""An HTCondor pool of one machine with four slots: a container, in which the user `worker` submits.

    from ..servers.htcondor import htcondor  # noqa: F401 - fixture

Needs root and `mmdebstrap`, which is installed when it is missing: the packages are those of Debian 13. The image
is made once (half a minute) and stays.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import ImageNotFound
from docker.models.containers import Container

from .docker import DockerEngine, docker_engine  # noqa: F401 - fixture

IMAGE = "streamflow-test/htcondor:1"
START_S = 60.0
CONFIG = """
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_INTERVAL = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
PERIODIC_EXPR_INTERVAL = 2
UPDATE_INTERVAL = 2
STARTER_INITIAL_UPDATE_INTERVAL = 2
NUM_CPUS = 4
MEMORY = 4000
"""
START = "install -d -o condor -g condor /run/condor /var/lock/condor; condor_master; exec sleep infinity"


class Htcondor:
    """The pool."""

    def __init__(self, engine: DockerEngine, container: Container) -> None:
        self.engine = engine.address
        self.container = container

    @property
    def id(self) -> str:
        """The container's."""
        return str(self.container.id)

    def said(self, command: str) -> str:
        """Run a command as the user and return what it printed."""
        return str(self.container.exec_run(["sh", "-c", command], user="worker").output.decode())


@pytest.fixture(scope="session")
def htcondor(docker_engine: DockerEngine) -> Iterator[Htcondor]:
    """The pool, up."""
    with docker_engine.client() as client:
        try:
            client.images.get(IMAGE)
        except ImageNotFound:
            _make_image(docker_engine)
        container = client.containers.run(IMAGE, ["sh", "-c", START], detach=True, init=True, hostname="pool")
        try:
            pool = Htcondor(docker_engine, container)
            end = time.monotonic() + START_S
            while "slot" not in pool.said("condor_status -af Name && condor_q >/dev/null || echo not yet"):
                if time.monotonic() > end:
                    raise RuntimeError(f"HTCondor did not come up: {pool.said('tail -n 20 /var/log/condor/*Log')}")
                time.sleep(0.2)
            yield pool
        finally:
            container.remove(force=True, v=True)


def _make_image(engine: DockerEngine) -> None:
    if shutil.which("mmdebstrap") is None:
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "mmdebstrap"]):
            _run("apt-get", *command)
    with tempfile.TemporaryDirectory(prefix="sfcondor-") as top:
        root = Path(top, "root")
        leave_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
        _run(
            "mmdebstrap", "--quiet", "--variant=minbase", "--include=minicondor,procps", "--dpkgopt=force-unsafe-io",
            *leave_out, "trixie", str(root), _mirror(),
        )  # fmt: skip
        _run("chroot", str(root), "useradd", "-m", "worker")
        (root / "etc/condor/config.d/99-test").write_text(CONFIG)
        _run("tar", "-C", str(root), "--exclude=./var/lib/apt/lists/*", "-cf", f"{top}/image.tar", ".")
        with engine.client() as client:
            name, _, tag = IMAGE.partition(":")
            client.api.import_image_from_file(f"{top}/image.tar", repository=name, tag=tag)


def _mirror() -> str:
    """The Debian mirror that this machine uses."""
    sources = Path("/etc/apt")
    files = [sources / "sources.list", *sources.glob("sources.list.d/*")]
    for file in files:
        if file.is_file() and (
            found := re.search(r"^(?:URIs:|deb)\s.*?(\w+://\S*/debian)/?\s", file.read_text(), re.M)
        ):
            return found[1]
    raise RuntimeError("there is no Debian mirror among this machine's package sources")


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with code {done.returncode}: {done.stderr[-1500:]}")

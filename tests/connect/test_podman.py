"""The podman connector against a real Podman."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import DockerClient

from snakemake_executor_plugin_streamflow.conformance.odd import NASTY
from snakemake_executor_plugin_streamflow.connect.podman import PodmanConnector
from snakemake_executor_plugin_streamflow.model import Deployment, DockerOptions

from ..servers.docker import busybox_tree
from .test_docker import run

LOG = logging.getLogger(__name__)
IMAGE = "localhost/busybox:1"
SETTINGS = """
[containers]
default_ulimits = []
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@pytest.fixture
def podman() -> Iterator[str]:
    """The address of a service with storage of its own, and an image."""
    if shutil.which("podman") is None or shutil.which("runc") is None:
        pytest.fail("no podman: apt-get install podman runc catatonit")
    folder = Path(tempfile.mkdtemp(prefix="sf-podman-"))  # podman takes short paths only
    (folder / "containers.conf").write_text(SETTINGS)
    env = {**os.environ, "CONTAINERS_CONF": f"{folder}/containers.conf"}
    base = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run"]
    try:
        subprocess.run([*base, "import", "-c", "ENV PATH=/bin", "-", IMAGE], input=busybox_tree(), env=env, check=True)
        address = f"unix://{folder}/p.sock"
        service = subprocess.Popen([*base, "system", "service", "-t", "0", address], env=env)
        try:
            deadline = time.monotonic() + 20
            while not (folder / "p.sock").exists():
                assert service.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield address
        finally:
            service.terminate()
            service.wait()
    finally:
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (point := line.split()[1]).startswith(f"{folder}/"):
                subprocess.run(["umount", "-l", point], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def test_containers_of_podman_are_locations(podman: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINER_HOST", podman)
    options = DockerOptions(image=IMAGE, replicas=2, pull="never")
    connector = PodmanConnector(Deployment("pod", "podman", options), run="tpodman", inner=None, log=LOG)

    async def check() -> None:
        try:
            await connector.deploy()
            found = await connector.locations(None)
            assert [one.name for one in found] == ["pod/1", "pod/2"]
            text = 'printf %s "$V"; cat; echo e >&2; exit 7'
            done = await run(connector, found[1], ["sh", "-c", text], b"\0\xff", {"V": "".join(NASTY)})
            assert (done.code, done.stdout, done.stderr) == (7, os.fsencode("".join(NASTY)) + b"\0\xff", b"e\n")
            data = bytes(range(256)) * 40000
            assert (await run(connector, found[0], ["cat"], data)).stdout == data
        finally:
            await connector.undeploy()
            await connector.undeploy()
            await connector.close()

    asyncio.run(check())
    client = DockerClient(base_url=podman)
    assert client.containers.list(all=True, ignore_removed=True) == []
    client.close()

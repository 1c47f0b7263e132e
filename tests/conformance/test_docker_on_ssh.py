"""Two containers of an engine that is reached by ssh."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from snakemake_executor_plugin_streamflow.model import Deployment, Wraps
from tests.conformance.test_ssh import lab
from tests.servers import docker as docker_servers
from tests.servers.docker import DockerEngine
from tests.servers.ssh import SshHosts

from .test_docker import Containers

docker_engine = docker_servers.docker_engine
debian_image = docker_servers.debian_image

SOCKET = "/run/engine.sock"


@pytest.fixture(scope="session")
def one_host(docker_engine: DockerEngine) -> Iterator[SshHosts]:
    """A host with a socket that leads to the engine of this machine."""
    with SshHosts(1) as hosts, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{hosts.root(1)}{SOCKET}")
        listener.listen(100)
        threading.Thread(target=accept, args=(listener, docker_engine.address), daemon=True).start()
        yield hosts


def accept(listener: socket.socket, address: str) -> None:
    """Lead each connection to the engine, until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(address.removeprefix("unix://"))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=pump, args=(source, target), daemon=True).start()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on, and their end."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class TestDockerOnSsh(Containers):
    """Everything goes through the login."""

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, docker_engine: DockerEngine, debian_image: str, one_host: SshHosts) -> dict[str, Deployment]:
        box = cls.containers(docker_engine, debian_image)["box"]
        options = replace(box.options, docker_host=f"unix://{SOCKET}")
        return {"lab": lab(one_host), "box": replace(box, options=options, wraps=Wraps("lab"))}

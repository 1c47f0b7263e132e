"""Two containers of an engine that is reached by ssh."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from snakemake_executor_plugin_streamflow.conformance.place import Place
from snakemake_executor_plugin_streamflow.model import Deployment, Wraps
from snakemake_executor_plugin_streamflow.move.mover import Mover
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

    def test_what_moves_between_containers_stays_at_their_host(self, place: Place) -> None:
        if shutil.which("docker") is None:
            pytest.skip("no docker command on this machine, hence at the host neither: apt-get install docker-cli")

        async def check() -> None:
            a, b, routes = place.fresh(), place.fresh(), list[str]()
            one, two = (site.shells for site in place.sites)
            await one.ask(f"mkdir -p {a}/d; head -c 30000000 /dev/urandom >{a}/d/x; chmod 711 {a}/d/x")
            passed_b = place.connector.read_b + place.connector.written_b
            async with asyncio.TaskGroup() as group:
                mover = Mover(group.create_task, lambda *seen: routes.append(seen[-1]))
                await mover.move(one, two, await one.list({a: b}))
            assert routes == ["host"]
            assert place.connector.read_b + place.connector.written_b - passed_b < 50_000
            sums = [(await store.ask(f"sha1sum <{name}/d/x")).text for store, name in ((one, a), (two, b))]
            assert sums[0] == sums[1]
            assert (await two.stat([f"{b}/d/x"]))[0].mode == 0o711
            await place.nothing_left()

        place.do(check())

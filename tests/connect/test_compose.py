"""The Compose connector against a real engine."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_streamflow.connect.compose import ComposeConnector
from snakemake_executor_plugin_streamflow.errors import DeployError
from snakemake_executor_plugin_streamflow.model import CONTROLLER, ComposeOptions, Deployment

from ..servers.docker import DockerEngine, busybox_image, docker_engine  # noqa: F401 - fixtures
from .test_docker import run

LOG = logging.getLogger(__name__)
Project = Callable[..., ComposeConnector]

SERVICES = """
services:
  db:
    image: {image}
    command: ["sh", "-c", "sleep 0.3; touch /ready; exec sleep 1000"]
    init: true
    stop_grace_period: 1s
    healthcheck: {{test: ["CMD", "test", "-e", "/ready"], interval: 200ms, timeout: 2s, retries: 50}}
  worker:
    image: {image}
    command: sleep 1000
    init: true
    stop_grace_period: 1s
    depends_on: {{db: {{condition: service_healthy}}}}
    volumes: [".:/seen"]
  extra:
    image: {image}
    command: sleep 1000
    init: true
    profiles: [more]
    stop_grace_period: 1s
"""
BROKEN = """
services:
  worker:
    image: {image}
    command: ["sh", "-c", "exit 3"]
"""


@pytest.fixture
def project(tmp_path: Path, docker_engine: DockerEngine, busybox_image: str) -> Project:
    """Make a connector for a text of a Compose file."""

    def make(text: str = SERVICES, *, external: bool = False, **options: Any) -> ComposeConnector:
        file = tmp_path / "compose.yaml"
        file.write_text(text.format(image=busybox_image))
        given = {"files": (str(file),), "docker_host": docker_engine.address, "timeout": 1, **options}
        deployment = Deployment("stack", "docker-compose", ComposeOptions(**given), external=external)
        return ComposeConnector(deployment, run=f"t{secrets.token_hex(4)}", inner=None, log=LOG)

    return make


def containers(engine: DockerEngine, connector: ComposeConnector) -> list[Any]:
    """All containers of the connector's project."""
    name = connector.handle().split()[-1]
    with engine.client() as client:
        mine = {"label": f"com.docker.compose.project={name}"}
        return client.containers.list(all=True, ignore_removed=True, filters=mine)


def up(connector: ComposeConnector, work: Callable[[], Awaitable[None]]) -> None:
    """Do work while a project is up."""

    async def go() -> None:
        try:
            await connector.deploy()
            await work()
        finally:
            await connector.undeploy()
            await connector.undeploy()
            await connector.close()

    asyncio.run(go())


def test_services_are_healthy_and_each_container_is_a_location_with_a_stable_name(
    project: Project, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    connector = project(scale={"worker": 2})

    async def check() -> None:
        everything = await connector.locations(None)
        assert [one.name for one in everything] == ["stack/db/1", "stack/worker/1", "stack/worker/2"]
        workers = await connector.locations("worker")
        assert [(one.name, one.service) for one in workers] == [
            ("stack/worker/1", "worker"),
            ("stack/worker/2", "worker"),
        ]
        db = (await connector.locations("db"))[0]
        assert (await run(connector, db, ["test", "-e", "/ready"])).code == 0
        (tmp_path / "x").write_text("seen")
        done = await run(connector, workers[1], ["sh", "-c", 'cat /seen/x; printf %s "$V"; cat'], b"in", {"V": "a'$b"})
        assert (done.code, done.stdout) == (0, b"seena'$bin")
        mount = workers[0].mounts[0]
        assert (str(mount.path), mount.source, str(mount.source_path)) == ("/seen", CONTROLLER, str(tmp_path))
        with pytest.raises(DeployError, match="no service 'wrker' that is running; it has db, worker"):
            await connector.locations("wrker")

    up(connector, check)
    assert containers(docker_engine, connector) == []


def test_a_profile_brings_up_its_services(project: Project) -> None:
    connector = project(profiles=("more",))

    async def check() -> None:
        assert [one.name for one in await connector.locations("extra")] == ["stack/extra/1"]

    up(connector, check)


def test_a_project_that_does_not_come_up_leaves_nothing_and_tells_the_commands_words(
    project: Project, docker_engine: DockerEngine
) -> None:
    connector = project(BROKEN)
    with pytest.raises(DeployError, match=r"cannot be brought up:(.|\n)*exited \(3\)"):
        asyncio.run(connector.deploy())
    assert containers(docker_engine, connector) == []


def test_cancelling_the_bring_up_leaves_nothing(project: Project, docker_engine: DockerEngine) -> None:
    connector = project(SERVICES.replace("touch /ready", "true"))

    async def check() -> None:
        bringing_up = asyncio.create_task(connector.deploy())
        while not await asyncio.to_thread(containers, docker_engine, connector):
            await asyncio.sleep(0.05)
        bringing_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bringing_up

    asyncio.run(check())
    assert containers(docker_engine, connector) == []


def test_a_project_of_somebody_else_is_used_when_external_and_otherwise_left_alone(
    project: Project, docker_engine: DockerEngine
) -> None:
    name = f"theirs-{secrets.token_hex(4)}"
    theirs = project(project_name=name)

    async def check() -> None:
        with pytest.raises(DeployError, match="has containers already: say `external: true`"):
            await project(project_name=name).deploy()
        for more in ({"project_name": name}, {}):
            used = project(f"name: {name}\n{SERVICES}", external=True, **more)
            assert [one.name for one in await used.locations("db")] == ["stack/db/1"]
            await used.close()

    up(theirs, check)


def test_another_process_of_the_run_takes_the_project_down(project: Project, docker_engine: DockerEngine) -> None:
    connector = project()

    async def check() -> None:
        later = project()
        later.run = connector.run
        await later.undeploy()
        await later.close()
        assert await asyncio.to_thread(containers, docker_engine, connector) == []
        with pytest.raises(DeployError, match="is running") as caught:
            await connector.locations(None)
        assert caught.value.transient

    up(connector, check)

"""A Compose project of one service with two containers, on an engine here and on one that is reached by ssh."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.conformance import ConformanceSuite
from snakemake_executor_plugin_streamflow.model import ComposeOptions, Deployment
from tests.conformance import test_docker_on_ssh as on_ssh
from tests.servers import docker as servers
from tests.servers.docker import DockerEngine

docker_engine = servers.docker_engine
debian_image = servers.debian_image
one_host = on_ssh.one_host

PROJECT = """
services:
  worker:
    image: {image}
    command: sleep infinity
    init: true
    tmpfs: ["/small:size=8m"]
    healthcheck: {{test: ["CMD", "true"], interval: 1s, timeout: 2s, retries: 5}}
    stop_grace_period: 1s
"""


def project(folder: Path, engine: DockerEngine, image: str) -> Deployment:
    """A deployment of two containers."""
    file = folder / "compose.yaml"
    file.write_text(PROJECT.format(image=image))
    options = ComposeOptions(files=(str(file),), docker_host=engine.address, scale={"worker": 2}, timeout=1)
    return Deployment(name="stack", type="docker-compose", options=options, workdir=PurePosixPath("/work"))


class TestCompose(ConformanceSuite):
    """Here."""

    small = "/small"

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(
        cls, tmp_path_factory: pytest.TempPathFactory, docker_engine: DockerEngine, debian_image: str
    ) -> dict[str, Deployment]:
        return {"stack": project(tmp_path_factory.mktemp("project"), docker_engine, debian_image)}

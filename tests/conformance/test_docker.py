"""Two containers, of an image with GNU tools and bash, and of one with busybox alone."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.conformance import ConformanceSuite
from snakemake_executor_plugin_streamflow.model import Deployment, DockerOptions
from tests.servers import docker as servers
from tests.servers.docker import DockerEngine

docker_engine = servers.docker_engine
debian_image = servers.debian_image
busybox_image = servers.busybox_image


class Containers(ConformanceSuite):
    """Two containers."""

    small = "/small"

    @staticmethod
    def containers(engine: DockerEngine, image: str) -> dict[str, Deployment]:
        """A deployment of two."""
        options = DockerOptions(
            image=image, docker_host=engine.address, replicas=2, pull="never", tmpfs=("/small:size=8m",)
        )
        return {"box": Deployment(name="box", type="docker", options=options, workdir=PurePosixPath("/work"))}


class TestDebian(Containers):
    """GNU tools and bash."""

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, docker_engine: DockerEngine, debian_image: str) -> dict[str, Deployment]:
        return cls.containers(docker_engine, debian_image)


class TestBusybox(Containers):
    """Nothing but busybox."""

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, docker_engine: DockerEngine, busybox_image: str) -> dict[str, Deployment]:
        return cls.containers(docker_engine, busybox_image)

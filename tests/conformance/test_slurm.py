"""Jobs of a Slurm cluster of three nodes, submitted on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.conformance import ConformanceSuite
from snakemake_executor_plugin_streamflow.model import Deployment, SlurmOptions, SlurmService
from tests.servers import slurm as servers
from tests.servers.slurm import Slurm

slurm = servers.slurm


class TestSlurm(ConformanceSuite):
    """The nodes share this machine's files."""

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Deployment]:
        workdir = PurePosixPath(tmp_path_factory.mktemp("cluster") / "work ünï")
        options = SlurmOptions(services={"main": SlurmService(partition="main")})
        return {"cluster": Deployment(name="cluster", type="slurm", options=options, workdir=workdir)}

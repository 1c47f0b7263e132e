"""Jobs of a Slurm cluster of three nodes, submitted on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.conformance import ConformanceSuite
from snakemake_executor_plugin_streamflow.conformance.data import MovesFiles
from snakemake_executor_plugin_streamflow.model import Deployment, SlurmOptions, SlurmService
from snakemake_executor_plugin_streamflow.model.queue_options import Pack
from tests.servers import slurm as servers
from tests.servers.slurm import Slurm

slurm = servers.slurm


class Jobs(ConformanceSuite):
    """Without the rows on data, which travels through shells of the inner location: that has rows of its own."""


for _name in filter(re.compile("test_").match, vars(MovesFiles)):
    setattr(Jobs, _name, None)


class TestSlurm(Jobs):
    """The nodes share this machine's files."""

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Deployment]:
        workdir = PurePosixPath(tmp_path_factory.mktemp("cluster") / "work ünï")
        options = SlurmOptions(services={"main": SlurmService(partition="main")})
        return {"cluster": Deployment(name="cluster", type="slurm", options=options, workdir=workdir)}


class TestHeldNodes(Jobs):
    """A node of an allocation that is held."""

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Deployment]:
        workdir = PurePosixPath(tmp_path_factory.mktemp("held") / "work ünï")
        pack = Pack(nodes=1, cores=4, memory=10**9, walltime=10, idle=60)
        options = SlurmOptions(services={"main": SlurmService(partition="main", pack=pack)})
        return {"cluster": Deployment(name="cluster", type="slurm", options=options, workdir=workdir)}

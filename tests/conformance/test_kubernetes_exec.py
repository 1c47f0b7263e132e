"""Processes over the websocket of `pods/exec`, on this machine: a real server of that protocol, and no cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.conformance import ConformanceSuite
from snakemake_executor_plugin_streamflow.connect.kubernetes_exec import V5
from snakemake_executor_plugin_streamflow.model import Deployment, KubernetesOptions
from tests.servers.kubernetes_exec import ExecServer, exec_server


@pytest.fixture(scope="class")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExecServer]:
    with exec_server(tmp_path_factory.mktemp("cluster"), V5) as running:
        yield running


class TestExec(ConformanceSuite):
    """Two pods whose processes are processes of this machine."""

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, server: ExecServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployment]:
        options = KubernetesOptions(kubeconfig=str(server.kubeconfig), selector="app=worker")
        workdir = PurePosixPath(tmp_path_factory.mktemp("site"))
        return {"pods": Deployment("pods", "kubernetes", options, external=True, workdir=workdir)}

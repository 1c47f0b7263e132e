"""Jobs of batch/v1 whose services do not all come up; the API server is a stand-in."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.connect.kubernetes_job import KubernetesJobConnector
from snakemake_executor_plugin_streamflow.errors import DeployError
from snakemake_executor_plugin_streamflow.model import Deployment, JobService, KubernetesJobOptions
from tests.servers.kubernetes_batch import FORBIDDEN, MISSING, BatchServer, batch_server


def jobs(server: BatchServer, **images: str) -> KubernetesJobConnector:
    services = {name: JobService(image=image, count=2) for name, image in images.items()}
    options = KubernetesJobOptions(kubeconfig=str(server.kubeconfig), services=services, timeout=20)
    return KubernetesJobConnector(
        Deployment("batch", "kubernetes-job", options), run="r", inner=None, log=logging.getLogger("test")
    )


def test_only_the_jobs_of_a_service_that_does_not_come_up_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def check(batch: KubernetesJobConnector) -> None:
        await batch.deploy()
        assert [one.service for one in await batch.locations("good")] == ["good", "good"]
        assert [one.service for one in await batch.locations(None)] == ["good", "good"]
        with pytest.raises(DeployError, match=r"service gone cannot be used: .*ImagePullBackOff"):
            await batch.locations("gone")
        with pytest.raises(DeployError, match=r"service large cannot be used: .*exceeded quota"):
            await batch.locations("large")
        await batch.undeploy()
        await batch.close()

    with batch_server(tmp_path) as server:
        asyncio.run(check(jobs(server, gone=MISSING, good="debian:12", large=FORBIDDEN)))
        assert server.jobs == {}
    assert "service gone cannot be used" in caplog.text


def test_a_deployment_of_which_no_service_comes_up_fails_and_leaves_nothing(tmp_path: Path) -> None:
    async def check(batch: KubernetesJobConnector) -> None:
        with pytest.raises(DeployError, match=r"(?s)cannot be brought up in lab: .*ImagePullBackOff"):
            await batch.deploy()
        await batch.close()

    with batch_server(tmp_path) as server:
        asyncio.run(check(jobs(server, gone=MISSING, too=MISSING)))
        assert server.jobs == {}

"""Jobs of batch/v1: services that do not all come up, and Jobs for one task; the API server is a stand-in."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.connect.kubernetes_job import KubernetesJobConnector
from snakemake_executor_plugin_streamflow.errors import DeployError
from snakemake_executor_plugin_streamflow.model import Deployment, JobService, KubernetesJobOptions, Request
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
    async def check(server: BatchServer, batch: KubernetesJobConnector) -> None:
        await batch.deploy()
        assert [one.service for one in await batch.locations("good")] == ["good", "good"]
        assert len(server.jobs) == 2, "those of the others do not hold the room that these may need"
        assert [one.service for one in await batch.locations(None)] == ["good", "good"]
        with pytest.raises(DeployError, match=r"service gone cannot be used: .*ImagePullBackOff"):
            await batch.locations("gone")
        with pytest.raises(DeployError, match=r"service large cannot be used: .*exceeded quota"):
            await batch.locations("large")
        await batch.undeploy()
        await batch.close()

    with batch_server(tmp_path) as server:
        asyncio.run(check(server, jobs(server, gone=MISSING, good="debian:12", large=FORBIDDEN)))
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


def test_a_job_for_a_task_is_as_large_as_that_asks_for_and_goes_with_it(tmp_path: Path) -> None:
    async def check(server: BatchServer) -> None:
        services = {"some": JobService(image="debian:12", memory=5), "none": JobService(image=MISSING)}
        options = KubernetesJobOptions(kubeconfig=str(server.kubeconfig), services=services, timeout=20, per_task=2)
        batch = KubernetesJobConnector(
            Deployment("batch", "kubernetes-job", options), run="r", inner=None, log=logging.getLogger("test")
        )
        await batch.deploy()
        assert server.jobs == {}
        one = await batch.tailor("some", Request(3, 7, 9, {"gpu": 1}), 1)
        (made,) = server.jobs.values()
        size = {"cpu": "3000m", "memory": "7", "ephemeral-storage": "9", "nvidia.com/gpu": "1"}
        (container,) = made["spec"]["template"]["spec"]["containers"]
        assert container["resources"] == {"requests": size, "limits": size}
        (location,) = await batch.locations(one)
        assert (location.service, location.cores, location.memory_b) == (one, 3, 7)

        two = await batch.tailor("some", Request(1), 2)
        assert len(await batch.locations(two)) == 2
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await batch.tailor("some", Request(1), 1)
        await batch.discard(one)
        assert [one.service for one in await batch.locations(two)] == [two, two]
        assert len(server.jobs) == 2
        with pytest.raises(DeployError, match=r"(?s)does not come up: .*ImagePullBackOff"):
            await batch.tailor("none", Request(1), 1)
        assert len(server.jobs) == 2
        server.busy = 2  # a server that says when to come back is asked again
        await batch.undeploy()
        assert server.jobs == {}
        await batch.close()

    with batch_server(tmp_path) as server:
        asyncio.run(check(server))

"""Manifests and Jobs in a real cluster: what is made, what is said when that fails, what is left."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakemake_executor_plugin_streamflow.connect.kubernetes import KubernetesConnector
from snakemake_executor_plugin_streamflow.connect.kubernetes_api import Refused
from snakemake_executor_plugin_streamflow.connect.kubernetes_job import KubernetesJobConnector
from snakemake_executor_plugin_streamflow.connect.kubernetes_pods import PodsConnector
from snakemake_executor_plugin_streamflow.errors import DeployError, Unreachable
from snakemake_executor_plugin_streamflow.model import (
    Bounds,
    Deployment,
    JobService,
    KubernetesJobOptions,
    KubernetesOptions,
    Request,
)
from tests.servers import kubernetes as servers
from tests.servers.kubernetes import IMAGE, kubectl, manifest, names, pod, workload

namespace = servers.namespace
LOG = logging.getLogger("test")
KINDS = "pods,deployments,statefulsets,jobs,configmaps,secrets,services"


def connector(namespace: str, *files: str, external: bool = False, run: str = "", **more: Any) -> KubernetesConnector:
    more = {"timeout": 60, "grace_period": 1, "namespace": namespace, **more}
    deployment = Deployment("box", "kubernetes", KubernetesOptions(files=files, **more), external=external)
    return KubernetesConnector(deployment, run=run or f"t{secrets.token_hex(4)}", inner=None, log=LOG)


def jobs(namespace: str, per_task: int | None = None, **service: Any) -> KubernetesJobConnector:
    services = {"work": JobService(image=IMAGE, **service)}
    options = KubernetesJobOptions(
        services=services, namespace=namespace, timeout=60, grace_period=1, per_task=per_task
    )
    deployment = Deployment("batch", "kubernetes-job", options)
    return KubernetesJobConnector(deployment, run=f"t{secrets.token_hex(4)}", inner=None, log=LOG)


async def said(pods: PodsConnector, text: str, number: int = 0) -> tuple[str, int]:
    """What shell text prints in a container, and its code."""
    async with await pods.open((await pods.locations(None))[number], ["sh", "-c", text]) as channel:
        found = b""
        while data := await channel.read():
            found += data
        return found.decode(), await channel.wait()


def use(*all_pods: PodsConnector, work: Coroutine[Any, Any, None]) -> None:
    """Run something, and take down what it has brought up."""

    async def run() -> None:
        try:
            await work
        finally:
            for pods in all_pods:
                await pods.undeploy()
                await pods.close()

    asyncio.run(run())


@pytest.mark.parametrize(("status", "error"), [(429, Unreachable), (503, Unreachable), (403, DeployError)])
def test_a_busy_api_does_not_say_that_pods_are_gone(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
) -> None:
    async def pods(_: object) -> list[Any]:
        raise Refused("no", status)

    monkeypatch.setattr(KubernetesConnector, "pods", pods)
    with pytest.raises(error):
        asyncio.run(connector("n").locations(None))


def test_all_kinds_are_made_and_only_ours_are_taken_down_also_by_a_later_process(
    namespace: str, tmp_path: Path
) -> None:
    name = f"all-{secrets.token_hex(3)}"
    meta = {"metadata": {"name": name}}
    more = [
        {"apiVersion": "v1", "kind": "ConfigMap", **meta, "data": {"greeting": "hello"}},
        {"apiVersion": "v1", "kind": "Secret", **meta, "stringData": {"word": "hush"}},
        {"apiVersion": "v1", "kind": "Service", **meta, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}},
    ]
    variables = [
        {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": name, "key": "greeting"}}},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": name, "key": "word"}}},
    ]
    worker = workload("Deployment", name, 2, env=variables, resources={"limits": {"cpu": "200m", "memory": "64Mi"}})
    file = manifest(tmp_path, worker, pod(f"{name}-alone"), *more)
    pods = connector(namespace, file)
    later = connector(namespace, file, run=pods.run)
    before = names(namespace, KINDS)

    async def check() -> None:
        await pods.deploy()
        found = await pods.locations("worker")
        assert len(found) == 3
        assert {(one.cores, one.memory_b) for one in found} == {(1, 64 << 20), (None, None)}
        greeted = {(await said(pods, 'printf %s "$GREETING $WORD"', number))[0] for number in range(3)}
        assert greeted == {"hello hush", " "}
        others = connector(namespace, file, external=True)
        assert {one.host for one in await others.locations(None)} == {one.host for one in found}
        chosen = connector(namespace, external=True, selector=f"app={name}")
        assert len(await chosen.locations(None)) == 2
        with pytest.raises(DeployError, match=f"there already, and was left by run {pods.run}"):
            await connector(namespace, file).deploy()
        assert len(await pods.locations(None)) == 3
        await later.undeploy()
        await later.undeploy()
        assert sorted(names(namespace, KINDS)) == sorted(before)

    use(pods, later, work=check())


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"image": "nowhere.invalid/nothing:1", "imagePullPolicy": "Never"}, r"ErrImageNeverPull"),
        ({"command": ["sh", "-c", "echo cannot go on; exit 3"]}, r"(?s)not ready within 5 s.*code 3.*cannot go on"),
        ({"resources": {"requests": {"cpu": "5000"}}}, r"(?s)not ready within 5 s.*not scheduled.*Insufficient cpu"),
        ({"readinessProbe": {"exec": {"command": ["false"]}}}, r"(?s)not ready within 5 s.*readiness probe"),
        ({"image": "IN VALID"}, r"InvalidImageName"),
    ],
)
def test_what_does_not_come_up_is_told_in_the_words_of_the_cluster_and_leaves_nothing(
    container: dict[str, Any], words: str, namespace: str, tmp_path: Path
) -> None:
    name = f"bad-{secrets.token_hex(3)}"
    pods = connector(namespace, manifest(tmp_path, workload("Deployment", name, 1, **container)), timeout=5)

    async def check() -> None:
        with pytest.raises(DeployError, match=words):
            await pods.deploy()
        assert not [one for one in names(namespace, KINDS) if name in one]

    use(pods, work=check())


def test_a_kind_that_the_cluster_does_not_know_is_found_before_anything_is_made(namespace: str, tmp_path: Path) -> None:
    strange = {"apiVersion": "example.org/v1", "kind": "Strange", "metadata": {"name": "x"}}
    pods = connector(namespace, manifest(tmp_path, pod("known"), strange))

    async def check() -> None:
        with pytest.raises(DeployError, match=r"knows no kind Strange in example\.org/v1"):
            await pods.deploy()

    use(pods, work=check())
    assert "Pod/known" not in names(namespace, "pods")


def test_a_pod_that_is_deleted_takes_its_processes_with_it_and_another_comes(namespace: str, tmp_path: Path) -> None:
    name = f"gone-{secrets.token_hex(3)}"
    pods = connector(namespace, manifest(tmp_path, workload("StatefulSet", name, 1)))

    async def check() -> None:
        await pods.deploy()
        location = (await pods.locations(None))[0]
        async with await pods.open(location, ["sh", "-c", "echo up; sleep 100"]) as channel:
            assert await channel.read() == b"up\n"
            kubectl("-n", namespace, "delete", "pod", f"{name}-0", "--wait=false")
            async with asyncio.timeout(20):
                with pytest.raises(Unreachable):
                    await channel.wait()
        async with asyncio.timeout(30):
            while True:
                try:
                    found = await pods.locations(None)
                    break
                except DeployError:
                    await asyncio.sleep(0.2)
        assert [one.name for one in found] == [location.name]
        assert found[0].host != location.host

    use(pods, work=check())


def test_the_rights_that_the_documentation_lists_are_enough(namespace: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text("utf-8")
    role = yaml.safe_load(re.findall(r"```\n(apiVersion: rbac.*?)```", text, re.DOTALL)[0])
    role["metadata"]["namespace"] = namespace
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(role))
    kubectl("-n", namespace, "create", "serviceaccount", "streamflow")
    kubectl(
        "-n",
        namespace,
        "create",
        "rolebinding",
        "streamflow",
        "--role=streamflow",
        f"--serviceaccount={namespace}:streamflow",
    )
    token = kubectl("-n", namespace, "create", "token", "streamflow").strip()
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    file = manifest(tmp_path, workload("Deployment", f"few-{secrets.token_hex(3)}", 1))
    pods = connector(namespace, file, kubeconfig=str(tmp_path / "kubeconfig"))

    async def check() -> None:
        await pods.deploy()
        assert await said(pods, "echo few; exit 4") == ("few\n", 4)
        await pods.undeploy()
        assert not names(namespace, "deployments")

    use(pods, work=check())


def test_a_job_ends_by_itself_when_it_has_nothing_to_do_and_not_before(namespace: str) -> None:
    pods = jobs(namespace, idle=5, count=2, walltime=10, cores=0.1)

    async def check() -> None:
        await pods.deploy()
        locations = await pods.locations("work")
        assert len(locations) == 2
        start = asyncio.get_running_loop().time()
        async with await pods.open(locations[0], ["sh", "-c", "STREAMFLOW_JOB=x exec sleep 9"]) as channel:
            assert await channel.wait() == 0
        assert asyncio.get_running_loop().time() - start >= 9
        assert [one.name for one in await pods.locations(None)] == [locations[0].name]
        async with asyncio.timeout(30):
            while True:
                try:
                    await pods.locations(None)
                except DeployError:
                    break
                await asyncio.sleep(0.5)

    use(pods, work=check())
    assert not names(namespace, "jobs,pods")


def test_a_job_for_a_task_waits_for_room_and_goes_with_the_task(namespace: str) -> None:
    pods = jobs(namespace, per_task=3)

    async def check() -> None:
        await pods.deploy()
        waiting = asyncio.create_task(pods.tailor(None, Request(5000), 1))
        own = await pods.tailor("work", Request(0.1, 64 << 20), 2)
        found = await pods.locations(own)
        assert [(one.service, one.cores, one.memory_b) for one in found] == [(own, 1, 64 << 20)] * 2
        async with await pods.open(found[1], ["sh", "-c", "exit 3"]) as channel:
            assert await channel.wait() == 3
        await pods.discard(own)
        assert not waiting.done()
        assert len(names(namespace, "jobs")) == 1
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not names(namespace, "jobs")

    use(pods, work=check())


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_pods_come_and_exactly_the_named_ones_stay(namespace: str, tmp_path: Path, kind: str) -> None:
    name = f"scaled-{secrets.token_hex(3)}"
    file = manifest(tmp_path, workload(kind, name, 3))
    pods = connector(namespace, file, scale={"worker": Bounds(min=1, max=3)})

    async def check() -> None:
        await pods.deploy()
        (first,) = await pods.locations("worker")
        await pods.scale("worker", 3, spare=[first.name])
        there = [one.name for one in await pods.locations("worker")]
        assert len(there) == 3
        assert first.name in there
        spare = there[0] if await pods.scales_in_order("worker") else there[-1]
        await pods.scale("worker", 1, spare=[spare])
        while len(left := await pods.locations("worker")) > 1:
            await asyncio.sleep(0.2)
        assert [one.name for one in left] == [spare]
        with pytest.raises(DeployError, match="container 'other', found none"):
            await pods.scale("other", 2, spare=[spare])

    use(pods, work=check())


def test_of_more_pods_than_there_is_room_for_those_that_are_ready_stay(namespace: str, tmp_path: Path) -> None:
    name = f"room-{secrets.token_hex(3)}"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}}
    quota["spec"] = {"hard": {"requests.cpu": "150m"}}
    worker = workload("Deployment", name, 1, resources={"requests": {"cpu": "70m"}})
    pods = connector(
        namespace, manifest(tmp_path, quota, worker), scale={"worker": Bounds(min=1, max=4)}, timeout=10, cores=1
    )

    async def check() -> None:
        await pods.deploy()
        (first,) = await pods.locations("worker")
        with pytest.raises(DeployError, match=r"(?s)not 4 ready within 10 s.*exceeded quota"):
            await pods.scale("worker", 4, spare=[first.name])
        assert len(await pods.locations("worker")) == 2

    use(pods, work=check())

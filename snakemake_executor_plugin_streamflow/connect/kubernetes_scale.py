"""The replicas of a workload: a Deployment or StatefulSet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence
from urllib.parse import quote

from ..errors import DeployError
from .kubernetes_api import Cluster, Refused
from .kubernetes_apply import Objects
from .kubernetes_manifests import Json, name_of, pod_spec
from .kubernetes_ready import unready, why
from .undisturbed import undisturbed

COST = "controller.kubernetes.io/pod-deletion-cost"
"""Of the pods of a Deployment that are ready, those go first for which this is least."""
SCALABLE = ("Deployment", "StatefulSet")
LOOK_S = 0.3


def workload_of(manifests: Iterable[Json], service: str) -> Json:
    """Return the object whose pods have a container of that name.

    Raises:
        DeployError: there is none, or more than one, or its replicas cannot be changed.
    """
    specs = [(one, spec) for one in manifests if (spec := pod_spec(one))]
    found = [(one, spec) for one, spec in specs if service in [each["name"] for each in spec.get("containers") or ()]]
    if len(found) != 1:
        names = ", ".join(name_of(one) for one, _ in found) or "none"
        raise DeployError(f"scale: expected one workload whose pods have a container {service!r}, found {names}")
    one, spec = found[0]
    if one["kind"] not in SCALABLE:
        raise DeployError(f"scale: {name_of(one)} has no replicas to change: expected a {' or a '.join(SCALABLE)}")
    if len(spec["containers"]) > 1:
        raise DeployError(f"scale: the pods of {name_of(one)} have several containers, whose jobs could be lost")
    return one


async def have(
    cluster: Cluster, workload: Json, count: int, *, pods: Sequence[Json], gone: Collection[str], timeout_s: int
) -> None:
    """Change the replicas of a workload, and wait until new ones are ready.

    Args:
        pods: those that there are.
        gone: the names of those that go.

    Raises:
        DeployError: with what the cluster says of those that are not ready; only these are gone then.
    """
    objects = Objects(cluster)
    kind, namespace = await objects.kind(workload), await objects.namespace(workload)
    path = f"{kind.path(namespace, workload['metadata']['name'])}/scale"
    for name in gone:
        with contextlib.suppress(Refused):  # it has gone by itself
            pod = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}"
            await cluster.call("PATCH", pod, body={"metadata": {"annotations": {COST: "-1000"}}})
    before = int((await cluster.call("GET", path))["spec"].get("replicas") or 0)
    await _set(cluster, path, count)
    if count <= before:
        return
    try:
        async with asyncio.timeout(timeout_s):
            while unready([await objects.get(workload) or workload]):
                await asyncio.sleep(LOOK_S)
    except BaseException as error:
        ready = before
        if isinstance(error, TimeoutError):
            there = await objects.get(workload)
            ready = int((there or {}).get("status", {}).get("readyReplicas") or 0)
        # Those that are not ready are removed before any that is.
        await undisturbed(_set(cluster, path, max(before, min(ready, count))))
        if isinstance(error, TimeoutError):
            said = await why(cluster, [workload], pods)
            message = f"{name_of(workload)}: not {count} ready within {timeout_s} s (option timeout)\n{said}"
            raise DeployError(message.rstrip(), transient=True) from None
        raise


async def _set(cluster: Cluster, path: str, count: int) -> None:
    await cluster.call("PATCH", path, body={"spec": {"replicas": count}})

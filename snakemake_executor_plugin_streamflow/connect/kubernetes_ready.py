"""Waiting until pods are ready, and the cluster's own words when they are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from ..errors import SiteError, quote_tail
from .kubernetes_api import Cluster
from .kubernetes_manifests import Json, name_of

HOPELESS = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
"""Reasons that waiting does not change: the kubelet has tried, and tried again."""

SAID_LINES = 10
_SECONDS = len("2000-01-01T00:00:00")


def is_ready(one: Json) -> bool:
    """Tell whether a workload has all pods that it is to have; other objects always are."""
    spec, status = one.get("spec") or {}, one.get("status") or {}
    if one["kind"] == "Pod":
        return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    if one["kind"] not in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController"):
        return True
    if status.get("observedGeneration", 0) < one["metadata"].get("generation", 0) and one["kind"] != "Job":
        return False
    if one["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        return bool(status.get("numberReady", 0) >= wanted)
    if one["kind"] == "Job":
        wanted = min(spec.get("parallelism", 1), spec.get("completions", spec.get("parallelism", 1)))
        return bool(status.get("ready", 0) + status.get("succeeded", 0) >= wanted)
    return bool(status.get("readyReplicas", 0) >= spec.get("replicas", 1))


def hopeless(pods: Iterable[Json]) -> str | None:
    """Return why pods will never be ready; None as long as they may."""
    for pod in pods:
        status, name = pod.get("status") or {}, pod["metadata"]["name"]
        if status.get("phase") == "Failed" and not pod["metadata"].get("ownerReferences"):
            return f"pod {name} has failed"
        for one in _states(pod):
            waiting = one["state"].get("waiting") or {}
            if waiting.get("reason") in HOPELESS:
                return f"pod {name}: {waiting['reason']}"
    return None


def words_of(pods: Iterable[Json]) -> list[str]:
    """Return what the pods themselves say of why they are not ready."""
    said: list[str] = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        if status.get("reason"):  # Evicted, NodeLost
            said.append(f"pod {name}: {status['reason']}: {status.get('message', '')}")
        for one in status.get("conditions") or ():
            if one["status"] == "False" and one["type"] == "PodScheduled":
                said.append(f"pod {name} is not scheduled: {one.get('message', one.get('reason', ''))}")
        for one in _states(pod):
            where = f"pod {name}, container {one['name']}"
            waiting, last = one["state"].get("waiting"), one.get("lastState", {}).get("terminated")
            ended = one["state"].get("terminated") or last
            if waiting:
                said.append(f"{where} waits: {waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": "))
            if ended:
                said.append(f"{where} ended with code {ended.get('exitCode')} ({ended.get('reason', 'no reason')})")
            if "running" in one["state"] and not one.get("ready"):
                said.append(f"{where} runs, and is not ready: see its readiness probe")
    return said


async def why(cluster: Cluster, objects: Sequence[Json], pods: Sequence[Json]) -> str:
    """Return all that the cluster says: states, warnings, the last lines of what containers printed."""
    said = words_of(pods)
    names = [str(one["metadata"].get("name", "")) for one in (*objects, *pods)]
    spaces = dict.fromkeys(
        str(one["metadata"]["namespace"]) for one in (*objects, *pods) if "namespace" in one["metadata"]
    )
    made = [str(one["metadata"]["creationTimestamp"]) for one in (*objects, *pods) if _is_made(one)]
    for namespace in spaces:
        said += await _warnings(cluster, namespace, names, min(made, default=""))
    for pod in pods:
        for one in _states(pod):
            crashed = one.get("lastState", {}).get("terminated") or one["state"].get("terminated")
            if crashed and crashed.get("exitCode"):
                said += await _log(cluster, pod, one["name"])
    return quote_tail("\n".join(dict.fromkeys(said)), lines=30)


def _is_made(one: Json) -> bool:
    return "creationTimestamp" in one["metadata"]


async def _warnings(cluster: Cluster, namespace: str, names: Sequence[str], since: str) -> list[str]:
    """Return the warnings about objects, and about those that were made for them.

    Args:
        since: what is older is about others that had the same names.
    """
    try:
        path = f"/api/v1/namespaces/{quote(namespace)}/events"
        events = (await cluster.call("GET", path, {"fieldSelector": "type=Warning"}))["items"]
    except SiteError:  # not everybody may read events; the rest is said all the same
        return []
    mine = [
        one
        for one in events
        if any(_belongs(str(one["involvedObject"].get("name")), name) for name in names)
        and (one.get("lastTimestamp") or one.get("eventTime") or since)[:_SECONDS] >= since[:_SECONDS]
    ]
    return [
        f"{one['involvedObject'].get('kind', '').lower()} {one['involvedObject'].get('name')}: "
        f"{one.get('reason')}: {one.get('message')}"
        for one in mine[-SAID_LINES:]
    ]


async def _log(cluster: Cluster, pod: Json, container: str) -> list[str]:
    """Return the last lines of a container that has ended: of this one, or of the one before it."""
    meta = pod["metadata"]
    path = f"/api/v1/namespaces/{quote(meta['namespace'])}/pods/{quote(meta['name'])}/log"
    for previous in ("false", "true"):
        try:
            query = {"container": container, "tailLines": SAID_LINES, "previous": previous}
            text = (await cluster.text(path, query)).rstrip()
            if text and not text.startswith("unable to retrieve container logs"):  # it was just removed
                return [f"pod {meta['name']}, container {container} printed:", *text.splitlines()[-SAID_LINES:]]
        except SiteError:
            continue
    return []


def _belongs(name: str, owner: str) -> bool:
    return bool(owner) and (name == owner or name.startswith(f"{owner}-"))


def _states(pod: Json) -> list[Json]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def unready(objects: Iterable[Json]) -> list[str]:
    """Return the names of the objects that are not ready."""
    return [name_of(one) for one in objects if not is_ready(one)]

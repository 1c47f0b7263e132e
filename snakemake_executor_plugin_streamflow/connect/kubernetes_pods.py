"""Containers of pods as locations: what connectors to a Kubernetes cluster have in common."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from urllib.parse import quote

from ..errors import DeployError, Unreachable
from ..model import ClusterOptions, Deployment, Location
from .base import Channel, Connector, Inner, Log
from .kubernetes_api import Cluster
from .kubernetes_apply import Objects
from .kubernetes_exec import Container, start
from .kubernetes_manifests import Json, pod_selector
from .kubernetes_scale import have, workload_of

RUN, DEPLOYMENT = "streamflow.run", "streamflow.deployment"
"""Labels of all that is made."""

UNITS = {
    **dict(zip(("n", "u", "m", "", "k", "M", "G", "T", "P"), (Decimal(1000) ** n for n in range(-3, 6)), strict=True)),
    **dict(zip(("Ki", "Mi", "Gi", "Ti", "Pi"), (Decimal(1024) ** n for n in range(1, 6)), strict=True)),
}
QUANTITY = re.compile(r"([0-9.]+(?:[eE][-+]?[0-9]+)?)([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Instance:
    """A container that runs and is ready."""

    container: Container
    pod: Json
    spec: Json

    @property
    def host(self) -> str:
        """What tells it from all others, and from itself after a restart."""
        one = self.container
        return f"{one.namespace}/{one.pod}/{one.name}/{one.id}"


class PodsConnector(Connector):
    """Pods of one cluster. A service is a container's name, a location is a container of a pod."""

    ephemeral = True
    options: ClusterOptions

    def __init__(self, deployment: Deployment, *, run: str, inner: Inner | None, log: Log) -> None:
        super().__init__(deployment, run=run, inner=inner, log=log)
        self._cluster = Cluster(self.options, inner)
        self._containers: dict[str, Container] = {}

    @abstractmethod
    async def pods(self) -> Sequence[Json]:
        """Return the pods of the deployment, those that are not ready included.

        Raises:
            DeployError, Unreachable: they cannot be listed.
        """

    async def locations(self, service: str | None) -> Sequence[Location]:
        name = self.deployment.name
        try:
            found = instances(await self.pods())
        except DeployError as error:
            if error.transient:  # a busy API says nothing of the pods
                raise Unreachable(str(error)) from error
            raise
        if not found:
            raise DeployError(f"{name}: no container of its pods is running and ready", transient=True)
        names = sorted({one.container.name for one in found})
        if service and service not in names:
            raise DeployError(f"{name} has no service {service!r} that is ready; it has {', '.join(names)}")
        wanted = [one for one in found if service in (None, "", one.container.name)]
        self._containers.update((one.host, one.container) for one in wanted)
        return [self._location(one) for one in wanted]

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        self.log.debug(f"{location.name}: exec {argv!r}")
        container = self._containers.get(location.host) or Container(*location.host.split("/", 3))
        return await start(self._cluster, container, location.name, argv, {**self.options.env, **(env or {})})

    async def scale(self, service: str, count: int, *, spare: Collection[str]) -> None:
        workload = workload_of(await self.manifests(), service)
        pods = await self.pods_of([workload])
        there = {self._location(one).name: one.container.pod for one in instances(pods)}
        gone = [pod for name, pod in there.items() if name not in spare and count < len(there)]
        await have(self._cluster, workload, count, pods=pods, gone=gone, timeout_s=self.options.timeout)

    async def scales_in_order(self, service: str) -> bool:
        return bool(workload_of(await self.manifests(), service)["kind"] == "StatefulSet")

    @abstractmethod
    async def manifests(self) -> list[Json]:
        """Return the objects that the deployment is made of.

        Raises:
            DeployError: they cannot be read, or are none.
        """

    async def close(self) -> None:
        await self._cluster.close()

    def labels(self) -> dict[str, str]:
        """Return the labels of all that this run makes for the deployment."""
        return {RUN: self.run, DEPLOYMENT: label_value(self.deployment.name)}

    async def labelled(self, selector: str, namespaces: Iterable[str] = ()) -> list[Json]:
        """Return the pods that a label selector finds, in the order of their names.

        Args:
            namespaces: where to look; none: in the deployment's.
        """
        found: list[Json] = []
        for namespace in namespaces or [await self._cluster.namespace()]:
            path = f"/api/v1/namespaces/{quote(namespace)}/pods"
            found += (await self._cluster.call("GET", path, {"labelSelector": selector}))["items"]
        return sorted(found, key=lambda pod: _place(str(pod["metadata"]["name"])))

    async def pods_of(self, manifests: Iterable[Json]) -> list[Json]:
        """Return the pods of workloads, whoever made them, and those that are themselves among the manifests."""
        objects, found = Objects(self._cluster), dict[str, Json]()
        for one in manifests:
            if one["kind"] == "Pod":
                pods = [pod for pod in [await objects.get(one)] if pod is not None]
            elif chosen := pod_selector(one):
                pods = await self.labelled(chosen, [await objects.namespace(one)])
            else:
                continue
            found |= {pod["metadata"]["uid"]: pod for pod in pods}
        return list(found.values())

    def _location(self, one: Instance) -> Location:
        options, spec, container = self.options, self.deployment.filesystem, one.container
        name = f"{self.deployment.name}/{container.name}/{container.pod}"
        cores, memory_b, gpus = size(one.spec)
        return Location(
            name=name,
            deployment=self.deployment.name,
            service=container.name,
            host=one.host,
            filesystem=spec.name if spec else name,
            workdir=self.deployment.workdir,
            cores=cores if options.cores is None else options.cores,
            memory_b=memory_b if options.memory is None else options.memory,
            disk_b=options.disk,
            custom={**({"gpu": gpus} if gpus else {}), **options.resources},
            shared=spec.shared if spec else (),
            address=str(one.pod.get("status", {}).get("podIP") or ""),
        )


def instances(pods: Iterable[Json]) -> list[Instance]:
    """Return the containers that can be used now; pods that are being deleted have none."""
    found = []
    for pod in pods:
        status = pod.get("status", {})
        if "deletionTimestamp" in pod["metadata"] or status.get("phase") != "Running":
            continue
        states = {one["name"]: one for one in status.get("containerStatuses", ())}
        for spec in pod["spec"]["containers"]:
            state = states.get(spec["name"], {})
            if state.get("ready") and "running" in state.get("state", {}):
                meta = pod["metadata"]
                container = Container(meta["namespace"], meta["name"], spec["name"], state.get("containerID", ""))
                found.append(Instance(container, pod, spec))
    return found


def size(container: Json) -> tuple[float | None, int | None, int]:
    """Return what a container may use: cores, bytes of memory, GPUs; its limit counts, else its request.

    Jobs ask for whole cores, so a part of one counts as one.
    """
    resources = container.get("resources") or {}
    given = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    cores, memory = quantity(given.get("cpu")), quantity(given.get("memory"))
    gpus = sum(int(quantity(value) or 0) for name, value in given.items() if name.endswith("/gpu"))
    return None if cores is None else float(math.ceil(cores)), None if memory is None else int(memory), gpus


def quantity(text: object) -> Decimal | None:
    """Return the number that a quantity (500m, 2Gi) stands for; None when there is none."""
    found = QUANTITY.fullmatch(str(text).strip()) if text is not None else None
    try:
        return Decimal(found[1]) * UNITS[found[2]] if found else None
    except (KeyError, InvalidOperation):
        return None


def label_value(text: str) -> str:
    """Return a name as a label's value: 63 letters, digits, `-_.` at most, the last one a letter or digit."""
    return text[:63].rstrip("-_.")


def selector(labels: Mapping[str, str]) -> str:
    """Return the selector of what has all these labels."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _place(name: str) -> tuple[str, int]:
    """Order the pods of a StatefulSet by their numbers."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isdecimal() else (name, -1)

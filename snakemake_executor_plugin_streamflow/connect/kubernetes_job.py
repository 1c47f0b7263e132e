"""Jobs of batch/v1 whose pods wait for work and end when there is none: nothing long-lived runs in the cluster.

They are all of the sizes in the file, and brought up together, or (`perTask`) made for one task each.

Such a Job is what a held allocation is to a queue: its pod's main process is a shell that counts the seconds in which
nothing of ours runs. Files come and go, and jobs are started, as in any pod. It ends also when nobody is left to ask
for that; the cluster then removes the Job.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import DeployError
from ..model import Deployment, JobService, KubernetesJobOptions, Location, Request
from .base import Inner, Log
from .kubernetes import KubernetesConnector
from .kubernetes_apply import Objects
from .kubernetes_manifests import Json, marked
from .kubernetes_pods import label_value, selector
from .kubernetes_tailor import Tailor

AGENT = """trap 'exit 0' TERM INT; n=0
busy() { for p in /proc/[0-9]*; do
  if tr '\\0' '\\n' <"$p/environ" 2>/dev/null | grep -q '^STREAMFLOW_JOB='; then return 0; fi
  read -r c <"$p/comm" 2>/dev/null || continue
  case $c in sh|dash|bash|busybox|sleep|pause|tr|grep|"$own") ;; *) return 0;; esac
done; return 1; }
read -r own </proc/1/comm
while [ $n -lt "$1" ]; do sleep 1 & wait $!; n=$((n+1)); if busy; then n=0; fi; done"""
"""The main process; its parameter is how long it may be idle. Jobs, and what shells run for a transfer, are work."""

SERVICE = "streamflow.service"
"""Label of Jobs and their pods."""

TTL_S = 300
"""How long the cluster keeps a Job that has ended, for who wants to know why."""


class KubernetesJobConnector(KubernetesConnector):
    """Makes Jobs of services' descriptions; the rest is as with manifests."""

    options: KubernetesJobOptions  # type: ignore[assignment]
    _unfit: Mapping[str, DeployError] = {}

    def __init__(self, deployment: Deployment, *, run: str, inner: Inner | None, log: Log) -> None:
        super().__init__(deployment, run=run, inner=inner, log=log)
        options = self.options
        self._tailor = Tailor(
            self._cluster,
            deployment.name,
            most=options.per_task or 1,
            timeout_s=options.timeout,
            grace_s=options.grace_period,
            pods=self.pods,
            log=log,
        )

    async def tailor(self, service: str | None, request: Request, count: int) -> str:
        name = service or next(iter(self.options.services))
        size = _sized(self.options.services[name], request)
        template = await asyncio.to_thread(_template, name, size)
        manifest = marked(job(self.deployment.name, name, size, template), self.labels())
        return await self._tailor.make(manifest, name, count)

    async def discard(self, service: str) -> None:
        await self._tailor.discard(service)

    async def bring_up(self, objects: Objects, manifests: Sequence[Json]) -> None:
        """Bring up each service by itself: only the jobs of one that does not come up fail.

        Its Jobs are deleted at once: the room that they were given, or wait for, is the others'.
        """
        if self.deployment.tailors:
            return

        async def one(name: str) -> None:
            async def pods() -> Sequence[Json]:
                return [pod for pod in await self.pods() if _service(pod) == label_value(name)]

            mine = [one for one in manifests if _service(one) == label_value(name)]
            try:
                await self.make(objects, mine, pods)
            except DeployError:
                made = await objects.labelled(mine[:1], selector({**self.labels(), SERVICE: label_value(name)}))
                await objects.delete(made, grace_s=None)
                raise

        names = list(self.options.services)
        ends = await asyncio.gather(*map(one, names), return_exceptions=True)
        errors = {name: end for name, end in zip(names, ends, strict=True) if isinstance(end, BaseException)}
        self._unfit = {name: error for name, error in errors.items() if isinstance(error, DeployError)}
        for error in errors.values():
            if not isinstance(error, DeployError):
                raise error
        if len(self._unfit) == len(names):
            said = "\n".join(dict.fromkeys(map(str, self._unfit.values())))
            raise DeployError(said, transient=all(error.transient for error in self._unfit.values()))
        for name, error in self._unfit.items():
            self.log.warning(f"{self.deployment.name}: service {name} cannot be used: {error}")

    async def locations(self, service: str | None) -> Sequence[Location]:
        if service and self.deployment.tailors:
            there = await super().locations(None)
            mine = [one for one in there if self._tailor.owner(one.host.split("/", 2)[1]) == service]
            if not mine:
                raise DeployError(f"{self.deployment.name}: the pods of {service} are gone", transient=True)
            return [replace(one, service=service) for one in mine]
        try:
            return await super().locations(service)
        except DeployError as error:
            if (unfit := self._unfit.get(service or "")) is None:
                raise
            message = f"{self.deployment.name}: service {service} cannot be used: {unfit}"
            raise DeployError(message, transient=unfit.transient) from error

    async def manifests(self) -> list[Json]:
        """Return the Jobs.

        Raises:
            DeployError: a template cannot be read, or is no Job.
        """
        found: list[Json] = []
        for name, service in self.options.services.items():
            template = await asyncio.to_thread(_template, name, service)
            found += [job(self.deployment.name, name, service, template)] * service.count
        return found


def job(deployment: str, name: str, service: JobService, template: Json) -> Json:
    """Return the manifest of one Job of a service."""
    found = copy.deepcopy(template)
    metadata = found.get("metadata") or {}
    metadata.pop("name", None)
    stem = re.sub("[^a-z0-9-]+", "-", f"{deployment}-{name}".lower()).strip("-")[:40]
    spec = found.setdefault("spec", {})
    pod = spec.setdefault("template", {}).setdefault("spec", {})
    containers = pod.setdefault("containers", [{}])
    main: Json = containers[0]
    main |= {"name": name, "command": ["sh", "-c", AGENT, "sh", str(service.idle)], "args": []}
    if service.image:
        main["image"] = service.image
    if wanted := _resources(service):
        main["resources"] = {
            key: {**(main.get("resources", {}).get(key) or {}), **wanted} for key in ("requests", "limits")
        }
    pod["restartPolicy"] = "Never"  # a job that was killed with its pod is ours to start again
    pod.setdefault("terminationGracePeriodSeconds", 2)
    label = {SERVICE: label_value(name)}
    of_pod = spec["template"].get("metadata") or {}
    spec["template"]["metadata"] = {**of_pod, "labels": {**(of_pod.get("labels") or {}), **label}}
    metadata["labels"] = {**(metadata.get("labels") or {}), **label}
    spec |= {"backoffLimit": 0, "parallelism": 1, "completions": 1}
    spec.setdefault("ttlSecondsAfterFinished", TTL_S)
    if service.walltime:
        spec["activeDeadlineSeconds"] = service.walltime * 60
    return {**found, "apiVersion": "batch/v1", "kind": "Job", "metadata": {**metadata, "generateName": f"{stem}-"}}


def _service(one: Json) -> str:
    return str(one["metadata"].get("labels", {}).get(SERVICE))


def _sized(service: JobService, request: Request) -> JobService:
    """Return a service of the size that a task asks for."""
    return replace(
        service,
        cores=request.cores,
        memory=request.memory_b or service.memory,
        disk=request.disk_b or service.disk,
        gpus=request.custom.get("gpu", 0) or service.gpus,
    )


def _resources(service: JobService) -> dict[str, str]:
    given: dict[str, Any] = {
        "cpu": service.cores and f"{round(service.cores * 1000)}m",
        "memory": service.memory,
        "ephemeral-storage": service.disk,
        service.gpu_type: service.gpus or None,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def _template(name: str, service: JobService) -> Json:
    if service.template is None:
        if not service.image:
            raise DeployError(f"service {name}: one of image and template is needed")
        return {}
    try:
        found = yaml.safe_load(Path(service.template).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DeployError(f"service {name}: cannot read the template {service.template}: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != "Job":
        raise DeployError(f"service {name}: the template {service.template} is no Job of batch/v1")
    return found

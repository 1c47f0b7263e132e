"""Jobs of batch/v1 whose pods wait for work and end when there is none: nothing long-lived runs in the cluster.

Such a Job is what a held allocation is to a queue: its pod's main process is a shell that counts the seconds in which
nothing of ours runs. Files come and go, and jobs are started, as in any pod. It ends also when nobody is left to ask
for that; the cluster then removes the Job.
"""

from __future__ import annotations

import asyncio
import copy
import re
from pathlib import Path
from typing import Any

import yaml

from ..errors import DeployError
from ..model import JobService, KubernetesJobOptions
from .kubernetes import KubernetesConnector
from .kubernetes_manifests import Json

AGENT = """trap 'exit 0' TERM INT; n=0
busy() { for p in /proc/[0-9]*; do
  if tr '\\0' '\\n' <"$p/environ" 2>/dev/null | grep -q '^STREAMFLOW_JOB='; then return 0; fi
  read -r c <"$p/comm" 2>/dev/null || continue
  case $c in sh|dash|bash|busybox|sleep|pause|tr|grep|"$own") ;; *) return 0;; esac
done; return 1; }
read -r own </proc/1/comm
while [ $n -lt "$1" ]; do sleep 1 & wait $!; n=$((n+1)); if busy; then n=0; fi; done"""
"""The main process; its parameter is how long it may be idle. Jobs, and what shells run for a transfer, are work."""

TTL_S = 300
"""How long the cluster keeps a Job that has ended, for who wants to know why."""


class KubernetesJobConnector(KubernetesConnector):
    """Makes Jobs of services' descriptions; the rest is as with manifests."""

    options: KubernetesJobOptions  # type: ignore[assignment]

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
    spec |= {"backoffLimit": 0, "parallelism": 1, "completions": 1}
    spec.setdefault("ttlSecondsAfterFinished", TTL_S)
    if service.walltime:
        spec["activeDeadlineSeconds"] = service.walltime * 60
    return {**found, "apiVersion": "batch/v1", "kind": "Job", "metadata": {**metadata, "generateName": f"{stem}-"}}


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

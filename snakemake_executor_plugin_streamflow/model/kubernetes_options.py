"""The `config:` of what lives in a Kubernetes cluster. Names are StreamFlow's where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .bounds import Bounds
from .machine import Machine, option


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions(Machine):
    """Which cluster, and how long to wait for it."""

    kubeconfig: str | None = option("kubeconfig file (default: KUBECONFIG, then ~/.kube/config)", path=True, read=True)
    kube_context: str | None = option("context of the kubeconfig file (default: its current one)")
    in_cluster: bool = option("use the service account of the pod that Snakemake runs in", False)
    namespace: str | None = option("namespace (default: the context's, then 'default')")
    wait: bool = option("wait until everything is ready", True)
    timeout: int = option("seconds to wait for that", 300, minimum=1)
    grace_period: int | None = option("seconds that pods get to stop (default: what the pods themselves say)")
    debug: bool = option("accepted for StreamFlow files; `snakemake --verbose` says more", False)
    max_concurrent_connections: int = option("accepted for StreamFlow files; not used", 4096)
    transfer_buffer_size: int = option("accepted for StreamFlow files; not used", 33554431)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions(ClusterOptions):
    """Pods of manifests; each container of a pod is a location."""

    files: tuple[str, ...] = option(
        "manifests, in the order in which they are applied; of several documents each",
        (),
        path=True,
        one=True,
        read=True,
    )
    kustomize: str | None = option("folder with a kustomization.yaml; needs kubectl on this machine", path=True)
    selector: str | None = option("label selector of existing pods, for `external: true` without files")
    scale: Mapping[str, Bounds] = option(
        "CONTAINER: {min: N, max: N, idle: SECONDS}: its Deployment or StatefulSet has as many pods as jobs wait for",
        {},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobService:
    """Jobs of one size. With `perTask`, `memory`, `disk` and `gpus` are for tasks that do not say what they need."""

    image: str | None = option("image to run (default: the template's)")
    template: str | None = option("manifest of a batch/v1 Job that everything else is taken from", path=True, read=True)
    count: int = option("how many Jobs", 1, minimum=1)
    cores: float | None = option("cores of each Job, requested and limited", above=0)
    memory: int | None = option("memory of each Job, requested and limited", size=True, minimum=1)
    disk: int | None = option("disk of each Job, requested and limited", size=True, minimum=1)
    gpus: int = option("GPUs of each Job", 0)
    gpu_type: str = option("the cluster's name for them", "nvidia.com/gpu")
    walltime: int | None = option("minutes after which the cluster ends a Job", minimum=1)
    idle: int = option("seconds without work after which a Job ends by itself", 60, minimum=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesJobOptions(ClusterOptions):
    """Jobs of batch/v1, which end by themselves; each of their pods is a location."""

    services: Mapping[str, JobService] = option("the Jobs, by name: sizes and images", required=True)
    per_task: int | None = option(
        "a Job for each task, of the size that the task asks for; at most so many tasks at once", minimum=1
    )
    jobs: int | None = option("jobs at once at each location", 1, minimum=1)

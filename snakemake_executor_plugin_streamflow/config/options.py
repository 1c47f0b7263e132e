"""What the options of each deployment type say together: its services, its size, and contradictions."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..model import (
    ApptainerOptions,
    ClusterOptions,
    ComposeOptions,
    DockerOptions,
    HelmOptions,
    KubernetesJobOptions,
    KubernetesOptions,
    LocalOptions,
    QueueOptions,
    SshOptions,
    bounds_of,
    least,
)
from ..model.queue_options import HtcondorOptions
from .helm import check_helm
from .reader import Reader


def services_of(options: Any) -> tuple[str, ...] | None:
    """Return the names of the services; empty when the type has none, None when they are not known yet."""
    if isinstance(options, ComposeOptions):
        return _compose_services(options)
    if isinstance(options, ClusterOptions) and not isinstance(options, KubernetesJobOptions):
        return _containers(options)
    return tuple(getattr(options, "services", ()))


def must_choose(options: Any) -> tuple[str, ...]:
    """Return the services that a target must choose from: those of one project do different things."""
    alike = isinstance(options, KubernetesJobOptions) and not options.per_task
    chosen = isinstance(options, ComposeOptions | KubernetesOptions | KubernetesJobOptions) and not alike
    services = services_of(options) if chosen else ()
    return services if services and len(services) > 1 else ()


def size_of(options: Any) -> tuple[int, str]:
    """Return how many locations there are, and what they are called."""
    match options:
        case QueueOptions():
            held = sum(one.pack.nodes for one in options.services.values() if getattr(one, "pack", None))  # type: ignore[attr-defined]
            if not held and isinstance(options, HtcondorOptions):
                return 1, "nodes that a job gets"
            return (held, "held nodes") if held else (sys.maxsize, "nodes")
        case SshOptions():
            return len(options.nodes), "nodes"
        case ApptainerOptions():
            return (1, "instances") if options.instance_name else (options.replicas, "replicas")
        case KubernetesJobOptions():
            most = sum(one.count for one in options.services.values())
            return sys.maxsize if options.per_task else most, "Jobs"
        case ComposeOptions() | ClusterOptions():
            return sys.maxsize, "containers"
        case DockerOptions():
            return (1, "containers") if options.container_id else (least(options.replicas), "replicas")
        case LocalOptions():
            return options.locations, "locations"
    raise AssertionError(type(options))


def gives_nodes(options: Any) -> bool:
    """Return whether several locations are nodes of one allocation, which a queue gives to each job."""
    return isinstance(options, QueueOptions) and not any(
        getattr(one, "pack", None)
        for one in options.services.values()  # type: ignore[attr-defined]
    )


def check_options(reader: Reader, options: Any) -> None:
    """Note what contradicts itself."""
    for bounds in bounds_of(options).values():
        if reader.all_sound(bounds) and bounds.min > bounds.max:
            reader.report(bounds, f"expected min of at most max, got {bounds.min} and {bounds.max}")
    match options:
        case SshOptions():
            _check_ssh(reader, options)
        case ApptainerOptions():
            _check_apptainer(reader, options)
        case ComposeOptions():
            _check_compose(reader, options)
        case DockerOptions():
            _check_docker(reader, options)
        case KubernetesJobOptions():
            _check_jobs(reader, options)
        case KubernetesOptions():
            _check_kubernetes(reader, options)
        case HelmOptions():
            check_helm(reader, options)


def _check_ssh(reader: Reader, options: SshOptions) -> None:
    node = reader.node(options, "nodes")
    if not node or not reader.sound(options, "nodes"):
        return
    for index, host in enumerate(options.nodes):
        if host in options.nodes[:index]:
            node.items[index].problem(f"the same host as nodes[{options.nodes.index(host)}]")


def _check_docker(reader: Reader, options: DockerOptions) -> None:
    sources = ("image", "container_id", "build")
    if not all(reader.sound(options, name) for name in sources):
        return
    if not any(getattr(options, name) for name in sources):
        reader.report(options, "expected one of image, containerId or build")
    elif options.container_id and (options.image or options.build):
        other = "image" if options.image else "build"
        reader.problem(options, "container_id", f"expected one of image, containerId or build, got {other} too")
    elif options.container_id and options.replicas != 1:
        reader.problem(options, "replicas", "expected 1: an existing container (containerId) is one location")


def _compose_services(options: ComposeOptions) -> tuple[str, ...] | None:
    """Read the names from the Compose files; None when Compose alone can tell."""
    found: dict[str, None] = {}
    for file in options.files:
        try:
            content = yaml.safe_load(Path(file).read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return None
        if not isinstance(content, Mapping) or "include" in content:
            return None
        services = content.get("services") or {}
        if not isinstance(services, Mapping):
            return None
        found |= dict.fromkeys(map(str, services))
    return tuple(found)


def _containers(options: ClusterOptions) -> tuple[str, ...] | None:
    """Read the names of the containers from the manifests; None when the cluster alone can tell."""
    if not isinstance(options, KubernetesOptions) or options.kustomize or options.selector:
        return None
    found: dict[str, None] = {}
    for file in options.files:
        try:
            documents = list(yaml.safe_load_all(Path(file).read_text("utf-8")))
            specs = [one["spec"] for one in documents if one and one.get("spec")]
            pods = [spec["template"]["spec"] if "template" in spec else spec for spec in specs]
            found |= dict.fromkeys(str(one["name"]) for pod in pods for one in pod.get("containers", ()))
        except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError, AttributeError):
            return None
    return tuple(found) or None


def check_scaled(reader: Reader, options: Any, *, external: bool) -> None:
    """Note services that cannot follow the queue."""
    bounds = bounds_of(options)
    for one in bounds.values() if external else ():
        reader.report(one, "an external deployment is used as it is: remove min and max")
    node = reader.node(options, "scale") if isinstance(options, KubernetesOptions) else None
    services = _containers(options) if isinstance(options, KubernetesOptions) else None
    if services is None or node is None:
        return
    for name in bounds:
        if name not in services:
            node.entries[name].problem(f"the manifests have no container {name!r}; they have {', '.join(services)}")


def _check_jobs(reader: Reader, options: KubernetesJobOptions) -> None:
    for name, service in options.services.items() if reader.sound(options, "services") else ():
        if not (service.image or service.template):
            reader.report(service, "expected one of image or template")
        for given in ("count", "cores") if options.per_task else ():
            if reader.node(service, given):
                reader.problem(service, given, "expected none: with perTask, each task has a Job of its own size")
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
            reader.report(
                service, f"expected a name of small letters, digits and '-', as containers have, got {name!r}"
            )


def _check_kubernetes(reader: Reader, options: KubernetesOptions) -> None:
    if not all(reader.sound(options, name) for name in ("files", "kustomize", "selector")):
        return
    if not (options.files or options.kustomize or options.selector):
        reader.report(options, "expected one of files, kustomize or selector")
    elif options.selector and (options.files or options.kustomize):
        reader.problem(options, "selector", "expected none beside files or kustomize: it finds pods that others made")
    if options.in_cluster and (options.kubeconfig or options.kube_context) and reader.sound(options, "in_cluster"):
        reader.problem(options, "in_cluster", "contradicts kubeconfig and kubeContext")


def _check_compose(reader: Reader, options: ComposeOptions) -> None:
    if options.build and options.no_build and reader.sound(options, "no_build"):
        reader.problem(options, "no_build", "contradicts build")
    if options.force_recreate and options.no_recreate and reader.sound(options, "no_recreate"):
        reader.problem(options, "no_recreate", "contradicts forceRecreate")
    services = _compose_services(options) if reader.sound(options, "files") else None
    node = reader.node(options, "scale")
    if services is None or node is None or not reader.sound(options, "scale"):
        return
    for name in options.scale:
        if name not in services:
            node.entries[name].problem(f"the Compose files have no service {name!r}; they have {', '.join(services)}")


def _check_apptainer(reader: Reader, options: ApptainerOptions) -> None:
    if not reader.sound(options, "image") or not reader.sound(options, "instance_name"):
        return
    if not options.image and not options.instance_name:
        reader.report(options, "expected one of image or instanceName")
    elif options.instance_name and options.replicas > 1:
        reader.problem(options, "replicas", "expected 1: an existing instance (instanceName) is one location")
    elif options.instance_name and not options.instances:
        reader.problem(options, "instances", "expected true: instanceName names an instance")

"""What the options of each deployment type say together: its services, its size, and contradictions."""

from __future__ import annotations

import sys
from typing import Any

from ..model import DockerOptions, LocalOptions, QueueOptions, SshOptions
from .reader import Reader


def services_of(options: Any) -> tuple[str, ...]:
    """Return the names of the services; empty when the type has none."""
    return tuple(getattr(options, "services", ()))


def size_of(options: Any) -> tuple[int, str]:
    """Return how many locations there are, and what they are called."""
    match options:
        case QueueOptions():
            return sys.maxsize, "nodes"
        case SshOptions():
            return len(options.nodes), "nodes"
        case DockerOptions():
            return (1, "containers") if options.container_id else (options.replicas, "replicas")
        case LocalOptions():
            return options.locations, "locations"
    raise AssertionError(type(options))


def check_options(reader: Reader, options: Any) -> None:
    """Note what contradicts itself."""
    match options:
        case SshOptions():
            _check_ssh(reader, options)
        case DockerOptions():
            _check_docker(reader, options)


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
    elif options.container_id and options.replicas > 1:
        reader.problem(options, "replicas", "expected 1: an existing container (containerId) is one location")

"""Containers of Podman, through the socket on which it speaks as Docker does."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..model import Deployment, Location
from .base import Entrance, Inner, Log
from .docker import DockerConnector

ROOT_SOCKET = "/run/podman/podman.sock"


class PodmanConnector(DockerConnector):
    """A docker deployment with another usual socket: `podman system service` listens there."""

    def __init__(self, deployment: Deployment, *, run: str, inner: Inner | None, log: Log) -> None:
        address = deployment.options.docker_host or _usual(inner)
        options = replace(deployment.options, docker_host=address)
        super().__init__(replace(deployment, options=options), run=run, inner=inner, log=log)

    def entrance(self, location: Location) -> Entrance | None:
        return None


def _usual(inner: Inner | None) -> str:
    """Return CONTAINER_HOST, or the user's socket, or root's; at another host, root's."""
    if inner is not None and inner.connector.deployment.type != "local":
        return f"unix://{ROOT_SOCKET}"
    if given := os.environ.get("CONTAINER_HOST"):
        return given
    own = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "podman", "podman.sock")
    return f"unix://{own if os.getuid() and own.exists() else ROOT_SOCKET}"

"""What connectors to a Docker engine have in common: its containers as locations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlencode

from ..errors import DeployError, Unreachable
from ..model import ComposeOptions, Deployment, DockerOptions, Location, Mount
from .base import Channel, Connector, Entrance, Inner, Log
from .docker_channel import start
from .docker_engine import Engine


class ContainersConnector(Connector):
    """Containers of one Docker engine, here or through an inner deployment; `host` of a location is the id."""

    ephemeral = True
    options: DockerOptions | ComposeOptions

    def __init__(self, deployment: Deployment, *, run: str, inner: Inner | None, log: Log) -> None:
        super().__init__(deployment, run=run, inner=inner, log=log)
        self._engine = Engine(self.options.docker_host, inner)

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        environment = {**self.options.env, **(env or {})}
        self.log.debug(f"{location.name}: exec {argv!r}")
        return await start(self._engine, location.host, location.name, argv, environment, self.options.user)

    def entrance(self, location: Location) -> Entrance | None:
        if self.inner is None or self.inner.connector.deployment.type == "local":
            return None
        engine = ("-H", self.options.docker_host) if self.options.docker_host else ()
        user = ("--user", self.options.user) if self.options.user else ()
        return Entrance(self.inner, ("docker", *engine, "exec", "-i", *user, location.host))

    async def close(self) -> None:
        await self._engine.close()

    async def _list(self, labels: Mapping[str, str], *, every: bool) -> list[dict[str, Any]]:
        """Return the containers that have all `labels`: those that run, or every one."""
        filters = json.dumps({"label": [f"{key}={value}" for key, value in labels.items()]})
        reply = await self._engine.call("GET", f"/containers/json?{urlencode({'all': int(every), 'filters': filters})}")
        if not reply.ok:
            kind = Unreachable if reply.status >= 500 else DeployError
            raise kind(f"{self.deployment.name}: the engine does not list containers: {reply.text}")
        containers: list[dict[str, Any]] = reply.json()
        return [container for container in containers if every or container["State"] == "running"]

    def _at(self, name: str, container: Mapping[str, Any]) -> Location:
        """Return the location of a container as the engine describes it; its size is what the options say."""
        options, spec, source = self.options, self.deployment.filesystem, self._engine.filesystem
        return Location(
            name=name,
            deployment=self.deployment.name,
            service="",
            host=container["Id"],
            filesystem=spec.name if spec else name,
            workdir=self.deployment.workdir,
            cores=options.cores,
            memory_b=options.memory,
            disk_b=options.disk,
            custom=options.resources,
            shared=spec.shared if spec else (),
            mounts=tuple(
                Mount(PurePosixPath(mount["Destination"]), source, PurePosixPath(mount["Source"]))
                for mount in sorted(container["Mounts"], key=lambda mount: str(mount["Destination"]))
                if mount["Type"] == "bind" and source is not None
            ),
            address=_address(container),
        )


def _address(container: Mapping[str, Any]) -> str:
    """The address of a container in the first of its networks; with the network of its host, "localhost"."""
    networks: Mapping[str, Any] = (container.get("NetworkSettings") or {}).get("Networks") or {}
    found = (str(networks[name].get("IPAddress") or "") for name in sorted(networks))
    return next(filter(None, found), "localhost" if "host" in networks else "")

"""The connector of all queues: locations are services, and processes are opened at the inner location."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ..errors import DeployError
from ..model import Deployment, FilesystemSpec, LocalOptions, Location
from .base import Channel, Connector, Inner, Log
from .local import LocalConnector
from .queue import Profile, Queue


class QueueConnector(Connector):
    """Speaks to a queue through an inner location: the one that it wraps, or this machine.

    A queue is never brought up or taken down: its jobs are all that is made.
    """

    wrappable = True
    queue: ClassVar[Queue]

    def __init__(self, deployment: Deployment, *, run: str, inner: Inner | None, log: Log) -> None:
        super().__init__(deployment, run=run, inner=inner, log=log)
        self._inner = inner
        self.on_controller = inner is None or inner.connector.on_controller

    async def deploy(self) -> None:
        for name in self.services() or ("",):
            self._template(name)

    async def undeploy(self) -> None:
        return None

    async def locations(self, service: str | None) -> Sequence[Location]:
        names = self.services()
        if service and service not in names:
            raise DeployError(f"{self.deployment.name} has no service {service!r}; it has {', '.join(names) or 'none'}")
        return [await self._location(name) for name in ((service,) if service else names or ("",))]

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        inner = await self._login()
        return await inner.connector.open(inner.location, argv, env)

    def services(self) -> Sequence[str]:
        return tuple(self.options.services)

    def profile(self, location: Location) -> Profile | None:
        return Profile(
            self.queue,
            self.deployment.name,
            self.options.services.get(location.service),
            self._template(location.service),
            float(self.options.polling_interval),
        )

    async def _login(self) -> Inner:
        """The inner location; this machine, when the deployment wraps nothing."""
        if self._inner is None:
            here = Deployment(self.deployment.name, "local", LocalOptions(), workdir=self.deployment.workdir)
            local = LocalConnector(here, run=self.run, inner=None, log=self.log)
            await local.deploy()
            self._inner = Inner(local, (await local.locations(None))[0])
        return self._inner

    async def _location(self, service: str) -> Location:
        """Return the location of a service: its files are the inner location's, its size is the queue's affair."""
        login = (await self._login()).location
        name = f"{self.deployment.name}/{service}" if service else self.deployment.name
        workdir = self.deployment.workdir or login.workdir
        spec = self.deployment.filesystem
        if spec is None:
            # The ledger knows a path by its filesystem: another folder there must have another name.
            same = workdir == login.workdir
            spec = FilesystemSpec(login.filesystem if same else self.deployment.name, login.shared)
        return Location(
            name=name,
            deployment=self.deployment.name,
            service=service,
            host=name,
            filesystem=spec.name,
            workdir=workdir,
            cores=self.options.cores,
            memory_b=self.options.memory,
            disk_b=self.options.disk,
            custom=self.options.resources,
            shared=spec.shared,
            mounts=login.mounts,
        )

    def _template(self, service: str) -> str:
        """Return the template of a service's batch scripts; "" when there is none. Raises DeployError."""
        options = self.options.services.get(service)
        file = (options.file if options else None) or self.options.file
        if file is None:
            return ""
        try:
            return Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DeployError(f"{self.deployment.name}: cannot read the template {file}: {error}") from error

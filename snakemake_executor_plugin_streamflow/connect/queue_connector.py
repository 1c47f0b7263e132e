"""The connector of all queues: locations are services, and processes are opened at the inner location."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from ..errors import DeployError, SiteError, Unreachable
from ..model import Deployment, FilesystemSpec, LocalOptions, Location
from .base import Channel, Connector, Inner, Log
from .local import LocalConnector
from .queue import Profile, Queue
from .queue_pack import Held, Node, PackingQueue
from .undisturbed import undisturbed


class QueueConnector(Connector):
    """Speaks to a queue through an inner location: the one that it wraps, or this machine.

    A queue is not brought up or taken down, but for the allocations that services with `pack` hold.
    """

    queue: ClassVar[Queue]

    def __init__(self, deployment: Deployment, *, run: str, inner: Inner | None, log: Log) -> None:
        super().__init__(deployment, run=run, inner=inner, log=log)
        self._inner = inner
        self._held: dict[str, Held] = {}
        self._nodes: dict[str, Node] = {}
        self.packed = tuple(name for name, one in self.options.services.items() if getattr(one, "pack", None))
        # A node's files may be seen late here, also where they are the same.
        self.on_controller = not self.packed and (inner is None or inner.connector.on_controller)
        self.ephemeral = bool(self.packed)

    async def deploy(self) -> None:
        for name in self.services() or ("",):
            self._template(name)
        if self.packed:
            assert isinstance(self.queue, PackingQueue)
            login = await self._login()
            try:
                for name in self.packed:
                    label = f"{self.deployment.name}/{name}"
                    held = Held(label, self.queue, self.options.services[name], login, self.run, self.log)
                    self._held[name] = held
                    await held.hold()
            except BaseException:
                await undisturbed(self._give_up())
                raise

    async def _give_up(self) -> None:
        try:
            await self.undeploy()
        except SiteError as error:
            self.log.warning(str(error))

    async def undeploy(self) -> None:
        problems: list[SiteError] = []
        for name, held in list(self._held.items()):
            try:
                await held.release()
                del self._held[name]
            except SiteError as error:
                problems.append(error)
        if problems:
            message = "\n".join(map(str, problems))
            raise DeployError(message, transient=all(error.transient for error in problems))

    async def locations(self, service: str | None) -> Sequence[Location]:
        names = self.services()
        if service and service not in names:
            raise DeployError(f"{self.deployment.name} has no service {service!r}; it has {', '.join(names) or 'none'}")
        wanted = (service,) if service else names or ("",)
        found = [await self._location(name) for name in wanted if name not in self.packed]
        for name in self.packed:
            if name in wanted and name in self._held:
                found += [self._on_node(await self._location(name), node) for node in await self._held[name].nodes()]
        if not found:
            raise DeployError(f"{self.deployment.name}: its allocation has ended", transient=True)
        return found

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        if location.service in self.packed:
            if (held := self._held.get(location.service)) is None:
                raise Unreachable(f"{location.name}: its allocation has ended")
            return await held.open(self._nodes[location.name], argv, env)
        inner = await self._login()
        return await inner.connector.open(inner.location, argv, env)

    def services(self) -> Sequence[str]:
        return tuple(self.options.services)

    def profile(self, location: Location) -> Profile | None:
        if location.service in self.packed:
            return None
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

    def _on_node(self, location: Location, node: Node) -> Location:
        """Return the location of one node of the allocation of a service."""
        pack, name = self.options.services[location.service].pack, f"{location.name}/{node.name}"
        self._nodes[name] = node
        size = replace(
            location,
            name=name,
            host=node.name,
            cores=node.cores if location.cores is None else location.cores,
            memory_b=node.memory_b if location.memory_b is None else location.memory_b,
        )
        if pack.shared:
            return size
        return replace(size, filesystem=name, workdir=self.deployment.workdir, shared=(), mounts=())

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

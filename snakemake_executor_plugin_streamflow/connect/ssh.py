"""Hosts that are reached by ssh."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import asyncssh

from ..errors import DeployError, SiteError, Unreachable
from ..model import Deployment, Location, SshOptions
from .base import Channel, Connector, Inner, Log
from .peers import Peer
from .ssh_agent import keys_of, lent
from .ssh_channel import Launch
from .ssh_forward import Forwards
from .ssh_login import Login, Prepared, logins
from .ssh_pool import Host

PROBE_S = 30.0


class SshConnector(Connector):
    """Connects to hosts; they are not ours, so nothing is ever brought up or taken down but connections."""

    options: SshOptions

    def __init__(self, deployment: Deployment, *, run: str, inner: Inner | None, log: Log) -> None:
        super().__init__(deployment, run=run, inner=inner, log=log)
        self._unchecked = False
        self._hosts = {name: self._host(login) for name, login in logins(self.options).items()}
        self._jumps: dict[Login, Host] = {}
        self._forwards = Forwards()
        self._visiting = asyncio.Lock()
        self._visited = False
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._probed: dict[str, float] = {}
        self._warned: set[str] = set()

    async def deploy(self) -> None:
        """Connect to every host at once; those that do not answer are left out with a warning."""
        self._visited = False
        try:
            await self._visit()
        except BaseException:
            await self.close()
            raise

    async def undeploy(self) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        probes, self._probes = list(self._probes.values()), {}
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        self._forwards.close()
        await asyncio.gather(*(host.close() for host in self._hosts.values()))
        await asyncio.gather(*(host.close() for host in self._jumps.values()))

    def services(self) -> Sequence[str]:
        return tuple(self.options.services)

    async def locations(self, service: str | None) -> Sequence[Location]:
        """Return the hosts that answer. One that did not is asked again now and then, in the background."""
        services = self._services(service)
        await self._visit()
        self._probe()
        if all(host.failure for host in self._hosts.values()):
            await asyncio.gather(*self._probes.values())
        up = [name for name, host in self._hosts.items() if host.failure is None]
        if not up:
            raise DeployError(self._failures(), transient=self._transient())
        return [self._location(name, of) for of in services for name in up]

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        launch = Launch(argv, env)
        host = self._hosts[location.host]
        channel = await host.open(location.name, launch)
        if launch.script:
            try:
                await channel.started(launch.script)
            except BaseException:
                channel.drop()
                raise
        return channel

    async def forward_socket(self, location: Location, target: str) -> Path:
        """Return a local unix socket that leads to `target` (a path, or HOST:PORT) as the location sees it.

        The same socket for the same target while its connection is up; only this user can reach it. Gone after `close`.

        Raises:
            Unreachable: the host does not answer, or does not let us through to the target.
        """
        connection = await self._hosts[location.host].connection()
        return await self._forwards.path(connection, target, location.name, self.options.connect_timeout)

    @property
    def direct(self) -> str:
        """How the hosts log in to others."""
        return self.options.direct

    async def peer(self, location: Location) -> Peer:
        """Return how to log in to a host; the host key is the one that it has proved to us."""
        connection, prepared = await self._reached(location)
        key = connection.get_server_host_key()
        if key is None:
            raise Unreachable(f"{location.name}: it has no host key that others could check", transient=False)
        kind, text, *_ = key.export_public_key("openssh").decode("ascii").split()
        return Peer(prepared.host, prepared.port, prepared.user, f"{kind} {text}")

    async def keys(self, location: Location) -> Sequence[Any]:
        """Return the keys that we log in to a host with."""
        return await keys_of((await self._reached(location))[1])

    @asynccontextmanager
    async def lend(self, location: Location, path: str, keys: Sequence[Any], user: str) -> AsyncIterator[None]:
        """Serve an agent at a unix socket of a host; see `HasPeers.lend`."""
        connection, _ = await self._reached(location)
        async with lent(connection, path, keys, user):
            yield

    async def _reached(self, location: Location) -> tuple[asyncssh.SSHClientConnection, Prepared]:
        host = self._hosts[location.host]
        connection = await host.connection()
        assert host.prepared is not None
        return connection, host.prepared

    def _host(self, login: Login) -> Host:
        if login.host_keys == "any" and not self._unchecked:
            self._unchecked = True
            self.log.warning(
                f"{self.deployment.name}: host keys are not checked: whoever answers can read and change everything"
            )
        return Host(login, self.options, log=self.log, jump=self._jump)

    def _jump(self, login: Login) -> Host:
        if login not in self._jumps:
            self._jumps[login] = self._host(login)
        return self._jumps[login]

    async def _visit(self) -> None:
        """Connect to every host, once.

        Raises:
            DeployError: none answers.
        """
        async with self._visiting:
            if self._visited:
                return
            await asyncio.gather(*(self._visit_one(name) for name in self._hosts))
            if all(host.failure for host in self._hosts.values()):
                raise DeployError(self._failures(), transient=self._transient())
            self._visited = True

    async def _visit_one(self, name: str) -> None:
        host = self._hosts[name]
        try:
            await host.connection()
        except SiteError as error:
            if name not in self._warned:
                self._warned.add(name)
                self.log.warning(f"{self.deployment.name}: left out until it answers: {error}")
        else:
            if name in self._warned:
                self._warned.discard(name)
                self.log.info(f"{self.deployment.name}: {name} answers again")
        self._probed[name] = asyncio.get_running_loop().time()

    def _probe(self) -> None:
        """Ask the hosts again that did not answer; the tasks are ours, `close` ends them."""
        now = asyncio.get_running_loop().time()
        for name, host in self._hosts.items():
            due = now - self._probed.get(name, now - PROBE_S) >= PROBE_S
            if host.failure is not None and due and (name not in self._probes or self._probes[name].done()):
                self._probes[name] = asyncio.ensure_future(self._visit_one(name))

    def _services(self, service: str | None) -> Sequence[str]:
        names = self.services()
        if service is None:
            return names or ("",)
        if service not in names:
            known = f"its services are {', '.join(names)}" if names else "it has no services"
            raise DeployError(f"{self.deployment.name}: no service {service!r}; {known}")
        return (service,)

    def _location(self, name: str, service: str) -> Location:
        deployment, options = self.deployment, self.options
        named = deployment.filesystem
        shared = (*(named.shared if named else ()), *map(PurePosixPath, options.shared_paths))
        return Location(
            name="/".join(filter(None, (deployment.name, service, name))),
            deployment=deployment.name,
            service=service,
            host=name,
            filesystem=named.name if named else f"{deployment.name}/{name}",  # the services of a host share it
            workdir=deployment.workdir,
            cores=options.cores,
            memory_b=options.memory,
            disk_b=options.disk,
            custom=dict(options.resources),
            shared=tuple(dict.fromkeys(shared)),
        )

    def _failures(self) -> str:
        texts = [f"  {host.failure}" for host in self._hosts.values() if host.failure is not None]
        return "\n".join([f"{self.deployment.name}: no host answers:", *texts])

    def _transient(self) -> bool:
        return any(host.failure is not None and host.failure.transient for host in self._hosts.values())

"""Bringing deployments up and down: each once, inner ones first, outer ones down first."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

from ..errors import DeployError, SiteError
from ..model import Companion, Deployment, Target
from .base import Connector, Inner, Log
from .registry import connector_class

Record = Callable[[Deployment, str | None], None]


class Lifecycle:
    """The deployments of one run.

    Args:
        record: told of what stays when this process dies: the connector's `handle`, just before it brings something up;
            None, when nothing of it is left.
    """

    def __init__(self, companion: Companion, run: str, log: Log, record: Record = lambda *_: None) -> None:
        self._companion = companion
        self._run = run
        self._log = log
        self._record = record
        self._up: dict[str, asyncio.Task[Connector]] = {}
        self._order: list[tuple[Deployment, Connector]] = []
        self._going: dict[str, asyncio.Task[None]] = {}
        self._scaling: dict[Connector, asyncio.Task[None]] = {}

    async def up(self, name: str) -> Connector:
        """Bring a deployment up, and what it wraps before it. Callers at the same time share one attempt.

        Raises:
            DeployError, Unreachable: all callers get it; a later call tries again.
        """
        task = self._up.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._up[name] = asyncio.create_task(self._deploy(name))
        return await asyncio.shield(task)

    async def again(self, name: str) -> Connector:
        """Take down what is left of a deployment whose locations have all vanished, and bring it up anew.

        Raises:
            DeployError, Unreachable: it stays down.
        """
        task = self._up.get(name)
        if task is None or task.done():
            task = self._up[name] = asyncio.create_task(self._redeploy(name))
        return await asyncio.shield(task)

    async def needed(self, target: Target) -> dict[str, str]:
        """Wait for the services that a target's jobs need; return what tells a job where they are.

        Raises:
            DeployError, Unreachable: one is not ready.
        """
        if not target.needs:
            return {}
        connector = await self.up(target.deployment)
        found = await asyncio.gather(*map(connector.ready, target.needs))
        env = {}
        for service, locations in zip(target.needs, found, strict=True):
            name = f"STREAMFLOW_SERVICE_{re.sub('[^A-Z0-9]', '_', service.upper())}"
            env[f"{name}_HOST"] = locations[0].reach
            env[f"{name}_HOSTS"] = ",".join(location.reach for location in locations)
        return env

    def connectors(self) -> dict[str, Connector]:
        """Those that are up, by the name of the deployment."""
        return {deployment.name: connector for deployment, connector in self._order}

    async def scale(self, connector: Connector, service: str, count: int, *, spare: Collection[str]) -> None:
        """Change the replicas of a service, one after another; see `Connector.scale`.

        Raises:
            DeployError, Unreachable: as that does, and when the deployment is taken down meanwhile.
        """
        while (before := self._scaling.get(connector)) is not None:
            await asyncio.wait([before])
        if all(other is not connector for _, other in self._order):
            raise DeployError(f"deployment {connector.deployment.name} has been taken down")
        task = self._scaling[connector] = asyncio.create_task(connector.scale(service, count, spare=spare))
        task.add_done_callback(lambda _: self._scaling.pop(connector, None))
        await asyncio.wait([task])
        if task.cancelled():
            raise DeployError(f"deployment {connector.deployment.name} is taken down")
        task.result()

    async def _settle(self, connector: Connector) -> None:
        """End a change of its replicas."""
        if (task := self._scaling.get(connector)) is not None:
            task.cancel()
            await asyncio.wait([task])

    def leave(self, name: str, first: Coroutine[Any, Any, None]) -> None:
        """Take one deployment down in the background, after `first`; who wants it up again waits for that.

        What it wraps stays up. When it cannot be taken down, `down` tries again.
        """
        pair = next((pair for pair in self._order if pair[0].name == name), None)
        if pair is None:
            first.close()
            return
        self._order.remove(pair)
        self._up.pop(name, None)
        # What it goes through may be left at the same time.
        outer = [task for other, task in self._going.items() if self._wraps(other) == name]
        self._going[name] = asyncio.create_task(self._go(pair, first, outer))

    def _wraps(self, name: str) -> str | None:
        wraps = self._companion.deployments[name].wraps
        return wraps.deployment if wraps else None

    async def _go(
        self,
        pair: tuple[Deployment, Connector],
        first: Coroutine[Any, Any, None],
        outer: Sequence[asyncio.Task[None]],
    ) -> None:
        problems: list[str] = []
        try:
            await first
            await asyncio.gather(*outer, return_exceptions=True)
        finally:
            await self._undeploy(*pair, False, problems)
            if problems:
                self._order.append(pair)
                self._log.warning("; ".join(problems))
            self._going.pop(pair[0].name, None)

    async def down(self, *, keep: bool = False) -> list[str]:
        """Take everything down, outer before inner; return what could not be, with the command that does it."""
        attempts = [task for task in self._up.values() if not task.done()]
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, *self._going.values(), return_exceptions=True)
        problems: list[str] = []
        wrapped = {d.wraps.deployment for d, _ in self._order if d.wraps}
        rest = list(reversed(self._order))
        self._order = []
        outer = [pair for pair in rest if pair[0].name not in wrapped]
        inner = [pair for pair in rest if pair[0].name in wrapped]
        await asyncio.gather(*(self._undeploy(d, c, keep, problems) for d, c in outer))
        for deployment, connector in inner:
            await self._undeploy(deployment, connector, keep, problems)
        self._up.clear()
        return problems

    async def _redeploy(self, name: str) -> Connector:
        for pair in [pair for pair in self._order if pair[0].name == name]:
            try:
                await self._settle(pair[1])
                await pair[1].undeploy()
                self._order.remove(pair)
            finally:
                await pair[1].close()
        return await self._deploy(name)

    async def _deploy(self, name: str) -> Connector:
        deployment = self._companion.deployments[name]
        if (going := self._going.get(name)) is not None:
            await asyncio.wait([going])
        inner = None
        if deployment.wraps is not None:
            below = await self.up(deployment.wraps.deployment)
            locations = await below.locations(deployment.wraps.service)
            if not locations:
                raise DeployError(f"deployment {name}: {deployment.wraps.deployment}, which it wraps, has no location")
            inner = Inner(below, locations[0])
        connector = connector_class(deployment.type)(deployment, run=self._run, inner=inner, log=self._log)
        try:
            if not deployment.external:
                self._log.debug(f"deployment {name} ({deployment.type}): bringing it up")
                if handle := connector.handle():
                    self._record(deployment, handle)
                await connector.deploy()
        except BaseException:
            self._record(deployment, None)
            await connector.close()
            raise
        self._order.append((deployment, connector))
        return connector

    async def _undeploy(self, deployment: Deployment, connector: Connector, keep: bool, problems: list[str]) -> None:
        await self._settle(connector)
        try:
            if not deployment.external and not keep:
                await connector.undeploy()
                self._record(deployment, None)
        except SiteError as error:
            problems.append(f"deployment {deployment.name}: {error}")
        except Exception as error:  # a bug in a connector must not keep the others up
            problems.append(f"deployment {deployment.name}: {type(error).__name__}: {error}")
        try:
            await connector.close()
        except Exception as error:
            problems.append(f"deployment {deployment.name}: {type(error).__name__}: {error}")

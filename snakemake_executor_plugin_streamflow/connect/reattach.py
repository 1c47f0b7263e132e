"""Deployments as another run left them: looked at, used, taken down; nothing is brought up."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from ..errors import DeployError, Gone, SiteError
from ..model import Companion
from .base import Connector, Inner, Log
from .registry import connector_class


class Reattached:
    """Connectors to what other runs brought up.

    Args:
        runs: `{deployment: run}`: who brought up what stays; see `Connector.handle`.
    """

    def __init__(self, companion: Companion, runs: Mapping[str, str], log: Log) -> None:
        self._companion = companion
        self._runs = runs
        self._log = log
        self._connectors: dict[str, Connector] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def connector(self, name: str) -> Connector:
        """Return the connector of a deployment that is up, or that needs no bringing up (hosts, folders).

        Raises:
            Gone: it is not up, or the companion file does not have it.
            DeployError, Unreachable: it, or what it goes through, does not answer.
        """
        async with self._locks[name]:
            if name not in self._connectors:
                connector = await self._made(name)
                try:
                    await self._check(connector)
                except BaseException:
                    await connector.close()
                    raise
                self._connectors[name] = connector
        return self._connectors[name]

    async def take_down(self, name: str) -> None:
        """Take down what is left of a deployment; what has vanished is no error.

        Raises:
            DeployError, Unreachable: something may be left.
        """
        connector = self._connectors.get(name)
        if connector is None:
            connector = self._connectors[name] = await self._made(name)
        await connector.undeploy()

    async def close(self) -> None:
        """Drop all connections; deployments stay as they are."""
        while self._connectors:
            _, connector = self._connectors.popitem()
            try:
                await connector.close()
            except SiteError as error:
                self._log.debug(f"{connector.deployment.name}: {error}")

    async def _check(self, connector: Connector) -> None:
        name = connector.deployment.name
        if connector.deployment.external:
            return
        if not connector.handle():
            await connector.deploy()
        elif name not in self._runs:
            raise Gone(f"deployment {name} is not up: what was in it is gone")

    async def _made(self, name: str) -> Connector:
        deployment = self._companion.deployments.get(name)
        if deployment is None:
            raise Gone(f"{self._companion.path} has no deployment {name} any more")
        inner = None
        if deployment.wraps is not None:
            below = await self.connector(deployment.wraps.deployment)
            locations = await below.locations(deployment.wraps.service)
            if not locations:
                raise DeployError(f"deployment {name}: {deployment.wraps.deployment}, which it wraps, has no location")
            inner = Inner(below, locations[0])
        run = self._runs.get(name, "none")
        return connector_class(deployment.type)(deployment, run=run, inner=inner, log=self._log)

"""The sites of a workflow, opened as runs have left them; nothing is brought up."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from ..connect.base import Connector
from ..connect.reattach import Reattached
from ..errors import DeployError, Gone, SiteError
from ..journal import DeploymentRecord
from ..journal.identity import workflow_key
from ..model import (
    CONTROLLER,
    KEPT_HERE,
    Address,
    Companion,
    Deployment,
    LocalOptions,
    Location,
    is_address,
    kept_as,
)
from ..move.here import Here
from ..move.store import Store
from ..site import Site
from .terminal import Tell

_LIMIT = 4


class Reach:
    """Sites by filesystem and by deployment; closed at the end of `async with`.

    Args:
        here: the workflow's working directory.
        records: what runs have brought up.
    """

    def __init__(self, companion: Companion, here: Path, records: Iterable[DeploymentRecord]) -> None:
        in_place = Deployment(CONTROLLER, "local", LocalOptions())
        self._companion = companion = replace(companion, deployments={**companion.deployments, CONTROLLER: in_place})
        self._here = here
        self.home = Here(CONTROLLER, here)
        self.deployments = Reattached(companion, {record.name: record.run for record in records}, Tell())
        self._locations: dict[str, Sequence[Location] | SiteError] = {}
        self._sites: dict[str, Site] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for site in self._sites.values():
            await site.close()
        await self.deployments.close()

    async def at(self, filesystem: str) -> Site:
        """Return a site on a filesystem.

        Raises:
            Gone: there is none any more.
            DeployError, Unreachable: it cannot be opened now.
        """
        for name, deployment in self._companion.deployments.items():
            if deployment.may_have(filesystem):
                for location in await self._of(name):
                    if location.filesystem == filesystem:
                        return await self._open(location)
        raise Gone(f"{filesystem}: no deployment of {self._companion.path} has such a filesystem now")

    async def all(self, deployment: str) -> list[Site]:
        """Return the sites of all locations of a deployment. Raises as `at`, for the first that cannot be opened."""
        return list(await asyncio.gather(*map(self._open, await self._of(deployment))))

    async def place(self, site: Site, path: str) -> str | None:
        """Where a replica is at a site, for its store; None when what is seen there is the controller's own file."""
        if is_address(path):
            address = Address.parse(path)
            return address.path if await self._holds(site.location, address.holder) else kept_as(path)
        return None if path.startswith("/") and site.visible(path) is not None else kept_as(path)

    async def source(self, filesystem: str, path: str) -> tuple[Store, str]:
        """The store that a replica is read from, and its place in it. Raises as `at`."""
        if filesystem != CONTROLLER:
            site = await self.at(filesystem)
            if (place := await self.place(site, path)) is not None:
                return site.store, place
        return self.home, self.home_path(path)

    async def absolute(self, filesystem: str, path: str) -> str:
        """Return the place of a replica as LOCATION:PATH, or as a path of this machine; "" when that cannot be told."""
        if filesystem == CONTROLLER:
            return self.home.path(self.home_path(path))
        try:
            site = await self.at(filesystem)
        except SiteError:
            return ""
        place = await self.place(site, path)
        return f"{site.location.name}:{site.facts.workdir / place}" if place is not None else self.home.path(path)

    def home_path(self, path: str) -> str:
        """Where a replica is at the controller."""
        return kept_as(path, KEPT_HERE) if is_address(path) else path

    async def _holds(self, location: Location, holder: str) -> bool:
        """Whether addresses of a holder mean files of that location: those of its first one do."""
        deployment = self._companion.holder(holder)
        return deployment is not None and (await self._of(deployment.name))[0].filesystem == location.filesystem

    async def _of(self, deployment: str) -> Sequence[Location]:
        if deployment not in self._locations:
            try:
                connector = await self.deployments.connector(deployment)
                self._locations[deployment] = await _locations(connector)
            except SiteError as error:
                self._locations[deployment] = error
        found = self._locations[deployment]
        if isinstance(found, SiteError):
            raise found
        return found

    async def _open(self, location: Location) -> Site:
        async with self._locks[location.name]:
            if location.name not in self._sites:
                self._sites[location.name] = await Site.open(
                    await self.deployments.connector(location.deployment),
                    replace(location, workdir=self._workdir(location)),
                    here=PurePosixPath(self._here),
                    key=workflow_key(self._here),
                    limit=_LIMIT,
                    log=Tell().warning,
                )
        return self._sites[location.name]

    def _workdir(self, location: Location) -> PurePosixPath | None:
        """Where jobs run there: a target may say so."""
        for binding in self._companion.bindings:
            for target in binding.targets:
                if target.deployment == location.deployment and target.workdir is not None:
                    return target.workdir
        return location.workdir


async def _locations(connector: Connector) -> Sequence[Location]:
    try:
        return await connector.locations(None)
    except DeployError as error:
        if connector.ephemeral:
            raise Gone(str(error)) from error
        raise

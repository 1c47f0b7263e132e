"""The locations of one run: brought up on first use, shared by all who ask, set aside when they keep failing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from .config.nearest import did_you_mean
from .connect.base import Connector, Log
from .connect.lifecycle import Lifecycle
from .errors import CapacityError, ConfigError, DeployError, JobInterrupted, JobLost, SiteError, Unreachable
from .model import Companion, Limits, Location, Target
from .plan import Ledger, Placement
from .site import Site

_STRIKES = 3
"""Failures in a row after which a location is set aside."""
_PAUSE_S = 60.0
"""How long a deployment that could not be brought up is not tried again."""
_CLOSE_S = 4.0

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Sites:
    """All sites that are up, by the name of their location.

    Args:
        here: the workflow's directory at the controller.
        key: stable name of the workflow.
        limit: transfers at once for each location.
        spawn: starts a task that the run owns.
    """

    def __init__(
        self,
        companion: Companion,
        lifecycle: Lifecycle,
        placement: Placement,
        ledger: Ledger,
        *,
        here: PurePosixPath,
        key: str,
        limit: int,
        spawn: Spawn,
        log: Log,
    ) -> None:
        self._companion, self._lifecycle = companion, lifecycle
        self._placement, self._ledger = placement, ledger
        self._here, self._key, self._limit = here, key, limit
        self._spawn, self._log = spawn, log
        self._sites: dict[str, Site] = {}
        self._opening: dict[Target, asyncio.Task[list[Site]]] = {}
        self._failed_at: dict[Target, float] = {}
        self._was_up: set[Target] = set()
        self._aside: set[str] = set()

    def __iter__(self) -> Iterator[Site]:
        return iter(self._sites.values())

    def __getitem__(self, location: str) -> Site:
        return self._sites[location]

    def get(self, location: str) -> Site | None:
        """The site of a location, if it is up."""
        return self._sites.get(location)

    async def open(self, targets: Iterable[Target]) -> None:
        """Bring up the deployments of all targets, at once; one that works is enough.

        Raises:
            DeployError, Unreachable: none works.
        """
        wanted = list(dict.fromkeys(replace(target, locations=1) for target in targets))
        results = await asyncio.gather(*map(self._open, wanted), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:
            if not isinstance(error, SiteError):
                raise error
        if len(errors) < len(results):
            return
        if len(errors) == 1:
            raise errors[0]
        names = ", ".join(dict.fromkeys(target.deployment for target in wanted))
        texts = "\n".join(dict.fromkeys(map(str, errors)))
        raise DeployError(
            f"none of {names} could be brought up:\n{texts}",
            transient=all(getattr(error, "transient", False) for error in errors),
        )

    async def first(self, holder: str) -> Site:
        """The first site of a deployment, by its name or that of its filesystem; it is brought up.

        Raises:
            DeployError, Unreachable: it does not come up.
            ConfigError: there is no such deployment.
        """
        deployment = self._companion.holder(holder)
        if deployment is None:
            hint = did_you_mean(holder, self._companion.deployments)
            raise ConfigError([f"{self._companion.path}: there is no deployment or filesystem {holder!r}{hint}"])
        sites = await self._open(Target(deployment.name))
        up = (site for site in sites if self._sites.get(site.location.name) is site)
        found = next(up, None)
        if found is None:
            raise Unreachable(f"deployment {deployment.name}: none of its locations can be reached")
        return found

    async def on(self, filesystem: str) -> Site | None:
        """A site on a filesystem, brought up when need be; None when it cannot be."""
        for deployment in self._companion.deployments.values():
            named = deployment.filesystem is not None and deployment.filesystem.name == filesystem
            if named or filesystem.partition("/")[0] == deployment.name:
                with suppress(SiteError):
                    await self._open(Target(deployment.name))
        return next((site for site in self if site.location.filesystem == filesystem), None)

    def strike(self, site: Site, error: SiteError) -> bool:
        """Count a failure that was not the job's own; return whether the location takes no more jobs.

        One that is lost is closed. One that keeps failing is set aside: what runs there goes on.
        """
        name = site.location.name
        if isinstance(error, CapacityError | JobInterrupted) or self._sites.get(name) is not site:
            return False
        site.strikes += 1
        if isinstance(error, Unreachable | JobLost) and site.session.lost:
            del self._sites[name]
            self._placement.remove(name)
            if not site.in_place:
                self._ledger.drop_filesystem(site.location.filesystem)
            self._spawn(self._abandon(site))
        elif site.strikes >= _STRIKES and name not in self._aside:
            self._aside.add(name)
            self._placement.set_aside(name)
        else:
            return False
        self._log.warning(f"{name} is set aside: {error}")
        return True

    async def close(self) -> list[str]:
        """Close all; return a message for whatever may still run."""
        opening = [task for task in self._opening.values() if not task.done()]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        left = await asyncio.gather(*map(_close, self._sites.values()))
        return [problem for problems in left for problem in problems]

    async def eager(self, target: Target) -> None:
        """Bring a deployment up that is not `lazy`; failures have been told and show again at its first use."""
        with suppress(SiteError):
            await self._open(target)

    async def _open(self, target: Target) -> list[Site]:
        task = self._opening.get(target)
        if task is not None and task.done():
            failed = task.cancelled() or task.exception() is not None
            recent = time.monotonic() - self._failed_at.get(target, -_PAUSE_S) < _PAUSE_S
            recent = recent and failed and not getattr(task.exception(), "transient", False)
            if not recent and (failed or not self._any_up(task.result())):
                task = None
        if task is None:
            task = self._opening[target] = asyncio.create_task(self._open_locations(target))
        return await asyncio.shield(task)

    def _any_up(self, sites: Iterable[Site]) -> bool:
        names = (site.location.name for site in sites if self._sites.get(site.location.name) is site)
        return any(name not in self._aside for name in names)

    async def _open_locations(self, target: Target) -> list[Site]:
        deployment = self._companion.deployments[target.deployment]
        try:
            connector = await self._lifecycle.up(target.deployment)
            try:
                found = await connector.locations(target.service)
            except DeployError:
                if deployment.external or not connector.ephemeral or target not in self._was_up:
                    raise
                self._log.warning(f"deployment {deployment.name}: all its locations are gone: bringing it up again")
                connector = await self._lifecycle.again(deployment.name)
                found = await connector.locations(target.service)
            opened = await asyncio.gather(
                *(self._open_site(connector, location, target) for location in found), return_exceptions=True
            )
            sites = [result for result in opened if isinstance(result, Site)]
            errors = [result for result in opened if isinstance(result, BaseException)]
            if not sites:
                raise errors[0] if errors else DeployError(f"deployment {deployment.name} has no location")
        except SiteError as error:
            self._failed_at[target] = time.monotonic()
            self._log.warning(f"deployment {deployment.name} cannot be used: {error}")
            raise
        self._was_up.add(target)
        for left_out in errors:
            self._log.warning(f"deployment {deployment.name}: a location is left out: {left_out}")
        if deployment.limits != Limits():
            self._placement.limit(deployment.name, deployment.limits)
        for site in sites:
            if site.location.name not in self._sites:
                self._sites[site.location.name] = site
                self._spawn(site.session.serve())
                self._placement.add(site.location, None, getattr(connector.options, "jobs", None))
            elif self._sites[site.location.name] is not site:
                self._spawn(self._abandon(site))  # somebody else opened it meanwhile
        self._log.info(f"deployment {deployment.name} is up: {', '.join(site.location.name for site in sites)}")
        return sites

    async def _open_site(self, connector: Connector, location: Location, target: Target) -> Site:
        known = self._sites.get(location.name)
        if known is not None:
            if known.location.name in self._aside:
                self._aside.discard(known.location.name)
                known.strikes = 0
                self._placement.restore(known.location.name)
            return known
        if target.workdir is not None:
            location = replace(location, workdir=target.workdir)
        return await Site.open(
            connector, location, here=self._here, key=self._key, limit=self._limit, log=self._log.warning, sweep=True
        )

    async def _abandon(self, site: Site) -> None:
        for problem in await _close(site):
            self._log.warning(problem)


async def _close(site: Site) -> list[str]:
    try:
        async with asyncio.timeout(_CLOSE_S):
            return await site.close()
    except TimeoutError:
        where = f"{site.facts.workdir}/.streamflow/jobs"
        return [f"{site.location.name} did not answer: jobs may still run there; their process ids are in {where}"]

"""The locations of one run: brought up on first use, shared by all who ask, set aside when they keep failing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from .aside import Aside, blames
from .config.nearest import did_you_mean
from .connect.base import Connector, Log
from .connect.lifecycle import Lifecycle
from .connect.registry import connector_class
from .errors import ConfigError, DeployError, JobLost, SiteError, Unreachable
from .model import Companion, Limits, Location, Target
from .plan import Ledger, Placement
from .returning import Returning, Spawn
from .site import Site
from .sweeping import CLOSE_S, Sweeping

_PAUSE_S = 60.0
"""How long a deployment that could not be brought up is not tried again."""
_LOOK_S = 30.0
"""Between two looks for locations that are new, or have come back."""
_SOON_S = (1.0, 3.0, 5.0, 8.0)
"""Before looks for what comes in the place of a location that is gone for good."""


class Sites:
    """All sites that are up, by the name of their location.

    What does not answer is asked again from time to time, as long as the run lasts.

    Args:
        here: the workflow's directory at the controller.
        key: stable name of the workflow.
        limit: transfers at once for each location.
        spawn: starts a task that the run owns.

    Attributes:
        returned: called when a location can be used (again) without anybody having asked for it.
        left: called with each location that is used no more; what comes up under its name may be new.
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
        self._told: dict[Target, str] = {}
        self._closed = False
        self.returned: Callable[[], None] = lambda: None
        self.left: Callable[[Site], None] = lambda _: None
        self._returning = Returning(spawn, lambda: self.returned())
        self._aside = Aside(placement, self._returning, self._is_in_use, log)
        self._sweeping = Sweeping(log)

    def __iter__(self) -> Iterator[Site]:
        return iter(list(self._sites.values()))

    def __getitem__(self, location: str) -> Site:
        return self._sites[location]

    def get(self, location: str) -> Site | None:
        """The site of a location, if it is up."""
        return self._sites.get(location)

    async def open(self, targets: Iterable[Target]) -> None:
        """Bring up the deployments of all targets, at once; one that works is enough.

        Where one is up, nobody waits for those that have failed.

        Raises:
            DeployError, Unreachable: none works.
        """
        wanted = list(dict.fromkeys(replace(target, locations=1, needs=(), nodes=1) for target in targets))
        if any(self._is_up(target) for target in wanted):
            wanted = [target for target in wanted if not self._is_awaited(target)]
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

    async def open_own(self, connector: Connector, target: Target) -> None:
        """Open the locations that were made for one task; nobody but that looks for them again.

        Raises:
            DeployError, Unreachable: one cannot be used.
        """
        found = await connector.locations(target.service)
        opened = await asyncio.gather(
            *(self._open_site(connector, location, target) for location in found), return_exceptions=True
        )
        for one in opened:
            if isinstance(one, Site):
                await self._take(one)
        for error in opened:
            if isinstance(error, BaseException):
                raise error
        self._limit_all(connector)

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
        found = next(filter(self._is_in_use, sites), None)
        if found is None:
            raise Unreachable(f"deployment {deployment.name}: none of its locations can be reached")
        return found

    async def on(self, filesystem: str) -> Site | None:
        """A site on a filesystem, brought up when need be; None when it cannot be."""
        for deployment in self._companion.deployments.values():
            if deployment.may_have(filesystem):
                with suppress(SiteError):
                    await self._open(Target(deployment.name))
        return next((site for site in self if site.location.filesystem == filesystem), None)

    async def take_over(
        self, spare: Iterable[str], done: Mapping[str, Sequence[str]], *, alive: Sequence[str], deep: bool
    ) -> None:
        """From now on, end the jobs that earlier runs of this workflow have left, but for those named in `spare`.

        Who is not spared is ended when its location is opened,
        the others when it is closed, unless they have ended by then.

        Args:
            done: jobs of which all is known, by location.
            alive: runs that go on: Snakemake was told not to lock.
            deep: an earlier run has died: look for half-finished transfers.
        """
        self._sweeping.begin(spare, done, alive=alive, deep=deep)
        for site in self:
            try:
                await self._sweeping.opened(site)
            except SiteError as error:
                self._log.warning(f"{site.location.name}: jobs of an earlier run may go on there: {error}")
        for name in {location.partition("/")[0] for location in done}:  # perhaps no job goes there any more
            deployment = self._companion.deployments.get(name)
            if deployment is not None and not connector_class(deployment.type).ephemeral:
                self._spawn(self.eager(Target(name)))

    async def give_up(self, job: str, site: Site | None) -> None:
        """End a job of an earlier run that was spared; see `Sweeping.give_up`."""
        await self._sweeping.give_up(job, site)

    def strike(self, site: Site, error: SiteError, *, gone: bool = False) -> bool:
        """Count a failure that was not the job's own; return whether the location takes no more jobs.

        One that is lost is closed. One that keeps failing is set aside: what runs there goes on.
        """
        if not self._is_in_use(site) or not blames(site, error):
            return False
        site.strikes += 1
        if not (gone or (isinstance(error, Unreachable | JobLost) and site.session.lost)):
            return self._aside.strike(site, error)
        self._log.warning(f"{site.location.name} is lost: {error}")
        self._lose(site)
        return True

    def _lose(self, site: Site) -> None:
        location = site.location
        self._take_out(site, lost=not site.in_place)
        self._spawn(self._abandon(site))
        if site.connector.ephemeral:
            self._spawn(self._look_soon(location.deployment, location.service))
        if not any(
            (s.location.deployment, s.location.service) == (location.deployment, location.service) for s in self
        ):
            what = f", service {location.service}," if location.service else ""
            self._log.warning(f"deployment {location.deployment}{what} has no location left")

    def leave(self, deployment: str) -> None:
        """Close all locations of a deployment and take it down; who needs it again brings it up again."""
        mine = [site for site in self if site.location.deployment == deployment]
        for target in [target for target in self._opening if target.deployment == deployment]:
            del self._opening[target]
        self._lifecycle.leave(deployment, self.retire(mine))

    def retire(self, gone: Sequence[Site]) -> Coroutine[Any, Any, None]:
        """Place nothing more at locations, and forget what vanishes with them; what is returned closes them."""
        for site in gone:
            self._take_out(site, lost=site.connector.ephemeral)
        return self._abandon_all(gone)

    def _take_out(self, site: Site, *, lost: bool) -> None:
        """Use a location no more. `lost`: so are the files that no other location sees."""
        name, filesystem = site.location.name, site.location.filesystem
        del self._sites[name]
        self._aside.forget(name)
        self._placement.remove(name)
        self.left(site)
        if lost and not any(other.location.filesystem == filesystem for other in self):
            self._ledger.drop_filesystem(filesystem)

    async def _abandon_all(self, sites: Sequence[Site]) -> None:
        await asyncio.gather(*map(self._abandon, sites))

    async def close(self) -> list[str]:
        """Close all; return a message for whatever may still run."""
        self._closed = True
        self._returning.close()
        opening = [task for task in self._opening.values() if not task.done()]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        left = await asyncio.gather(*map(self._close, self))
        return [problem for problems in left for problem in problems]

    async def eager(self, target: Target) -> None:
        """Bring a deployment up that is not `lazy`; failures have been told and show again at its first use."""
        with suppress(SiteError):
            await self._open(target)

    async def _open(self, target: Target) -> list[Site]:
        if self._companion.deployments[target.deployment].tailors:
            raise DeployError(f"deployment {target.deployment} has no locations but those that are made for a task")
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

    def _is_up(self, target: Target) -> bool:
        task = self._opening.get(target)
        done = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return done and task is not None and self._any_up(task.result())

    def _is_awaited(self, target: Target) -> bool:
        return target in self._returning and not self._is_up(target)

    def _any_up(self, sites: Iterable[Site]) -> bool:
        return any(self._is_in_use(site) and site.location.name not in self._aside for site in sites)

    def _is_in_use(self, site: Site) -> bool:
        return self._sites.get(site.location.name) is site

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
            if self._told.get(target) != str(error):
                self._told[target] = str(error)
                self._log.warning(f"deployment {deployment.name} cannot be used: {error}")
            if error.transient:
                self._returning.wait_for(target, partial(self._opens, target))
            raise
        if target not in self._was_up and not connector.on_controller:
            self._spawn(self._watch(target))
        self._was_up.add(target)
        self._told.pop(target, None)
        for left_out in errors:
            self._log.warning(f"deployment {deployment.name}: a location is left out: {left_out}")
        self._limit_all(connector)
        for site in sites:
            await self._take(site)
        self._log.info(f"deployment {deployment.name} is up: {', '.join(site.location.name for site in sites)}")
        return sites

    def _limit_all(self, connector: Connector) -> None:
        deployment = connector.deployment
        if deployment.limits != Limits():
            self._placement.limit(deployment.name, deployment.limits)

    async def _take(self, site: Site) -> None:
        with suppress(SiteError):  # since it was opened, somebody may have said what to end there
            await self._sweeping.opened(site)
        known = self._sites.get(site.location.name)
        if known is None and not self._closed:
            self._sites[site.location.name] = site
            self._spawn(site.session.serve())
            self._placement.add(site.location, None, getattr(site.connector.options, "jobs", None))
        elif known is None:
            self._spawn(self._abandon(site))
        elif known is not site:
            self._spawn(self._drop(site))  # somebody else opened it meanwhile, and its jobs go on

    async def _open_site(self, connector: Connector, location: Location, target: Target) -> Site:
        known = self._sites.get(location.name)
        if known is not None:
            self._aside.restore(known)
            return known
        if target.workdir is not None:
            location = replace(location, workdir=target.workdir)
        site = await Site.open(
            connector, location, here=self._here, key=self._key, limit=self._limit, log=self._log.warning
        )
        try:
            await self._sweeping.opened(site)
        except BaseException:
            await self._drop(site)
            raise
        return site

    async def _opens(self, target: Target) -> bool:
        """Whether a deployment that could not be brought up can be now."""
        await self._open(target)
        return True

    async def _watch(self, target: Target) -> None:
        """Take what a deployment has more than before: new locations, and those that were left out or lost."""
        while True:
            await asyncio.sleep(_LOOK_S)
            with suppress(SiteError):
                await self._look(target)

    async def _look_soon(self, deployment: str, service: str) -> None:
        for pause_s in _SOON_S:
            await asyncio.sleep(pause_s)
            with suppress(SiteError):
                await self.look(deployment, service)

    async def look(self, deployment: str, service: str) -> None:
        """Take the locations of a service that have come since.

        Raises:
            DeployError, Unreachable: what there is cannot be told.
        """
        for target in [one for one in self._was_up if one.deployment == deployment]:
            if target.service in (None, service):
                await self._look(target)

    async def _look(self, target: Target) -> None:
        connector = self._lifecycle.connectors().get(target.deployment)
        if connector is None:
            return
        found = await connector.locations(target.service)
        fresh = [location for location in found if location.name not in self._sites]
        opened = await asyncio.gather(
            *(self._open_site(connector, location, target) for location in fresh), return_exceptions=True
        )
        for site in opened:
            if isinstance(site, Site) and connector is not self._lifecycle.connectors().get(target.deployment):
                await self._abandon(site)  # it was taken down meanwhile
            elif isinstance(site, Site):
                self._log.info(f"{site.location.name} is up")
                await self._take(site)
                self.returned()

    async def _drop(self, site: Site) -> None:
        with suppress(SiteError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await site.close()

    async def _abandon(self, site: Site) -> None:
        for problem in await self._close(site):
            self._log.warning(problem)

    async def _close(self, site: Site) -> list[str]:
        return await self._sweeping.close(site, self._placement.running)

"""Ending and removing what dead runs have left, at all locations of a workflow."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..connect.reattach import Reattached
from ..errors import DeployError, Gone, SiteError, quote_tail
from ..journal import DeploymentRecord
from ..model import CONTROLLER, Companion
from ..remote import leftovers
from ..remote.leftovers import Leftovers, Queued
from ..site import Site
from .reach import Reach
from .terminal import Tell


@dataclass(frozen=True, slots=True)
class Left:
    """What was left: at locations, in the working directory, deployments. `problems` says what still is, and why."""

    at: dict[str, Leftovers] = field(default_factory=dict)
    home: list[str] = field(default_factory=list)
    deployments: list[DeploymentRecord] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


class Sweep:
    """One cleaning up.

    Args:
        folders: of all files of the workflow, by their canonical names: transfers may be half-finished there.
        keep: jobs whose directories stay.
        dry: only look.
    """

    def __init__(self, reach: Reach, folders: Collection[str], keep: Collection[str], *, dry: bool) -> None:
        self._reach = reach
        self._folders = folders
        self._keep = keep
        self._dry = dry
        self._sites: dict[str, Site] = {}
        self.left = Left()

    async def locations(self, deployments: Iterable[str]) -> None:
        """Clean up all locations of deployments. A job is ended wherever it runs before its directory is removed."""
        await asyncio.gather(*map(self._look, deployments))
        busy = {job for left in self.left.at.values() for job in (*left.running, *(q.job for q in left.queued))}
        seen: set[str] = set()
        queued: dict[str, tuple[Site, list[Queued]]] = {}
        for name, left in self.left.at.items():
            filesystem = self._sites[name].location.filesystem
            if filesystem in seen:  # whoever was first there does it
                self.left.at[name] = Leftovers(left.running)
                continue
            seen.add(filesystem)
            gone = tuple(job for job in left.ended if job not in busy and job not in self._keep)
            self.left.at[name] = replace(left, ended=gone)
            for job in left.queued:
                queued.setdefault(job.deployment, (self._sites[name], []))[1].append(job)
        if self._dry:
            return
        await asyncio.gather(*(self._end(name, left) for name, left in self.left.at.items() if left.running))
        await asyncio.gather(*(self._cancel(name, *jobs) for name, jobs in queued.items()))
        if not self.left.problems:
            await asyncio.gather(*(self._remove(name, left) for name, left in self.left.at.items()))

    async def home(self, here: Path) -> None:
        """Remove half-finished transfers in the working directory."""
        inside = (here / folder for folder in self._folders if not folder.startswith("/"))
        self.left.home.extend(str(path) for folder in inside for path in folder.glob(leftovers.BESIDE))
        if not self._dry:
            await self._reach.home.remove(self.left.home)

    async def take_down(self, companion: Companion, records: Sequence[DeploymentRecord]) -> None:
        """Take deployments down, those that were brought up last first."""
        for record in reversed(records):
            of_run = {other.name: other.run for other in records if other.run == record.run}
            reattached = Reattached(companion, of_run, Tell())
            try:
                if record.name not in companion.deployments:
                    raise DeployError(f"{companion.path} has no deployment {record.name} any more")
                if not self._dry:
                    with suppress(Gone):  # what it went through is no more
                        await reattached.take_down(record.name)
                self.left.deployments.append(record)
            except SiteError as error:
                self.left.problems[record.name] = f"{error} ({record.what})"
            finally:
                await reattached.close()

    async def _look(self, deployment: str) -> None:
        try:
            sites = await self._reach.all(deployment)
        except Gone:
            return
        except SiteError as error:
            self.left.problems[deployment] = str(error)
            return
        for site in sites:
            own = [] if site.in_place else [await self._reach.place(site, folder) for folder in self._folders]
            done = await self._ask(site, leftovers.look(folder for folder in own if folder is not None))
            if done is not None:
                self._sites[site.location.name] = site
                self.left.at[site.location.name] = leftovers.parse(done)

    async def _end(self, name: str, left: Leftovers) -> None:
        await self._ask(self._sites[name], leftovers.end(left.running))

    async def _cancel(self, deployment: str, site: Site, jobs: Sequence[Queued]) -> None:
        """Cancel jobs in a queue; those it does not know any more have ended."""
        try:
            (first, *_) = await self._reach.all(deployment)
            profile = first.connector.profile(first.location)
            if profile is None:
                raise DeployError(f"{deployment} is no queue any more")
            ids = [profile.queue.submitted(job.said) for job in jobs]
            for start in range(0, len(ids), profile.queue.at_once):
                done = await first.shells.ask(profile.queue.cancel(ids[start : start + profile.queue.at_once]))
                if done.code and not profile.queue.knows_none(done.text):
                    raise DeployError(f"jobs cannot be cancelled:\n{quote_tail(done.output)}")
        except (SiteError, ValueError) as error:
            names = ", ".join(job.job for job in jobs)
            self.left.problems[deployment] = (
                f"{error}; {names} may still be in the queue, as seen at {site.location.name}"
            )

    async def _remove(self, name: str, left: Leftovers) -> None:
        jobs = (*left.running, *(queued.job for queued in left.queued), *left.ended)
        said = await self._ask(self._sites[name], leftovers.remove(jobs, left.staged, left.beside))
        if said is not None and said.strip():
            self.left.problems[name] = f"not all could be removed:\n{quote_tail(said)}"

    async def _ask(self, site: Site, text: str) -> str | None:
        try:
            return (await site.shells.ask(text)).text
        except SiteError as error:
            self.left.problems[site.location.name] = str(error)
            return None


def deployments_of(companion: Companion, filesystems: Iterable[str], locations: Iterable[str]) -> set[str]:
    """The deployments that filesystems and locations belong to."""
    by_filesystem: defaultdict[str, set[str]] = defaultdict(set)
    for name, deployment in companion.deployments.items():
        if deployment.filesystem is not None:
            by_filesystem[deployment.filesystem.name].add(name)
    found = {name.split("/")[0] for name in locations if name}
    for filesystem in filesystems:
        found |= by_filesystem.get(filesystem) or {filesystem.split("/")[0]}
    return found & {*companion.deployments, CONTROLLER}

"""One location as the engine uses it: its files, its session, what is known of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from .connect.base import Channel, Connector
from .errors import SiteError, TransferError, Unreachable, quote_tail
from .model import CONTROLLER, Location, Mount
from .move.here import Here
from .move.store import Store
from .move.there import There
from .remote import leftovers, preflight
from .remote.job import JobEnd, JobSpec, parse_end
from .remote.queue_session import QueueSession
from .remote.quote import quote, words
from .remote.session import Session
from .remote.shell import Completed
from .remote.trouble import Trouble

_GIVE_UP_S = 600.0
"""How long a location may be out of reach before what is there counts as lost."""

T = TypeVar("T")


class Site:
    """A location that is up and has passed its preflight. Made by `Site.open`."""

    def __init__(
        self,
        connector: Connector,
        location: Location,
        facts: preflight.Facts,
        shells: There,
        log: Callable[[str], None],
    ) -> None:
        self.connector = connector
        self._trouble = Trouble(log)
        self.facts = facts
        self.shells = shells
        self.location = replace(location, workdir=facts.workdir)
        self.store: Store = shells
        if connector.on_controller:
            self.store = Here(location.name, Path(facts.workdir))
        jobs = f"{facts.workdir}/.streamflow/jobs"
        profile = connector.profile(location)
        self._at_hand = connector.on_controller and profile is None
        self.session: Session | QueueSession
        if profile is None:
            self.location = _sized(self.location, facts)
            self.session = Session(location.name, jobs, shells.open_shell, log, gone=self.gone, looks=not self._at_hand)
        else:
            self.session = QueueSession(location.name, jobs, shells.open_shell, log, profile=profile, gone=self.gone)
        self.strikes = 0
        self.checked: set[str] = set()
        """Paths whose replica here was looked at, or made, in this run."""

    @classmethod
    async def open(
        cls,
        connector: Connector,
        location: Location,
        *,
        here: PurePosixPath,
        key: str,
        limit: int,
        log: Callable[[str], None],
    ) -> Site:
        """Ask a location what it is and has, and make it ready.

        Args:
            here: the workflow's directory at the controller.
            key: stable name of the workflow, part of the default working directory.

        Raises:
            DeployError: it lacks a tool, or its working directory cannot be used.
            Unreachable: it does not answer.
        """

        async def open_shell() -> Channel:
            return await connector.open(location, ["sh"])

        shells = There(location.name, PurePosixPath("/"), open_shell, limit, (connector, location))
        try:
            location = _in_place(replace(location, mounts=await _proved(location.mounts, shells)), here, connector)
            workdir = location.workdir or (here if location.filesystem == CONTROLLER else None)
            answer = await shells.ask(
                preflight.script(str(workdir) if workdir else None, shared=location.filesystem == CONTROLLER), key
            )
            facts = preflight.parse(answer.text, location.name)
        except BaseException:
            await shells.close()
            raise
        shells.workdir = facts.workdir
        if not facts.bash:
            log(
                f"{location.name}: no bash there: shell commands run with its sh"
                + ("" if facts.pipefail else ", without pipefail")
            )
        return cls(connector, location, facts, shells, log)

    async def gone(self) -> bool:
        """Whether its connector says that it is gone for good."""
        if not self.connector.ephemeral:
            return False
        try:
            return all(self.location.host != other.host for other in await self.connector.locations(None))
        except Unreachable:  # the engine may be back soon, and the container with it
            return False
        except SiteError:
            return True

    @property
    def in_place(self) -> bool:
        """Whether jobs run in the workflow's own directory, so that nothing moves."""
        return self.location.filesystem == CONTROLLER

    def visible(self, path: str) -> str | None:
        """Return where an absolute path of the controller is seen here (shared prefix, bind mount), or None."""
        pure = PurePosixPath(path)
        if any(pure.is_relative_to(prefix) for prefix in self.location.shared):
            return path
        for mount in self.location.mounts:
            if mount.source == CONTROLLER and pure.is_relative_to(mount.source_path):
                return str(mount.path / pure.relative_to(mount.source_path))
        return None

    async def run(self, spec: JobSpec) -> JobEnd:
        """Run a job; see `Session.run`."""
        end = await self.session.run(spec)
        if self._at_hand:  # no process had to look at its files
            return replace(end, outputs=tuple(await self.store.stat(spec.outputs)), newer=await self._newer(spec))
        return end if end.outputs is not None else await self.insist(lambda: self._found(spec))

    async def _newer(self, spec: JobSpec) -> tuple[int, ...]:
        with suppress(OSError):
            begun_ns = os.stat(f"{self.directory(spec.id)}/pid").st_mtime_ns
            found = await self.store.stat(spec.inputs)
            return tuple(number for number, one in enumerate(found) if one.mtime_ns > begun_ns)
        return ()

    async def answers(self) -> bool:
        """Whether it does simple things now."""
        with suppress(SiteError, TimeoutError):
            async with asyncio.timeout(10):
                return not (await self.shells.ask(":")).code
        return False

    async def insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what follows a job that has run, again and again as long as that can help: the job must not run twice."""
        delay, end = 0.3, time.monotonic() + _GIVE_UP_S
        while True:
            try:
                done = await work()
                self._trouble.over()
                return done
            except SiteError as error:
                if not error.transient or time.monotonic() > end or self.session.lost:
                    raise
                self._trouble.tell(error, f"{error}; trying again for {_GIVE_UP_S / 60:.0f} minutes")
                await asyncio.sleep(delay)
                delay = min(2 * delay, 15)

    async def _found(self, spec: JobSpec) -> JobEnd:
        """Read how a job ended, with all its outputs, from its job directory. Raises TransferError, Unreachable."""
        done = await self.shells.ask(f"cat {quote(self.directory(spec.id))}/exit")
        lines = done.text.split("\n")
        if done.code or "." not in lines:
            raise TransferError(
                f"{self.location.name}: cannot read how job {spec.id} ended:\n{quote_tail(done.output)}"
            )
        return parse_end(lines[0], spec.outputs)

    async def sweep(
        self,
        spare: Iterable[str] = (),
        done: Iterable[str] = (),
        *,
        alive: Iterable[str] = (),
        deep: bool = False,
    ) -> list[str]:
        """End the jobs of other runs, and remove what they have left; return which. See `leftovers.sweep`."""
        spare, runs = frozenset(spare), [self.connector.run, *alive]
        text = leftovers.sweep(runs, spare, done, deep=deep and not self.in_place)
        ended = (await self.shells.ask(text)).text.split()
        return ended + (await self.session.sweep(runs, spare) if isinstance(self.session, QueueSession) else [])

    def directory(self, job: str) -> str:
        """The job directory."""
        return f"{self.facts.workdir}/.streamflow/jobs/{job}"

    async def stderr(self, job: str, lines: int = 20) -> str:
        """The last lines that a job printed to standard error; "" when that cannot be had."""
        try:
            async with asyncio.timeout(10):
                done: Completed = await self.shells.ask(
                    f"tail -n {lines} {quote(self.directory(job))}/stderr | tail -c 8000"
                )
        except (SiteError, TimeoutError):
            return ""
        return done.text if not done.code else ""

    async def unwritable(self, job: str) -> str:
        """Why nothing can be written to a job directory (a full disk, a quota); "" when it can, or nobody knows."""
        with suppress(SiteError, TimeoutError):
            async with asyncio.timeout(10):
                room = quote(f"{self.directory(job)}/room")
                done = await self.shells.ask(f"head -c 8192 /dev/zero >{room}; c=$?; rm -f {room}; exit $c")
                return done.text.strip() if done.code else ""
        return ""

    async def close(self) -> list[str]:
        """Close the session and the shells; return a message for each job that may still run."""
        if isinstance(self.session, Session) and (done := self.session.forgotten()) and not self.session.lost:
            with suppress(SiteError):
                await self.shells.ask(f"cd .streamflow/jobs && rm -rf {words(f'./{job}' for job in done)}")
        left = await self.session.close()
        await self.shells.close()
        return [
            f"{self.location.name}: no answer to ending job {job}. If it still runs: "
            + ((isinstance(left, dict) and left[job]) or f"kill -KILL -$(cat {self.directory(job)}/pid)")
            for job in left
        ]


def _sized(location: Location, facts: preflight.Facts) -> Location:
    """A location with what it has of everything that was not said."""
    return replace(
        location,
        cores=location.cores if location.cores is not None else facts.cores,
        memory_b=location.memory_b if location.memory_b is not None else facts.memory_b,
        disk_b=location.disk_b if location.disk_b is not None else facts.disk_b,
    )


async def _proved(mounts: Sequence[Mount], shells: There) -> tuple[Mount, ...]:
    """The bind mounts of the controller's folders that really show them: the engine may run on another machine."""
    claimed = [mount for mount in mounts if mount.source == CONTROLLER]
    if not claimed:
        return ()
    paths = words(mount.path for mount in claimed)
    answer = await shells.ask(f"for f in {paths}; do stat -L -c '%i %f' \"$f\" || echo; done 2>/dev/null")
    proved = []
    for mount, line in zip(claimed, answer.text.split("\n"), strict=False):
        with suppress(OSError):
            own = os.stat(mount.source_path)
            if line == f"{own.st_ino} {own.st_mode:x}":
                proved.append(mount)
    return tuple(proved)


def _in_place(location: Location, here: PurePosixPath, connector: Connector) -> Location:
    """A location whose working directory shows the workflow's own one is on the controller's filesystem."""
    if location.workdir is None or location.filesystem == CONTROLLER:
        return location
    if connector.on_controller and os.path.realpath(location.workdir) == os.path.realpath(here):
        return replace(location, filesystem=CONTROLLER)
    for mount in location.mounts:
        seen = mount.source == CONTROLLER and here.is_relative_to(mount.source_path)
        if seen and location.workdir == mount.path / here.relative_to(mount.source_path):
            return replace(location, filesystem=CONTROLLER)
    if location.workdir == here and any(here.is_relative_to(prefix) for prefix in location.shared):
        return replace(location, filesystem=CONTROLLER)
    return location

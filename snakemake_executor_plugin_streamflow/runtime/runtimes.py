"""The Snakemakes of all locations of one run."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..connect.base import Log
from ..connect.local import LocalConnector
from ..errors import DeployError, SiteError, Unreachable, quote_tail
from ..model import CONTROLLER, Target
from ..move.entry import Entry, Item
from ..move.here import Here
from ..move.mover import Mover
from ..remote.quote import quote, words
from ..site import Site
from ..staging import Staging
from . import probe
from .bundle import Bundle, bundle

K = TypeVar("K")
V = TypeVar("V")

_HERE = Path(__file__).parent
_FOLDER = ".streamflow/runtime"


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs nested jobs at a location.

    Attributes:
        python: the interpreter; it can import Snakemake.
        launcher: the file it runs.
        programs: a folder that comes first in PATH, or "".
    """

    python: str
    launcher: str
    programs: str


class Runtimes:
    """Finds and builds them, each once; brings the workflow's sources along."""

    def __init__(self, mover: Mover, staging: Staging, log: Log) -> None:
        self._mover = mover
        self._staging = staging
        self._log = log
        self._files = Here(CONTROLLER, Path("/"))
        self._modules: frozenset[str] = frozenset()
        self._bundle: asyncio.Task[Bundle] | None = None
        self._found: dict[str, asyncio.Task[probe.Interpreter]] = {}
        self._ready: dict[tuple[str, str], asyncio.Task[Runtime]] = {}
        self._brought: dict[tuple[str, tuple[str, ...]], asyncio.Task[int]] = {}

    def require(self, modules: Iterable[str]) -> None:
        """Note modules that the workflow's sources import: the packages that provide them here are sent along."""
        if self._bundle is None:
            self._modules |= frozenset(modules)

    async def usable(self, targets: Iterable[Target], sites: Iterable[Site]) -> tuple[Target, ...]:
        """Return those of the targets that have a location with a usable Python.

        Raises:
            DeployError: none has; says which Pythons there are.
        """
        usable, problems, passing = list[Target](), list[str](), False
        for target in targets:
            for site in sites:
                if site.location.deployment == target.deployment:
                    try:
                        await self._interpreter(site)
                    except (DeployError, Unreachable) as error:
                        problems.append(str(error))
                        passing |= error.transient
                    else:
                        usable.append(target)
                        break
        if not usable:
            reasons = "\n".join(problems)
            raise DeployError(reasons or "no location is up that could run it", transient=passing or not problems)
        return tuple(usable)

    async def bring_sources(self, site: Site, sources: tuple[str, ...]) -> int:
        """Bring the workflow's sources to a location, once for each filesystem; return the bytes that moved now.

        Raises:
            TransferError, Unreachable: as the names say.
        """
        key = (site.location.filesystem, sources)
        first = key not in self._brought
        there = [path for path in sources if os.path.exists(path)]
        sent = await _once(self._brought, key, lambda: self._staging.stage_in(site, there))
        return sent if first else 0

    async def ready(self, site: Site) -> Runtime:
        """Return the runtime of a location; it is built there first, when it has to be.

        Raises:
            DeployError: as `check`; or it cannot be built.
            TransferError, Unreachable: as the names say.
        """
        one = await self._interpreter(site)
        return await _once(self._ready, (site.location.filesystem, one.asked), lambda: self._prepare(site, one))

    async def close(self, sites: Iterable[Site]) -> None:
        """End the warm processes. Those at locations that do not answer end by themselves, a minute later."""
        names = {location for location, found in self._found.items() if found.done()}
        await asyncio.gather(*(self._cool(site) for site in sites if site.location.name in names))

    def forget(self, site: Site) -> None:
        """Forget a location that is given up: what comes up under its name may be new."""
        filesystem = site.location.filesystem
        self._found.pop(site.location.name, None)
        self._ready = {key: task for key, task in self._ready.items() if key[0] != filesystem}
        self._brought = {key: task for key, task in self._brought.items() if key[0] != filesystem}

    async def _cool(self, site: Site) -> None:
        with suppress(SiteError, TimeoutError):
            async with asyncio.timeout(2):
                await site.shells.ask(
                    f'for f in {_FOLDER}/launch-*/warm-*.pid; do read -r p <"$f" || continue\n'
                    'grep -qa warm.py "/proc/$p/cmdline" && kill "$p"; rm -f "$f"; done 2>/dev/null; true'
                )

    async def _interpreter(self, site: Site) -> probe.Interpreter:
        return await _once(self._found, site.location.name, lambda: self._find(site))

    async def _find(self, site: Site) -> probe.Interpreter:
        wanted = getattr(site.connector.options, "python", None)
        if wanted is None and isinstance(site.connector, LocalConnector):
            wanted = sys.executable
        answer = await site.shells.ask(probe.script(wanted))
        found = probe.parse(answer.text)
        if wanted is not None:
            if not found:
                said = (await site.shells.ask(f"{quote(wanted)} --version")).text.strip()
                raise DeployError(
                    f"{site.location.name}: {wanted} is no Python that can be run there ({said})"
                    "; name another one (`python`), or leave it out"
                )
            if found[0].snakemake:
                self._compare(site, found[0])
                return found[0]
        chosen = probe.choose(found, (await self._packed()).glibc, probe.broken(answer.text))
        if isinstance(chosen, str):
            raise DeployError(
                f"{site.location.name}: {chosen}. Install one, or name a Python that has Snakemake (`python`)."
            )
        return chosen

    def _compare(self, site: Site, one: probe.Interpreter) -> None:
        from importlib.metadata import version

        if one.snakemake != version("snakemake"):
            self._log.warning(
                f"{site.location.name}: {one.asked} has Snakemake {one.snakemake}; "
                f"the controller has {version('snakemake')}"
            )

    async def _packed(self) -> Bundle:
        if self._bundle is None:
            modules = sorted(self._modules)
            self._bundle = asyncio.create_task(asyncio.to_thread(bundle, modules, _cache()))
        return await asyncio.shield(self._bundle)

    async def _prepare(self, site: Site, one: probe.Interpreter) -> Runtime:
        launcher = await self._send_launcher(site)
        wanted = getattr(site.connector.options, "python", None)
        if one.snakemake and (wanted or isinstance(site.connector, LocalConnector)):
            programs = str(Path(one.asked).parent) if wanted else ""
            return Runtime(one.asked, launcher, programs)
        python = await self._build(site, one)
        return Runtime(python, launcher, str(Path(python).parent))

    async def _build(self, site: Site, one: probe.Interpreter) -> str:
        """Have the location's Python build an environment of the bundle, unless it is there."""
        packed = await self._packed()
        mark = hashlib.sha1(one.path.encode(), usedforsecurity=False).hexdigest()[:8]
        place = f"{site.facts.workdir}/{_FOLDER}/{packed.digest}-{mark}"
        python = f"{place}/bin/python"
        if not (await site.shells.ask(f"[ -x {quote(python)} ]")).code:
            return python
        self._log.info(f"{site.location.name}: building a Python environment with the controller's Snakemake")
        script = await self._send(site, _HERE / "build.py", f"{place}.py")
        archive = await self._send(site, packed.path, f"{place}.tar.gz")
        files = words([script, archive])
        done = await site.shells.ask(
            f"{quote(one.path)} {quote(script)} {words([place, archive])}; c=$?; rm -f {files}; exit $c"
        )
        if done.code:
            raise DeployError(
                f"{site.location.name}: Snakemake could not be installed there:\n{quote_tail(done.output)}"
            )
        return python

    async def _send_launcher(self, site: Site) -> str:
        """Put the launcher and what it starts into a folder of their own; one for each version of them."""
        files = [_HERE / "launch.py", _HERE / "warm.py"]
        content = b"".join([file.read_bytes() for file in files])
        folder = f"{_FOLDER}/launch-{hashlib.sha1(content, usedforsecurity=False).hexdigest()[:8]}"
        launcher, _ = [await self._send(site, file, f"{folder}/{file.name}") for file in files]
        return launcher

    async def _send(self, site: Site, file: Path, name: str) -> str:
        """Put a file of the controller below the location's working directory, and return its path there."""
        info = file.stat()
        found = (await site.store.stat([name]))[0]
        if found.size_b != info.st_size:
            entry = Entry("", "f", info.st_size, info.st_mtime_ns, 0o644)
            await self._mover.move(self._files, site.store, [Item(str(file), name, (entry,))])
        return name if name.startswith("/") else f"{site.facts.workdir}/{name}"


def _cache() -> Path:
    """Where the archive is kept for later runs of any workflow."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snakemake-streamflow"


async def _once(tasks: dict[K, asyncio.Task[V]], key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
    """Do some work once for a key; who comes meanwhile waits for it. What failed may be tried again."""
    task = tasks.get(key)
    if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
        task = tasks[key] = asyncio.create_task(work())
    return await asyncio.shield(task)

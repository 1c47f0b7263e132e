"""The two kinds of files: those of the workflow, which float, and those at addresses."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_storage_plugins.io import WILDCARD_REGEX, get_constant_prefix

from snakemake_executor_plugin_streamflow.engine import Engine
from snakemake_executor_plugin_streamflow.model import Address
from snakemake_executor_plugin_streamflow.move.listing import STAMP
from snakemake_executor_plugin_streamflow.place import Look as SiteLook
from snakemake_executor_plugin_streamflow.place import Place, insist

from .address import PLAIN, plain_path, why_no_address
from .known import known

if TYPE_CHECKING:
    from .provider import StorageProvider


class Look(Protocol):
    """What Snakemake asks of a file that is there."""

    @property
    def mtime(self) -> float: ...
    @property
    def size_b(self) -> int: ...


class Kind(ABC):
    """What can be asked of a file. All but `known` run on the engine's loop; their errors are the engine's."""

    path: str
    """The name by which the engine knows it."""

    @abstractmethod
    def known(self) -> Look | Coroutine[Any, Any, Look | None] | None:
        """Tell what is there, at once or, when somebody has to be asked, by a coroutine; None: nothing."""

    @abstractmethod
    async def footprint(self) -> int:
        """Bytes of a file, or of all files in a directory."""

    @abstractmethod
    async def retrieve(self, target: Path) -> None:
        """Make it appear here, complete, with its time."""

    @abstractmethod
    async def store(self, source: Path) -> None:
        """Make what is here the present version; it stays here, too."""

    @abstractmethod
    async def remove(self) -> None:
        """Remove it everywhere; what is missing is no error."""

    @abstractmethod
    async def touch(self) -> None:
        """Give it the present time."""

    @abstractmethod
    async def candidates(self, query: str) -> list[str]:
        """List all queries below the part of a query that has no wildcards."""


def kind_of(query: str, provider: StorageProvider) -> Kind:
    """Return what a query means.

    Raises:
        WorkflowError: no such deployment, or files do not last there.
    """
    engine = provider.engine
    if (path := plain_path(query)) is not None:
        return Floating(engine, engine.files.canonical(path))
    if (reason := why_no_address(query)) is not None:
        raise WorkflowError(f"{query}: {reason}")
    return Addressed(engine, Address.parse(query))


class Floating(Kind):
    """A file of the workflow."""

    def __init__(self, engine: Engine, path: str) -> None:
        self._engine = engine
        self.path = path

    def known(self) -> Look | None:
        return self._engine.files.state(self.path)

    async def footprint(self) -> int:
        return await self._engine.errands.footprint(self.path)

    async def retrieve(self, target: Path) -> None:
        await self._engine.errands.fetch(self.path, target)

    async def store(self, source: Path) -> None:
        await self._engine.errands.store(source, self.path)

    async def remove(self) -> None:
        await self._engine.errands.remove(self.path)

    async def touch(self) -> None:
        await self._engine.errands.touch(self.path)

    async def candidates(self, query: str) -> list[str]:
        top = get_constant_prefix(self.path, strip_incomplete_parts=True).rstrip("/") or "."
        return [f"{PLAIN}{path}" for path in self._engine.files.below(top)]


class Addressed(Kind):
    """A file at the first location of a deployment."""

    def __init__(self, engine: Engine, address: Address) -> None:
        self._engine = engine
        self._address = address
        self.path = str(address)

    async def _place(self) -> Place:
        known(self._engine.companion, self._address)
        return await self._engine.locator.place(self._address.holder)

    async def known(self) -> Look | None:
        look = await (await self._place()).look(self._address.path)
        return look if look.exists else None

    async def _there(self) -> SiteLook:
        look = await (await self._place()).look(self._address.path)
        if not look.exists:
            raise WorkflowError(f"{self.path}: there is no such file")
        return look

    async def footprint(self) -> int:
        look = await self._there()
        if look.kind != "directory":
            return look.size_b
        site, path = (await self._place()).site, self._address.path
        return sum(item.size_b for item in await site.store.list({path: path}))

    async def retrieve(self, target: Path) -> None:
        place, look = await self._place(), await self._there()

        async def copy() -> None:
            items = await place.site.store.list({self._address.path: str(target)})
            await self._engine.mover.move(place.site.store, self._engine.files.home, items)

        await insist(copy)
        for path in (target / STAMP, target) if look.kind == "directory" else (target,):
            with contextlib.suppress(OSError):  # at sites, times of lists are whole seconds
                os.utime(path, ns=(look.mtime_ns, look.mtime_ns))

    async def store(self, source: Path) -> None:
        place, engine = await self._place(), self._engine
        await insist(lambda: place.receive(engine.files.home, str(source), self._address.path, engine.mover))

    async def remove(self) -> None:
        await (await self._place()).remove(self._address.path)
        self._engine.ledger.drop_path(self.path)

    async def touch(self) -> None:
        await (await self._place()).touch(self._address.path)

    async def candidates(self, query: str) -> list[str]:
        if WILDCARD_REGEX.search(self._address.holder):
            raise WorkflowError(f"{query}: glob_wildcards() needs the name of the deployment, not a wildcard")
        top = get_constant_prefix(self._address.path, strip_incomplete_parts=True).rstrip("/") or "/"
        paths = await (await self._place()).below(top)
        return [str(Address(self._address.holder, path)) for path in paths]

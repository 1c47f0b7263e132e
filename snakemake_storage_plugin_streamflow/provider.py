"""Snakemake's questions about a file in, answers from its site out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_storage_plugins.common import Operation
from snakemake_interface_storage_plugins.io import IOCacheStorageInterface, Mtime
from snakemake_interface_storage_plugins.storage_object import (
    StorageObjectGlob,
    StorageObjectRead,
    StorageObjectTouch,
    StorageObjectWrite,
)
from snakemake_interface_storage_plugins.storage_provider import (
    ExampleQuery,
    QueryType,
    StorageProviderBase,
    StorageQueryValidationResult,
)

from .address import SCHEME, Address, parse, why_invalid

if TYPE_CHECKING:
    from .reach import Look, Reach

T = TypeVar("T")


class StorageProvider(StorageProviderBase):
    """Files at the deployments of a companion file."""

    def __post_init__(self) -> None:
        if self.is_default:
            raise WorkflowError(
                "streamflow cannot be the default storage provider in this version: "
                f'only addressed files are supported, storage("{SCHEME}DEPLOYMENT/absolute/path")'
            )

    @property
    def reach(self) -> Reach:
        """The way to the sites, shared by all objects; opened on first use."""
        from .reach import reach

        return reach(getattr(self.settings, "file", None), self.logger)

    @classmethod
    def example_queries(cls) -> list[ExampleQuery]:
        return [
            ExampleQuery(
                query=f"{SCHEME}cluster/data/reads/{{sample}}.fastq.gz",
                description="A file below /data/reads at the first location of the deployment `cluster`",
                type=QueryType.ANY,
            )
        ]

    @classmethod
    def is_valid_query(cls, query: str) -> StorageQueryValidationResult:
        reason = why_invalid(str(query))
        return StorageQueryValidationResult(query=query, valid=reason is None, reason=reason)

    def use_rate_limiter(self) -> bool:
        return False

    def rate_limiter_key(self, query: str, operation: Operation) -> str:
        return parse(query).deployment

    def default_max_requests_per_second(self) -> float:
        return 100.0

    def safe_print(self, query: str) -> str:
        return query  # an address holds no credentials


class StorageObject(StorageObjectRead, StorageObjectWrite, StorageObjectGlob, StorageObjectTouch):
    """One file or directory at a site.

    The synchronous methods block; Snakemake calls the `managed_` ones, which let others go on meanwhile.
    """

    @property
    def _reach(self) -> Reach:
        provider: StorageProvider = self.provider
        return provider.reach

    @property
    def address(self) -> Address:
        """Where it is."""
        return parse(str(self.query))

    def local_suffix(self) -> str:
        return str(self.query).removeprefix(SCHEME)

    def cleanup(self) -> None:
        """Do nothing: Snakemake itself removes the local copy."""

    def get_inventory_parent(self) -> str | None:
        return str(self.cache_key(self.local_suffix().rpartition("/")[0]))

    async def inventory(self, cache: IOCacheStorageInterface) -> None:
        key = self.cache_key()
        if key in cache.exists_in_storage:
            return
        look: Look = await self._told("check", self._look())
        cache.exists_in_storage[key] = look.exists
        if look.exists:
            cache.mtime[key] = Mtime(storage=look.mtime)
            cache.size[key] = look.size_b

    def exists(self) -> bool:
        return self._wait(self._look()).exists

    def mtime(self) -> float:
        return self._wait(self._look(must=True)).mtime

    def size(self) -> int:
        return self._wait(self._look(must=True)).size_b

    def local_footprint(self) -> int:
        return self._wait(self._footprint())

    def retrieve_object(self) -> None:
        self._wait(self._retrieve())

    def store_object(self) -> None:
        self._wait(self._store())

    def remove(self) -> None:
        self._wait(self._reach.remove(self.address))

    def touch(self) -> None:
        self._wait(self._reach.touch(self.address))

    def list_candidate_matches(self) -> Iterable[str]:
        return self._wait(self._reach.candidates(str(self.query)))

    async def managed_exists(self) -> bool:
        return (await self._told("check", self._look())).exists

    async def managed_mtime(self) -> float:
        return (await self._told("get the mtime of", self._look(must=True))).mtime

    async def managed_size(self) -> int:
        return (await self._told("get the size of", self._look(must=True))).size_b

    async def managed_local_footprint(self) -> int:
        return await self._told("get the size of", self._footprint())

    async def managed_retrieve(self) -> None:
        await self.wait_for_free_space()
        await self._told("retrieve", self._retrieve())

    async def managed_store(self) -> None:
        await self._told("store", self._store())

    async def managed_remove(self) -> None:
        await self._told("remove", self._reach.remove(self.address))

    async def managed_touch(self) -> None:
        await self._told("touch", self._reach.touch(self.address))

    def _look(self, *, must: bool = False) -> Coroutine[Any, Any, Look]:
        return self._reach.look(self.address, must=must)

    def _footprint(self) -> Coroutine[Any, Any, int]:
        return self._reach.footprint(self.address)

    def _retrieve(self) -> Coroutine[Any, Any, None]:
        return self._reach.retrieve(self.address, Path(self.local_path()).absolute())

    def _store(self) -> Coroutine[Any, Any, None]:
        return self._reach.store(Path(self.local_path()).absolute(), self.address)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the loop of the sites and wait for it."""
        return self._reach.wait(work)

    async def _told(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the loop of the sites; the loop of the caller goes on meanwhile."""
        try:
            return await asyncio.wrap_future(self._reach.start(work))
        except WorkflowError:
            raise
        except Exception as error:
            raise WorkflowError(f"cannot {what} {self.print_query}: {error}") from error

"""Snakemake's questions about a file in, the engine's answers out."""

from __future__ import annotations

import asyncio
import atexit
import sys
from collections.abc import Coroutine, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from snakemake_interface_common.exceptions import ApiError, WorkflowError
from snakemake_interface_storage_plugins.common import Operation
from snakemake_interface_storage_plugins.exceptions import FileOrDirectoryNotFoundError
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

from .address import PLAIN, SCHEME, Names, local_suffix, of_plain_path, plain_path, why_invalid
from .copies import copies, discard, modified

if TYPE_CHECKING:
    from snakemake_executor_plugin_streamflow.engine import Engine
    from snakemake_executor_plugin_streamflow.listed import Listed

    from .kinds import Kind, Look

T = TypeVar("T")
_UNSAID: Any = object()
_REFUSED = {"--archive", "--generate-unit-tests"}
"""What reads local copies of files without asking for them: nobody tells a storage provider of these options."""
_OPENED_B = 8 << 20
"""Larger files are not meant to be read by input functions."""


class StorageProvider(StorageProviderBase):
    """Files of the workflow, wherever they were made, and files at the deployments of a companion file."""

    cache: IOCacheStorageInterface | None = None
    """What Snakemake believes while it builds the DAG."""
    _engine: Engine | None = None

    def __post_init__(self) -> None:
        self._copies: set[Path] = set()
        self._names: dict[str, Names] = {}
        if self.is_default and (refused := _REFUSED.intersection(word.partition("=")[0] for word in sys.argv)):
            raise ApiError(
                f"{refused.pop()} reads files in the working directory; with `--default-storage-provider streamflow` "
                "they stay where they are made. Leave out that option, and have `snakemake-streamflow data get` "
                "bring what is missing."
            )
        if self.is_default:
            from .snakefile import adapt

            adapt(self)

    def names(self, query: str) -> Names:
        """Return what the file of a query is called here; the same for all objects of that query."""
        names = self._names.get(query)
        if names is None:
            names = self._names[query] = Names(self.local_prefix, str(query))
        return names

    def object(self, query: str, keep_local: Any = _UNSAID, retrieve: Any = _UNSAID, static: bool = False) -> Any:
        # For a path of the workflow Snakemake gives neither option; for `storage(...)` always both.
        if keep_local is retrieve is _UNSAID and self.is_default:
            query = of_plain_path(query)
        said = {"keep_local": keep_local, "retrieve": retrieve}
        return super().object(query, static=static, **{k: v for k, v in said.items() if v is not _UNSAID})

    def copied(self, path: Path) -> None:
        """Note a local copy that is to be gone when this process ends; Snakemake itself removes most of them."""
        if not self._copies:
            atexit.register(self._remove_copies)
        self._copies.add(path)

    def _remove_copies(self) -> None:
        for path in self._copies:
            discard(path)

    @property
    def engine(self) -> Engine:
        """What knows where files are; made on first use, and shared by all objects and the executor."""
        if self._engine is None or self._engine.stopped:
            from .engine import engine

            self._engine = engine(getattr(self.settings, "file", None), self.logger)
            self._engine.files.copies = Path(self.local_prefix).absolute()
        return self._engine

    @cached_property
    def listed(self) -> Listed:
        """Directories that input functions may list."""
        return self.engine.files.listed

    @classmethod
    def example_queries(cls) -> list[ExampleQuery]:
        return [
            ExampleQuery(
                query=f"{SCHEME}cluster/data/reads/{{sample}}.fastq.gz",
                description="A file below /data/reads at the first location of the deployment `cluster`",
                type=QueryType.ANY,
            ),
            ExampleQuery(
                query=f"{SCHEME}lab-nas/reads/{{sample}}.fastq.gz",
                description="The same on the filesystem `lab-nas`, which several deployments may share",
                type=QueryType.ANY,
            ),
        ]

    @classmethod
    def is_valid_query(cls, query: str) -> StorageQueryValidationResult:
        reason = why_invalid(str(query))
        return StorageQueryValidationResult(query=query, valid=reason is None, reason=reason)

    def use_rate_limiter(self) -> bool:
        return False

    def rate_limiter_key(self, query: str, operation: Operation) -> str:
        return query.removeprefix(SCHEME).partition("/")[0]

    def default_max_requests_per_second(self) -> float:
        return 100.0

    def safe_print(self, query: str) -> str:
        return query.replace(PLAIN, SCHEME, 1)  # it holds no credentials


class StorageObject(StorageObjectRead, StorageObjectWrite, StorageObjectGlob, StorageObjectTouch):
    """One file or directory.

    The synchronous methods block; Snakemake calls the `managed_` ones, which let others go on meanwhile.
    """

    _kind: Kind | None = None
    _names: Names | None = None

    @property
    def kind(self) -> Kind:
        """What answers: a file of the workflow, or one at an address."""
        if self._kind is None:
            from .kinds import kind_of

            self._kind = kind_of(str(self.query), self.provider)
        return self._kind

    @property
    def engine_path(self) -> str:
        """The name by which the engine knows it."""
        return self.kind.path

    @property
    def keep_local(self) -> bool:
        """Whether the local copy outlives the run."""
        return self._keep_local or self._is_listed or self._is_part

    @keep_local.setter
    def keep_local(self, keep: bool) -> None:
        self._keep_local = keep

    def retrieve_listed(self) -> None:
        """Retrieve what a checkpoint has made: input functions list it, or open it, in later runs, too."""
        if self.size() > _OPENED_B:
            return
        self.provider.listed.add(self.kind.path)
        self.retrieve_object()

    def local_suffix(self) -> str:
        return local_suffix(str(self.query))

    @property
    def names(self) -> Names:
        """What it is called here. Snakemake may change the query of a copy of this object."""
        names = self._names
        if names is None or names.query != self.query:
            names = self._names = self.provider.names(self.query)
        return names

    def local_path(self) -> Path:
        return Path(self._overwrite_local_path) if self._overwrite_local_path is not None else self.names.path

    def cache_key(self, local_suffix: str | None = None) -> str:
        return str(self.local_path()) if local_suffix is None else super().cache_key(local_suffix)

    def cleanup(self) -> None:
        """Do nothing: Snakemake itself removes the local copy."""

    def get_inventory_parent(self) -> str:
        return self.names.folder

    async def inventory(self, cache: IOCacheStorageInterface) -> None:
        self.provider.cache = cache
        key = self.cache_key()
        if key in cache.exists_in_storage:
            return
        if plain_path(self.query) is not None:
            await self._look_around(cache)
            return
        look = await self._look()
        cache.exists_in_storage[key] = look is not None
        if look is not None:
            cache.mtime[key] = Mtime(storage=look.mtime)
            cache.size[key] = look.size_b

    async def _look_around(self, cache: IOCacheStorageInterface) -> None:
        """Tell what there is in the folder of a file of the workflow."""
        parent, folder = self.get_inventory_parent(), self.kind.path.rpartition("/")[0]
        if parent in cache.exists_in_storage.has_inventory:
            return
        files = self.provider.engine.files
        for name, look in files.names(folder).items():
            cache.exists_in_storage[f"{parent}/{name}"] = True
            cache.mtime[f"{parent}/{name}"] = Mtime(storage=look.mtime)
        cache.exists_in_storage.has_inventory.add(parent)
        query = str(self.query).rpartition("/")[0]
        for name in await asyncio.to_thread(copies, Path(parent)):
            one = self.provider.object(f"{query}/{name}")
            if one._is_part:
                continue  # its copy stays, to be listed; its time is not that of the file
            look = one.kind.known()
            if look is not None and (modified(one.local_path()) or look.mtime) < look.mtime:
                discard(one.local_path())  # left by a run that was killed: its time would count as that of the file
            else:
                cache.exists_local[f"{parent}/{name}"] = True
        cache.exists_local.has_inventory.add(parent)
        for path in sorted(self.provider.listed.paths):
            if path.rpartition("/")[0] == folder:
                await self.provider.object(f"{query}/{path.rpartition('/')[2]}").managed_exists()

    def exists(self) -> bool:
        return self._seen() is not None

    def mtime(self) -> float:
        return self._must(self._seen()).mtime

    def size(self) -> int:
        return self._must(self._seen()).size_b

    def local_footprint(self) -> int:
        return self._wait(self.kind.footprint())

    def retrieve_object(self) -> None:
        self._wait(self._retrieve())

    def store_object(self) -> None:
        self._wait(self._store())

    def remove(self) -> None:
        self._wait(self._remove())

    def touch(self) -> None:
        self._wait(self.kind.touch())

    def list_candidate_matches(self) -> Iterable[str]:
        return self._wait(self.kind.candidates(str(self.query)))

    async def managed_exists(self) -> bool:
        cache: Any = self.provider.cache
        if cache is not None and cache.active and plain_path(self.query) is not None:
            await self._look_around(cache)  # for files that no rule makes, Snakemake does not ask for that
        return await self._look() is not None

    async def managed_mtime(self) -> float:
        return self._must(await self._look()).mtime

    async def managed_size(self) -> int:
        return self._must(await self._look()).size_b

    async def managed_local_footprint(self) -> int:
        return await self._told("get the size of", self.kind.footprint())

    async def managed_retrieve(self) -> None:
        await self.wait_for_free_space()
        await self._told("retrieve", self._retrieve())

    async def managed_store(self) -> None:
        await self._told("store", self._store())

    async def managed_remove(self) -> None:
        await self._told("remove", self._remove())

    async def managed_touch(self) -> None:
        await self._told("touch", self.kind.touch())

    def _local(self) -> Path:
        return Path(self.local_path()).absolute()

    def _retrieve(self) -> Coroutine[Any, Any, None]:
        return self.kind.retrieve(self._copy())

    def _remove(self) -> Coroutine[Any, Any, None]:
        if self._is_listed:
            discard(self._local())
        return self.kind.remove()

    def _store(self) -> Coroutine[Any, Any, None]:
        local = self._copy()
        if local.is_dir() and plain_path(self.query) is not None:
            self.provider.listed.add(self.kind.path)  # maybe a checkpoint made it; a copy costs nothing
        return self.kind.store(local)

    def _copy(self) -> Path:
        local = self._local()
        if not self.keep_local:
            self.provider.copied(local)
        return local

    def _must(self, look: Look | None) -> Look:
        if look is None:
            raise FileOrDirectoryNotFoundError(self.local_path(), self.print_query)  # Snakemake may ask again later
        return look

    def _seen(self) -> Look | None:
        known = self.kind.known()
        return known if not isinstance(known, Coroutine) else self._wait(known)

    async def _look(self) -> Look | None:
        known = self.kind.known()
        look = known if not isinstance(known, Coroutine) else await self._told("check", known)
        if look is not None and self._is_listed:
            if self.provider.cache is not None:  # else a copy that Snakemake removes counts as write-protected
                self.provider.cache.exists_local[self.cache_key()] = False
            if modified(self._local()) != look.mtime:
                await self._told("retrieve", self._retrieve())
        return look

    @property
    def _is_listed(self) -> bool:
        """Whether input functions may list it, so that there is always a copy here."""
        listed = self.provider.listed.paths
        return bool(listed) and self.kind.path in listed

    @property
    def _is_part(self) -> bool:
        """Whether it is in a directory that is listed: without its copy there, that would list less than was made."""
        return self.provider.engine.files.listed_folder(self.kind.path) is not None

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the engine's loop and wait for it."""
        provider: StorageProvider = self.provider
        try:
            return provider.engine.wait(work)
        except WorkflowError:
            raise
        except Exception as error:
            raise WorkflowError(f"{self.print_query}: {error}") from error

    async def _told(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the engine's loop; the loop of the caller goes on meanwhile."""
        provider: StorageProvider = self.provider
        try:
            return await asyncio.wrap_future(provider.engine.start(work))
        except WorkflowError:
            raise
        except Exception as error:
            raise WorkflowError(f"cannot {what} {self.print_query}: {error}") from error

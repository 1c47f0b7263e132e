"""The interface's own tests, and what they leave out, for addresses at deployments and for floating files."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_storage_plugins.tests import TestStorageBase

from snakemake_executor_plugin_streamflow.plan import Replica
from snakemake_storage_plugin_streamflow import StorageProvider, StorageProviderSettings
from snakemake_storage_plugin_streamflow.engine import engine

from ..servers.docker import DockerEngine, debian_image, docker_engine  # noqa: F401
from ..servers.ssh import SshHosts, ssh_hosts  # noqa: F401

log = logging.getLogger(__name__)


class _Conformance(TestStorageBase):
    files_only = False
    touch = True

    def get_storage_provider_cls(self) -> type[StorageProvider]:
        return StorageProvider

    def get_storage_provider_settings(self) -> StorageProviderSettings:
        return StorageProviderSettings(file=str(self.companion))

    def get_query(self, tmp_path: Path) -> str:
        return f"streamflow://one{self.top}/some/file.txt"

    def get_query_not_existing(self, tmp_path: Path) -> str:
        return f"streamflow://one{self.top}/{secrets.token_hex(8)}"

    def object(self, tmp_path: Path, path: str) -> Any:
        return self._get_obj(tmp_path, f"streamflow://one{self.top}/{path}")

    @pytest.fixture(autouse=True)
    def _closed(self, tmp_path: Path) -> Iterator[None]:
        self.companion = tmp_path / "companion.yml"
        yield
        if self.companion.exists():
            engine(str(self.companion), log).stop()

    def test_times_travel_exactly(self, tmp_path: Path) -> None:
        one = self.object(tmp_path, "a b/it's.txt")
        local = one.local_path()
        local.parent.mkdir(parents=True)
        local.write_text("x")
        os.utime(local, ns=(1_700_000_000_123_456_789,) * 2)
        was = local.stat().st_mtime
        one.store_object()
        assert one.mtime() == was
        local.unlink()
        one.retrieve_object()
        assert local.stat().st_mtime == was
        assert one.size() == one.local_footprint() == 1
        one.remove()
        assert not one.exists()

    def test_a_directory_replaces_a_directory(self, tmp_path: Path) -> None:
        one = self.object(tmp_path, "d")
        for name in ("old", "new"):
            local = one.local_path()
            local.mkdir(parents=True)
            (local / name).write_text(name)
            (local / "link").symlink_to(name)
            (local / ".snakemake_timestamp").touch()
            was = (local / ".snakemake_timestamp").stat().st_mtime
            one.store_object()
            for child in local.iterdir():
                child.unlink()
            local.rmdir()
        one.retrieve_object()
        assert sorted(child.name for child in local.iterdir()) == [".snakemake_timestamp", "link", "new"]
        assert one.mtime() == was == (local / ".snakemake_timestamp").stat().st_mtime
        assert one.size() == 0
        assert one.local_footprint() == 3
        found = {query.rpartition("/")[2] for query in self.object(tmp_path, "{x}").list_candidate_matches()}
        assert found == {"d", ".snakemake_timestamp", "link", "new"}

    def test_nothing_is_left_beside_a_file_that_could_not_be_stored(self, tmp_path: Path) -> None:
        one = self.object(tmp_path, "file")
        one.local_path().parent.mkdir(parents=True)
        one.local_path().write_text("x")
        one.store_object()
        below = self.object(tmp_path, "file/below")
        below.provider.local_prefix = tmp_path / "other"
        below.local_path().parent.mkdir(parents=True)
        below.local_path().write_text("y")
        with pytest.raises(WorkflowError, match="cannot"):
            below.store_object()
        assert list(self.object(tmp_path, "{x}").list_candidate_matches()) == [one.query]

    def test_many_files_travel_and_are_looked_at_at_the_same_time(self, tmp_path: Path) -> None:
        many = [self.object(tmp_path, f"many/{n}") for n in range(30)]
        for number, one in enumerate(many):
            one.local_path().parent.mkdir(parents=True, exist_ok=True)
            one.local_path().write_text(str(number))

        async def there_and_back() -> list[bool]:
            await asyncio.gather(*(one.managed_store() for one in many))
            for one in many:
                one.local_path().unlink()
            await asyncio.gather(*(one.managed_retrieve() for one in many))
            await asyncio.gather(*(one.managed_remove() for one in many[1:]))
            return await asyncio.gather(*(one.managed_exists() for one in many))

        assert asyncio.run(there_and_back()) == [True] + 29 * [False]
        assert [one.local_path().read_text() for one in many] == [str(n) for n in range(30)]

    def test_what_is_missing_is_told(self, tmp_path: Path) -> None:
        one = self.object(tmp_path, "missing")
        for ask in (one.mtime, one.size, one.retrieve_object):
            with pytest.raises(
                WorkflowError, match=r"streamflow://.*missing.*(there is no such file|not found|nowhere)"
            ):
                ask()
        one.remove()
        assert list(self.object(tmp_path, "none/{x}").list_candidate_matches()) == []


class TestAtALocalSite(_Conformance):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _site(self, tmp_path: Path, _closed: None) -> None:
        self.top = tmp_path / "data"
        self.companion.write_text(
            f"version: v1.0\ndeployments:\n  one: {{type: local, workdir: {tmp_path / 'site'}}}\n"
        )


class TestOverSsh(_Conformance):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _site(self, _closed: None, ssh_hosts: SshHosts) -> None:
        self.top = Path(f"/root/data/{secrets.token_hex(4)}")
        self.companion.write_text(
            "version: v1.0\ndeployments:\n"
            f"  one: {{type: ssh, config: {{nodes: [{ssh_hosts.hosts[0]}], username: root, sshKey: {ssh_hosts.key}, "
            f"knownHosts: {ssh_hosts.known_hosts}, configFile: /dev/null}}}}\n"
        )


class TestInAContainer(_Conformance):
    __test__ = True

    @pytest.fixture(scope="class")
    @classmethod
    def container(cls, docker_engine: DockerEngine, debian_image: str) -> Iterator[tuple[str, str]]:
        """The address of an engine, and a container that somebody else has started."""
        with docker_engine.client() as client:
            box = client.containers.run(debian_image, ["sleep", "3600"], detach=True)
            try:
                yield docker_engine.address, str(box.id)
            finally:
                box.remove(force=True)

    @pytest.fixture(autouse=True)
    def _site(self, _closed: None, container: tuple[str, str]) -> None:
        self.top = Path(f"/data/{secrets.token_hex(4)}")
        address, box = container
        config = f"{{containerId: {box}, dockerHost: '{address}'}}"
        self.companion.write_text(f"version: v1.0\ndeployments:\n  one: {{type: docker, config: {config}}}\n")


class TestFilesOfTheWorkflow(_Conformance):
    """As default storage provider."""

    __test__ = True

    @pytest.fixture(autouse=True)
    def _work(self, tmp_path: Path, _closed: None, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")
        self.companion.write_text("version: v1.0\ndeployments:\n  one: {type: local}\n")

    def get_query(self, tmp_path: Path) -> str:
        return "streamflow://some/file.txt"

    def get_query_not_existing(self, tmp_path: Path) -> str:
        return f"streamflow://{secrets.token_hex(8)}"

    def object(self, tmp_path: Path, path: str) -> Any:
        return self._get_obj(tmp_path, f"streamflow://top/{path}")

    def _get_provider(self, tmp_path: Path) -> StorageProvider:
        return StorageProvider(tmp_path / "local", log, settings=self.get_storage_provider_settings(), is_default=True)


def provider(tmp_path: Path, companion: str) -> StorageProvider:
    """Return a provider over a companion file with this text."""
    file = tmp_path / "companion.yml"
    file.write_text(companion)
    return StorageProvider(tmp_path / "local", log, settings=StorageProviderSettings(file=str(file)))


def test_an_unknown_deployment_is_told_with_the_nearest_name_and_the_place(tmp_path: Path) -> None:
    one = provider(tmp_path, "version: v1.0\n\ndeployments:\n  cluster: {type: local}\n")
    with pytest.raises(WorkflowError, match=r"companion\.yml:3:1: .*'clustre'; did you mean 'cluster'\?"):
        one.object("streamflow://clustre/data/x").exists()
    one.engine.stop()


def test_a_container_that_each_run_makes_anew_has_no_addresses(tmp_path: Path) -> None:
    one = provider(tmp_path, "version: v1.0\ndeployments:\n  box: {type: docker, config: {image: debian}}\n")
    with pytest.raises(WorkflowError, match="nothing lasts there"):
        one.object("streamflow://box/data/x").exists()
    one.engine.stop()


def test_a_site_out_of_reach_is_told_and_not_tried_again_for_each_file(tmp_path: Path) -> None:
    one = provider(
        tmp_path,
        "version: v1.0\ndeployments:\n"
        "  far: {type: ssh, config: {nodes: ['127.0.0.1:1'], username: me, configFile: /dev/null}}\n",
    )
    with pytest.raises(WorkflowError, match=r"127\.0\.0\.1"):
        one.object("streamflow://far/data/x").exists()
    started = time.monotonic()
    with pytest.raises(WorkflowError, match=r"127\.0\.0\.1"):
        one.object("streamflow://far/data/y").exists()
    assert time.monotonic() - started < 0.1
    one.engine.stop()


def test_a_companion_file_that_is_missing_is_told_with_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = StorageProvider(tmp_path / "local", log, settings=StorageProviderSettings())
    with pytest.raises(WorkflowError, match="--storage-streamflow-file"):
        one.object("streamflow://far/data/x").exists()

    def test_the_first_question_while_the_dag_is_built_tells_of_all_in_the_folder(self, tmp_path: Path) -> None:
        from snakemake.io import IOCache

        provider = self._get_provider(tmp_path)
        one, other, missing, made = (provider.object(f"streamflow://top/{name}") for name in ("a", "b", "c", "d"))
        Path("top").mkdir()
        for name in "ab":
            Path("top", name).write_text(name)
        made_ns = 1_700_000_000_500_000_000
        provider.engine.ledger.put(Replica("top/d", "one", "o-1", 1, 1, made_ns=made_ns))
        provider.cache = cache = IOCache(60)
        assert asyncio.run(one.managed_exists())
        known = {name.rpartition("/")[2] for name, there in cache.exists_in_storage.items() if there}
        assert known == {"a", "b", "d"}
        assert {one.get_inventory_parent()} == cache.exists_in_storage.has_inventory == cache.exists_local.has_inventory
        assert (other.cache_key() in cache.exists_in_storage, missing.cache_key() in cache.exists_local) == (
            True,
            False,
        )
        assert cache.mtime[made.cache_key()].storage() == made.mtime() == 1_700_000_000.5
        assert cache.mtime[other.cache_key()].storage() == other.mtime() == Path("top/b").stat().st_mtime

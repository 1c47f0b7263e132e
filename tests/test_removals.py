"""Files that are removed at sites in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.config import read_companion
from snakemake_executor_plugin_streamflow.engine import Engine
from snakemake_executor_plugin_streamflow.errors import TransferError
from snakemake_executor_plugin_streamflow.plan import Replica


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with one site, where three files are."""
    work = tmp_path / "work"
    work.mkdir()
    file = work / "streamflow.yml"
    file.write_text(f"version: v1.0\ndeployments:\n  one: {{type: local, workdir: {tmp_path / 'one'}}}\n")
    made = Engine(read_companion(file, {}), work, log=logging.getLogger(__name__))
    made.launch()
    site = made.wait(made.sites.first("one"))
    for name in "abc":
        (tmp_path / "one" / name).write_text(name)
        made.ledger.put(Replica(name, site.location.filesystem, "v", 1, 1))
    yield made
    made.stop()


def test_files_are_gone_when_all_is_settled(tmp_path: Path, engine: Engine) -> None:
    for name in "ab":
        engine.wait(engine.errands.remove(name))
    engine.wait(engine.removals.settled())
    assert {path.name for path in (tmp_path / "one").glob("[abc]")} == {"c"}


def test_what_is_about_to_be_made_anew_is_spared(tmp_path: Path, engine: Engine) -> None:
    async def remove_and_make() -> None:
        (replica,) = engine.ledger.replicas("a")
        await engine.errands.remove("a")
        await engine.errands.remove("b")
        await engine.removals.spare(["a"], replica.filesystem)
        (tmp_path / "one" / "a").write_text("new")

    engine.wait(remove_and_make())
    engine.wait(engine.removals.settled())
    assert {path.name for path in (tmp_path / "one").glob("[abc]")} == {"a", "c"}


def test_a_removal_that_fails_is_not_tried_for_ever(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: str) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(engine.sites, "on", fail)
    engine.wait(engine.errands.remove("a"))
    engine.wait(engine.removals.settled(), 5)


def test_what_cannot_be_removed_is_told(tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    site = engine.wait(engine.sites.first("one"))
    with pytest.raises(TransferError, match=r"one: not all could be removed:\n.*/proc/self/stat"):
        engine.wait(site.shells.remove(["/proc/self/stat", "a"]))
    assert not (tmp_path / "one" / "a").exists()


def test_who_makes_a_file_anew_waits_for_a_removal_that_has_begun(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = engine.wait(engine.sites.first("one"))
    removed: list[list[str]] = []
    remove = site.store.remove

    async def slowly(paths: Sequence[str]) -> None:
        await asyncio.sleep(0.05)
        await remove(paths)

    monkeypatch.setattr(site.store, "remove", slowly)

    async def remove_and_make() -> None:
        await engine.errands.remove("a")
        while site.location.filesystem not in engine.removals._going:
            await asyncio.sleep(0)
        await engine.removals.spare(["a"], site.location.filesystem)
        removed.append([path.name for path in (tmp_path / "one").glob("a")])

    engine.wait(remove_and_make())
    assert removed == [[]]

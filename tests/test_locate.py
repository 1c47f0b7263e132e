"""Files are copied over connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from snakemake_executor_plugin_streamflow.errors import Unreachable
from snakemake_executor_plugin_streamflow.files import Files
from snakemake_executor_plugin_streamflow.locate import Locator, Side
from snakemake_executor_plugin_streamflow.move.entry import Item
from snakemake_executor_plugin_streamflow.move.here import Here
from snakemake_executor_plugin_streamflow.move.mover import LARGE_B, Mover
from snakemake_executor_plugin_streamflow.plan import Ledger

NAMES = ["a", "b", "c", "d"]


class Breaking(Here):
    """Takes so many large files over one connection, which then breaks."""

    def __init__(self, root: Path, each: int) -> None:
        super().__init__("far", root)
        self.each, self.left, self.tried = each, each, 0

    def copy(self, items: Sequence[Item], source: Here) -> None:
        self.tried += 1
        if not self.left:
            raise Unreachable("far: the connection broke")
        self.left -= 1
        super().copy(items, source)

    async def list(self, paths: Any) -> Any:
        raise AssertionError("files are brought there")


def bring(tmp_path: Path, far: Breaking) -> Ledger:
    """Bring large files there; each time the source lists them, the connection is a new one."""

    class Home(Here):
        async def list(self, paths: Any) -> Any:
            far.left = far.each
            return await super().list(paths)

    async def work() -> None:
        tasks = set[asyncio.Task[None]]()
        mover = Mover(lambda work: tasks.add(asyncio.ensure_future(work)), lambda *_: None)
        locator = Locator(files, mover, cast(Any, ()))
        locator.home = Side(Home("controller", tmp_path / "here"), "controller")
        for name in NAMES:
            await files.note(name)
        await locator.bring(Side(far, "far"), {name: name for name in NAMES})

    (tmp_path / "here").mkdir()
    (tmp_path / "far").mkdir()
    files = Files(tmp_path / "here", Ledger())
    for name in NAMES:
        with (tmp_path / "here" / name).open("wb") as file:
            file.truncate(LARGE_B)
    asyncio.run(work())
    return files.ledger


def test_what_arrived_before_the_connection_broke_is_not_sent_again(tmp_path: Path) -> None:
    far = Breaking(tmp_path / "far", 1)
    ledger = bring(tmp_path, far)
    assert all(ledger.get(name, "far") for name in NAMES)
    assert far.tried == 4 + 3 + 2 + 1


def test_a_connection_over_which_nothing_arrives_is_an_error(tmp_path: Path) -> None:
    far = Breaking(tmp_path / "far", 0)
    with pytest.raises(Unreachable):
        bring(tmp_path, far)
    assert far.tried == 4


def test_a_copy_of_a_file_at_an_address_is_recorded_as_what_it_is(tmp_path: Path) -> None:
    files, address = Files(tmp_path, Ledger()), "streamflow://left/data/x"
    copy = tmp_path / ".snakemake/streamflow/at/left/data/x"
    copy.parent.mkdir(parents=True)
    copy.write_text("ab")
    files.arrived(address, "v", 5_000_000_000)
    replica = files.ledger.get(address, "controller")
    assert replica is not None
    assert (replica.size_b, replica.mtime_ns, copy.stat().st_mtime_ns) == (2, 5_000_000_000, 5_000_000_000)

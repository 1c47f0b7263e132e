"""Copies within this machine, and several targets at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.errors import SiteError, TransferError, Unreachable
from snakemake_executor_plugin_streamflow.move.entry import Entry, Item
from snakemake_executor_plugin_streamflow.move.here import Here
from snakemake_executor_plugin_streamflow.move.mover import Mover, copy, fan_out
from snakemake_executor_plugin_streamflow.move.store import Contents
from snakemake_executor_plugin_streamflow.move.text import SMALL_B
from snakemake_executor_plugin_streamflow.move.there import There
from tests.remote.test_quote import open_shell


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Here, Here, There]:
    (tmp_path / "t/.streamflow/in").mkdir(parents=True)
    for name in "ab":
        (tmp_path / name).mkdir()
    there = There("t", PurePosixPath(tmp_path / "t"), open_shell, 4)
    return Here("a", tmp_path / "a"), Here("b", tmp_path / "b"), there


def test_a_folder_replaces_a_file_and_a_file_a_folder(stores: tuple[Here, Here, There]) -> None:
    a, b, there = stores

    async def check() -> None:
        (a.root / "d").mkdir()
        (a.root / "d/x").write_text("x")
        (a.root / "f").write_text("f")
        for target in (b, there):
            for source in "fdfd":
                await copy(a, await a.list({source: "same"}), target)
            assert (await target.stat(["same/x"]))[0].size_b == 1
        await there.close()

    asyncio.run(check())


def test_one_bad_item_does_not_fail_the_others(stores: tuple[Here, Here, There]) -> None:
    a, _, there = stores

    async def check() -> None:
        for number in range(10):
            (a.root / str(number)).write_text("x" * 100)
        items = await a.list({str(number): str(number) for number in range(10)})
        (a.root / "3").write_text("short")
        async with asyncio.TaskGroup() as group:
            mover = Mover(group.create_task, lambda *_: None)
            with pytest.raises(TransferError):
                await mover.move(a, there, items)
        found = await there.stat([str(number) for number in range(10)])
        assert [one.kind for one in found] == ["file"] * 3 + ["missing"] + ["file"] * 6
        await there.close()

    asyncio.run(check())


class Broken(Here):
    """A target whose disk is full after some pieces."""

    async def receive(self, items: Sequence[Item], contents: Contents) -> None:
        await anext(contents)
        raise TransferError("full")


def test_one_broken_target_does_not_harm_the_others(stores: tuple[Here, Here, There], tmp_path: Path) -> None:
    a, b, there = stores
    content = os.urandom(20 << 20)
    (a.root / "f").write_bytes(content)

    async def check() -> None:
        async with asyncio.timeout(30):
            _, ends = await fan_out(a, await a.list({"f": "g"}), [b, Broken("c", tmp_path), there])
        assert [end is None for end in ends] == [True, False, True]
        await there.close()

    asyncio.run(check())
    assert (b.root / "g").read_bytes() == content
    assert (tmp_path / "t/g").read_bytes() == content


def test_a_source_that_breaks_fails_all_targets(stores: tuple[Here, Here, There]) -> None:
    a, b, there = stores
    (a.root / "f").write_bytes(bytes(9 << 20))

    async def check() -> None:
        items = await a.list({"f": "g"})
        (a.root / "f").write_bytes(bytes(5 << 20))
        async with asyncio.timeout(30):
            _, ends = await fan_out(a, items, [b, there])
        assert all(isinstance(end, TransferError) for end in ends)
        assert [one.kind for one in (await there.stat(["g"]) + await b.stat(["g"]))] == ["missing"] * 2
        await there.close()

    asyncio.run(check())


def test_an_idle_shell_that_died_is_replaced(stores: tuple[Here, Here, There]) -> None:
    _, _, there = stores

    async def check() -> None:
        pid = (await there.ask("echo $PPID; echo $$")).text.split()[1]
        os.kill(int(pid), 9)
        assert (await there.stat(["x"]))[0].kind == "missing"
        await there.close()

    asyncio.run(check())


def test_no_shell_is_unreachable(tmp_path: Path) -> None:
    async def refuse() -> Channel:
        raise Unreachable("nobody there")

    async def check() -> None:
        there = There("t", PurePosixPath(tmp_path), refuse, 1)
        for _ in range(3):
            with pytest.raises(SiteError):
                await there.stat(["x"])

    asyncio.run(check())


class Breaking(Here):
    """Its connection breaks in the middle of the first file."""

    def stream(self, items: Sequence[Item]) -> Contents:
        contents = super().stream(items)

        async def some() -> AsyncIterator[tuple[Entry, bytes]]:
            yield await anext(contents)
            raise Unreachable("the connection broke")

        return Contents(some(), contents.digests)


@pytest.mark.parametrize("names", ["f", "fg"])
def test_a_source_that_breaks_off_in_mid_stream_ends_the_copy_and_leaves_nothing(
    stores: tuple[Here, Here, There], names: str
) -> None:
    a, _, there = stores

    async def check() -> None:
        for name in names:
            (a.root / name).write_bytes(bytes(3 * SMALL_B))
        source = Breaking("a", a.root)
        async with asyncio.timeout(20):
            with pytest.raises(Unreachable, match="the connection broke"):
                await copy(source, await source.list({name: name for name in names}), there)
        assert [one.kind for one in await there.stat(names)] == ["missing"] * len(names)
        assert (await there.ask("ls .streamflow/in")).text == ""
        await there.close()

    asyncio.run(check())


@pytest.mark.parametrize("end", [b"", b"end"])
def test_zeros_take_no_room_here(stores: tuple[Here, Here, There], end: bytes) -> None:
    _, b, there = stores
    file = Path(there.path("image"))
    with file.open("wb") as image:
        image.write(b"begin")
        image.truncate(20 << 20)
        image.seek(0, os.SEEK_END)
        image.write(end)

    async def check() -> None:
        await copy(there, await there.list({"image": "image"}), b)
        await there.close()

    asyncio.run(check())
    assert (b.root / "image").read_bytes() == file.read_bytes()
    assert (b.root / "image").stat().st_blocks * 512 < 1 << 20

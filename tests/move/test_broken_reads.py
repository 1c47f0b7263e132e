"""Large files of a location, read over connections that break."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.connect.local import LocalChannel
from snakemake_executor_plugin_streamflow.errors import TransferError, Unreachable
from snakemake_executor_plugin_streamflow.move.here import Here
from snakemake_executor_plugin_streamflow.move.mover import copy
from snakemake_executor_plugin_streamflow.move.there import There

SIZES_B = (5 << 20, 0, 3 << 20, 7, 4 << 20)


class Breaking(LocalChannel):
    """A channel that breaks when it has brought so much; `then` is called."""

    limit_b = 0
    brought_b = 0

    def then(self) -> None: ...

    async def read(self) -> bytes:
        if self.brought_b > self.limit_b:
            await self.kill()
            self.then()
            raise Unreachable("the connection broke")
        data = await super().read()
        self.brought_b += len(data)
        return data


class Source(There):
    """Files in `a`, behind channels that break."""

    def __init__(self, top: Path, kind: type[Breaking]) -> None:
        super().__init__("a", PurePosixPath(top / "a"), self.shell, 4)
        self.kind = kind
        self.channels: list[Breaking] = []
        for number, size_b in enumerate(SIZES_B):
            file = top / f"a/t/{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(os.urandom(size_b))
        (top / "a/.streamflow/in").mkdir(parents=True)

    async def shell(self) -> Channel:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("sh", stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 20)
        self.channels.append(self.kind(process))
        return self.channels[-1]


def test_what_a_broken_connection_has_brought_is_not_asked_for_again(tmp_path: Path) -> None:
    class Often(Breaking):
        limit_b = 5 << 19

    async def check() -> None:
        source = Source(tmp_path, Often)
        await copy(source, await source.list({"t": "u"}), Here("here", tmp_path))
        assert len(source.channels) > 4
        assert sum(channel.brought_b for channel in source.channels) < sum(SIZES_B) + len(source.channels) * 2**17
        await source.close()

    asyncio.run(check())
    for number in range(len(SIZES_B)):
        assert (tmp_path / f"u/{number}").read_bytes() == (tmp_path / f"a/t/{number}").read_bytes()


def test_a_connection_that_brings_nothing_more_is_an_error(tmp_path: Path) -> None:
    class Once(Breaking):
        limit_b = 5 << 19

        def then(self) -> None:
            type(self).limit_b = 0

    async def check() -> None:
        source = Source(tmp_path, Once)
        items = await source.list({"t": "u"})
        with pytest.raises(Unreachable):
            await copy(source, items, Here("here", tmp_path))
        assert len(source.channels) == 4
        await source.close()

    asyncio.run(check())
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_changes_between_two_connections_is_noticed(tmp_path: Path) -> None:
    class Changing(Breaking):
        limit_b = 5 << 19

        def then(self) -> None:
            (tmp_path / "a/t/0").write_bytes(bytes(SIZES_B[0]))

    async def check() -> None:
        source = Source(tmp_path, Changing)
        with pytest.raises(TransferError, match="arrived differently"):
            await copy(source, await source.list({"t": "u"}), Here("here", tmp_path))
        await source.close()

    asyncio.run(check())
    assert os.listdir(tmp_path) == ["a"]

"""Files of a location where answers get lost, or files vanish, just then."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel, Through
from snakemake_executor_plugin_streamflow.connect.local import LocalConnector
from snakemake_executor_plugin_streamflow.errors import TransferError, Unreachable
from snakemake_executor_plugin_streamflow.model import Deployment, LocalOptions
from snakemake_executor_plugin_streamflow.move.here import Here
from snakemake_executor_plugin_streamflow.move.there import There
from snakemake_executor_plugin_streamflow.place import PUT


class Deaf(Through):
    """A channel that breaks once an order has been obeyed, before anybody hears of it."""

    broken = False

    async def read(self) -> bytes:
        if self.broken:
            raise Unreachable("it broke")
        return await super().read()

    async def write(self, data: bytes | memoryview) -> None:
        await super().write(data)
        if b"chmod" in bytes(data):
            await asyncio.sleep(0.5)
            self.broken = True


async def store(folder: Path, prelude: bytes = b"") -> There:
    """The files of a folder, through shells that begin with something; the first one breaks."""
    opened: list[Channel] = []
    local = LocalConnector(Deployment("here", "local", LocalOptions()), run="r", inner=None, log=logging.getLogger())
    location = (await local.locations(None))[0]

    async def open_shell() -> Channel:
        real = await local.open(location, ["sh"])
        opened.append(real if opened else Deaf(real))
        await opened[-1].write(prelude)
        return opened[-1]

    return There("there", PurePosixPath(folder), open_shell, 4)


def test_a_large_file_whose_arrival_nobody_heard_of_may_be_sent_again(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/big").write_bytes(bytes(5 << 20))

    async def do() -> None:
        here, there = Here("here", tmp_path / "here"), await store(tmp_path)
        await there.ask("true")
        (item,) = await here.list({"big": "big"})
        contents = here.stream([item])
        with pytest.raises(TransferError) as caught:
            await there.receive([item], contents)
        assert caught.value.transient
        await there.close()

    asyncio.run(do())
    assert (tmp_path / "big").stat().st_size == 5 << 20


def test_a_file_that_vanishes_while_it_is_looked_at_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "a").touch()

    async def do() -> None:
        there = await store(tmp_path, b"stat() { echo gone >&2; }\n")
        with pytest.raises(TransferError) as caught:
            await there.stat(["a", "b"])
        assert caught.value.transient
        await there.close()

    asyncio.run(do())


def test_what_is_put_in_place_twice_is_there(tmp_path: Path) -> None:
    for folder in ("new", "old"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / folder).touch()
    for _ in range(2):
        subprocess.run(["sh", "-c", PUT, "sh", "new", "old"], cwd=tmp_path, check=True, timeout=10)
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new"]
    assert subprocess.run(["sh", "-c", PUT, "sh", "no", "nothing"], cwd=tmp_path, check=False).returncode != 0

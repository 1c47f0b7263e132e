"""Many small files of a location: read once as one stream, unpacked and hashed part by part."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.connect.local import LocalChannel
from snakemake_executor_plugin_streamflow.errors import TransferError
from snakemake_executor_plugin_streamflow.move.entry import join
from snakemake_executor_plugin_streamflow.move.gather import worth
from snakemake_executor_plugin_streamflow.move.here import Here
from snakemake_executor_plugin_streamflow.move.mover import copy
from snakemake_executor_plugin_streamflow.move.text import BATCH, SMALL_B
from snakemake_executor_plugin_streamflow.move.there import There

MARK = b"a mark in the content"
ODD = (
    b"-n",
    b"new\nline",
    b"\n==> b <==\n",
    b"per %s cent",
    b"back\\slash \\n",
    b"\xff\xfe",
    "ünï".encode(),
    b"'",
    b"$x",
)


class Flipping(LocalChannel):
    """A channel that changes a byte of each mark that passes."""

    async def read(self) -> bytes:
        return (await super().read()).replace(MARK, MARK.upper())

    async def write(self, data: bytes | memoryview) -> None:
        await super().write(bytes(data).replace(MARK, MARK.upper()))


def opens(path: str, kind: type[LocalChannel] = LocalChannel) -> Callable[[], Awaitable[Channel]]:
    """Return what opens a shell that finds its tools in `path`."""

    async def open_shell() -> Channel:
        pipe, sh = asyncio.subprocess.PIPE, shutil.which("sh", path=path)
        assert sh is not None
        env = {**os.environ, "PATH": path}
        return kind(await asyncio.create_subprocess_exec(sh, stdin=pipe, stdout=pipe, stderr=pipe, env=env))

    return open_shell


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Folders `a`, with many small files of any name in `a/t`, and `b`."""
    for name in "ab":
        (tmp_path / name / ".streamflow/in").mkdir(parents=True)
    for number in range(2 * BATCH + 20):
        file = tmp_path / f"a/t/{number % 7}/{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(MARK + os.urandom(0 if number % 5 else 25_000) + b"\n==> x <==\n" * (number % 3))
    (tmp_path / "a/t/empty").write_bytes(b"")
    for name in ODD:
        (tmp_path / "a/t/0" / os.fsdecode(name.replace(b"/", b""))).write_bytes(name)
    return tmp_path


def tools(top: Path, kind: str) -> str:
    """Make a folder of programs where it is needed, and return PATH."""
    folder = top / "bin"
    folder.mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    if kind == "busybox":
        for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
            (folder / name).symlink_to(busybox)
        return str(folder)
    if kind == "plain tail":
        (folder / "tail").write_text('#!/bin/sh\n[ "$1" != -v ] || { echo "no such option" >&2; exit 1; }\nexit 9\n')
        (folder / "tail").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("kind", ["gnu", "busybox", "plain tail"])
def test_contents_and_digests_are_those_of_the_files(top: Path, kind: str) -> None:
    async def check() -> None:
        path = tools(top, kind)
        a, b = (There(name, PurePosixPath(top / name), opens(path), 4) for name in "ab")
        here = Here("here", top)
        items = await a.list({"t": "u"})
        names = [join("t", entry.name) for entry in items[0].files()]
        assert worth(len(names), items[0].size_b)
        for target in (b, here):
            digests = await copy(a, items, target)
            for name, digest in zip(names, digests, strict=True):
                content = Path(a.path(name)).read_bytes()
                assert hashlib.sha1(content).hexdigest() == digest
                assert Path(target.path("u" + name[1:])).read_bytes() == content
        await a.close()
        await b.close()
        assert os.listdir(top / "b/.streamflow/in") == []

    asyncio.run(check())


@pytest.mark.parametrize("change", ["shift", "shrink", "remove"])
def test_files_that_change_after_they_were_listed_are_noticed(top: Path, change: str) -> None:
    async def check() -> None:
        a, b = (There(name, PurePosixPath(top / name), opens(os.environ["PATH"]), 4) for name in "ab")
        items = await a.list({"t": "u"})
        one, other = top / "a/t/0/0", top / "a/t/5/5"
        if change == "shift":
            one.write_bytes(one.read_bytes() + b"more")
        if change in ("shift", "shrink"):
            other.write_bytes(other.read_bytes()[:-4])
        if change == "remove":
            one.unlink()
        with pytest.raises(TransferError):
            await copy(a, items, b)
        assert (await b.stat(["u"]))[0].kind == "missing"
        await a.close()
        await b.close()

    asyncio.run(check())


@pytest.mark.parametrize("flipping", ["a", "b"])
def test_a_byte_that_changes_on_its_way_is_noticed(top: Path, flipping: str) -> None:
    async def check() -> None:
        kinds = {name: Flipping if name == flipping else LocalChannel for name in "ab"}
        a, b = (There(n, PurePosixPath(top / n), opens(os.environ["PATH"], kinds[n]), 4) for n in "ab")
        with pytest.raises(TransferError, match="could not be read whole" if flipping == "a" else "digests differ"):
            await copy(a, await a.list({"t": "u"}), b)
        assert (await b.stat(["u"]))[0].kind == "missing"
        assert os.listdir(top / "b/.streamflow/in") == []
        await a.close()
        await b.close()

    asyncio.run(check())


def test_a_few_files_or_large_ones_are_no_stream() -> None:
    assert not worth(10, SMALL_B)
    assert not worth(10, 10 << 20)
    assert worth(100, 10 << 20)

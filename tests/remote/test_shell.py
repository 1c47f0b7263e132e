"""Contents through a data shell."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.errors import TransferError, Unreachable
from snakemake_executor_plugin_streamflow.remote.shell import Shell

from .test_quote import open_shell


@pytest.mark.parametrize("missing_b", [1, 2, 10, 18, 19, 20, 21, 22, 23, 24, 30, 63, 64, 65, 100, 128, 200, 1000])
def test_less_than_was_promised_is_an_error_and_never_a_wait(tmp_path: Path, missing_b: int) -> None:
    file = tmp_path / "f"
    file.write_bytes(os.urandom(1000 - missing_b))

    async def check() -> None:
        shell = await Shell.open("here", open_shell)
        async with asyncio.timeout(5):
            with pytest.raises(TransferError):
                async for _ in shell.fetch(f"cat {file}", 1000):
                    pass
        await shell.close()

    asyncio.run(check())


def test_what_follows_the_content_is_kept(tmp_path: Path) -> None:
    content = os.urandom(200_000)
    (tmp_path / "f").write_bytes(content)

    async def check() -> None:
        shell = await Shell.open("here", open_shell)
        for size_b in (0, 1, 63, 64, 65, 200_000):
            pieces = [piece async for piece in shell.fetch(f"head -c {size_b} {tmp_path}/f; echo end; exit 4", size_b)]
            assert b"".join(pieces) == content[:size_b]
            assert (shell.last.code, shell.last.output) == (4, b"end\n")
        await shell.close()

    asyncio.run(check())


@pytest.mark.parametrize("size_b", [0, 1, 100, 1 << 20, 5 << 20])
@pytest.mark.parametrize("script", ["sha1sum", "exit 3", "head -c 50 >/dev/null; false", ")"])
def test_content_is_never_taken_for_commands(tmp_path: Path, size_b: int, script: str) -> None:
    mark = tmp_path / "mark"
    data = (f"touch {mark}\n".encode() * (size_b // 10 + 1))[:size_b]

    async def check() -> None:
        shell = await Shell.open("here", open_shell)
        done = await shell.feed(script, data)
        if script == "sha1sum":
            assert done.text.split()[0] == hashlib.sha1(data).hexdigest()
        else:
            assert done.code != 0
        assert (await shell.ask("echo next")).output == b"next\n"
        await shell.close()

    asyncio.run(check())
    assert not mark.exists()


def test_a_shell_that_ends_says_so() -> None:
    async def check() -> None:
        shell = await Shell.open("here", open_shell)
        with pytest.raises(Unreachable, match="ended"):
            await shell.ask("kill -9 $$")

    asyncio.run(check())

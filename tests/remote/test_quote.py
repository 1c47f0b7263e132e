"""Words and text through real shells."""

from __future__ import annotations

import asyncio
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.connect.local import LocalChannel
from snakemake_executor_plugin_streamflow.remote.quote import decode, encode, exports, quote, words
from snakemake_executor_plugin_streamflow.remote.shell import Shell

SHELLS = (["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"])
BYTES = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b""))
NASTY = st.text(alphabet="'\"\\\\$`!\n\t {}()*?[]~#&;|<>=-%aé🧬\x7f\x01", max_size=40)


def through(shell: list[str], script: str) -> bytes:
    """What a script prints."""
    return subprocess.run([*shell], input=encode(script), stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@settings(max_examples=60, deadline=None)
@given(items=st.lists(st.one_of(BYTES.map(decode), NASTY), min_size=1, max_size=20))
def test_words_reach_a_command_byte_for_byte(shell: list[str], items: list[str]) -> None:
    assert through(shell, f"printf '%s\\0' {words(items)}") == b"".join(encode(item) + b"\0" for item in items)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@settings(max_examples=40, deadline=None)
@given(values=st.lists(NASTY, min_size=1, max_size=5), depth=st.integers(0, 3))
def test_variables_survive_text_within_text(shell: list[str], values: list[str], depth: int) -> None:
    script = exports({f"V{number}": value for number, value in enumerate(values)})
    script += "; ".join(f"""printf '%s\\0' "$V{number}" """ for number in range(len(values)))
    for _ in range(depth):
        script = f"eval {quote(script)}"
    assert through(shell, script) == b"".join(encode(value) + b"\0" for value in values)


@given(data=st.binary())
def test_bytes_survive_as_text(data: bytes) -> None:
    assert encode(decode(data)) == data


def test_a_nul_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


async def open_shell() -> Channel:
    """A shell of this machine."""
    pipe = asyncio.subprocess.PIPE
    return LocalChannel(await asyncio.create_subprocess_exec("sh", stdin=pipe, stdout=pipe, stderr=pipe))


def test_a_shell_answers_on_after_rude_requests() -> None:
    async def check() -> None:
        shell = await Shell.open("here", open_shell)
        for script, code in (("exit 3", 3), ("cd /; set -e; false", 1), ("echo 'open", 2), ("trap 'x' EXIT; )", 2)):
            assert (await shell.ask(script)).code == code
        assert (await shell.ask("cat")).output == b""
        assert (await shell.ask('printf "%s|" "$@"', "a b", "'", "$x", "")).output == b"a b|'|$x||"
        assert (await shell.ask("printf 'a\\0\\377\\n\\n'; printf e >&2")).output == b"a\0\xff\n\ne"
        await shell.close()
        await shell.close()

    asyncio.run(check())

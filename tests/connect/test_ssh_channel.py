"""Processes at real sshds: bytes, codes, quoting, pressure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time

import pytest

from snakemake_executor_plugin_streamflow.conformance.odd import NASTY
from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.connect.ssh_channel import quote
from snakemake_executor_plugin_streamflow.errors import ConfigError, Unreachable
from tests.servers import ssh as servers
from tests.servers.ssh import SshHosts

from .ssh_up import connections, drain, make, result, up

ssh_hosts = servers.ssh_hosts


def test_exit_codes_and_signals_arrive(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            for code in (0, 1, 7, 255):
                assert (await result(connector, where, "sh", "-c", f"exit {code}"))[0] == code
            assert (await result(connector, where, "no-such-command"))[0] == 127
            assert (await result(connector, where, "sh", "-c", "kill -9 $$"))[0] == 137
            assert (await result(connector, where, "sh", "-c", "kill -TERM $$"))[0] == 143
            assert (await result(connector, where, "sh", "-c", "kill -USR1 $$"))[0] == 138

    asyncio.run(body())


def test_stdout_and_stderr_are_separate_and_bytes_are_kept(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            script = r"printf 'a\000\377 \n\n '; printf 'e\000\376 ' >&2"
            assert await result(connector, where, "sh", "-c", script) == (0, b"a\0\xff \n\n ", b"e\0\xfe ")

    asyncio.run(body())


def test_only_the_end_of_stderr_is_kept(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            script = "head -c 3000000 /dev/zero >&2; printf end >&2"
            code, output, errors = await result(connector, where, "sh", "-c", script)
            assert (code, output, len(errors)) == (0, b"", 65536)
            assert errors.endswith(b"\0end")

    asyncio.run(body())


@pytest.mark.parametrize("via_env", [False, True])
def test_arguments_arrive_byte_equal(ssh_hosts: SshHosts, via_env: bool) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            env = {"A": "1"} if via_env else None
            code, output, errors = await result(connector, where, "printf", r"%s\0", *NASTY, env=env)
            assert (code, errors) == (0, b"")
            assert output.split(b"\0")[:-1] == [os.fsencode(text) for text in NASTY]

    asyncio.run(body())


def test_environment_arrives_byte_equal_and_not_in_any_argv(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            env = {f"V{i}": text for i, text in enumerate(NASTY)} | {"PASSWORD": "s3cret-value"}
            argv = ("sh", "-c", "env -0; cat; sleep 1")
            async with await connector.open(where, argv, env) as channel:
                await channel.write(b"input\0\xff\n")
                await channel.close_stdin()
                await asyncio.sleep(0.3)
                seen = ssh_hosts.run(1, "cat /proc/[0-9]*/cmdline").stdout
                output = await drain(channel)
            assert "s3cret-value" not in seen
            assert "sleep" in seen
            assert output.endswith(b"\0input\0\xff\n")
            got = dict(item.split(b"=", 1) for item in output.split(b"\0") if b"=" in item)
            assert {name: got[name.encode()] for name in env} == {n: os.fsencode(v) for n, v in env.items()}

    asyncio.run(body())


def test_a_command_longer_than_one_argument_may_be_runs(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            words = ["y" * 1000] * 700
            code, output, _ = await result(connector, where, "printf", "%s", *words)
            assert (code, len(output)) == (0, 700_000)

    asyncio.run(body())


def test_nul_in_an_argument_and_odd_names_in_the_environment_are_refused(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            with pytest.raises(ConfigError):
                await connector.open(where, ["echo", "a\0b"])
            with pytest.raises(ConfigError, match=r"a\.b"):
                await connector.open(where, ["true"], {"a.b": "1"})

    asyncio.run(body())


def test_quoting_survives_any_posix_shell() -> None:
    for text in NASTY:
        done = subprocess.run(["sh", "-c", b"printf %s " + quote(text)], capture_output=True, check=True)
        assert done.stdout == os.fsencode(text)


def test_what_a_login_shell_prints_is_no_output_of_the_command(ssh_hosts: SshHosts) -> None:
    ssh_hosts.run(2, "cp /root/.bashrc /root/kept 2>/dev/null; echo 'echo welcome; echo to h2' > /root/.bashrc")
    try:

        async def body() -> None:
            async with up(make(ssh_hosts, nodes=[ssh_hosts.hosts[1]])) as (connector, where):
                assert (await result(connector, where, "printf", "x"))[1] == b"x"
                assert (await result(connector, where, "printenv", "A", env={"A": "b"}))[1] == b"b\n"

        asyncio.run(body())
    finally:
        ssh_hosts.run(2, "rm -f /root/.bashrc")


def test_a_login_shell_that_runs_nothing_is_an_error_with_its_words(ssh_hosts: SshHosts) -> None:
    ssh_hosts.run(2, "sed -i 's,^\\(root:.*:\\)[^:]*$,\\1/usr/sbin/nologin,' /etc/passwd")
    try:

        async def body() -> None:
            async with up(make(ssh_hosts, nodes=[ssh_hosts.hosts[1]])) as (connector, where):
                for env in (None, {"A": "b"}):
                    with pytest.raises(Unreachable, match="not available") as caught:
                        await result(connector, where, "echo", env=env)
                    assert not caught.value.transient

        asyncio.run(body())
    finally:
        ssh_hosts.run(2, "sed -i 's,^\\(root:.*:\\)[^:]*$,\\1/bin/bash,' /etc/passwd")


def test_a_login_that_ends_at_once_and_says_nothing_is_an_error_that_says_where_to_look(ssh_hosts: SshHosts) -> None:
    ssh_hosts.run(2, "echo 'exit 3' > /root/.bashrc")
    try:

        async def body() -> None:
            async with up(make(ssh_hosts, nodes=[ssh_hosts.hosts[1]])) as (connector, where):
                with pytest.raises(
                    Unreachable, match=r"said nothing\. Check the user's login shell.*\.bashrc"
                ) as caught:
                    await result(connector, where, "echo")
                assert not caught.value.transient

        asyncio.run(body())
    finally:
        ssh_hosts.run(2, "rm -f /root/.bashrc")


def test_a_login_that_hangs_is_given_up(ssh_hosts: SshHosts) -> None:
    ssh_hosts.run(2, "echo 'exec sleep 60' > /root/.bashrc")
    try:

        async def body() -> None:
            async with up(make(ssh_hosts, nodes=[ssh_hosts.hosts[1]], connect_timeout=2)) as (connector, where):
                for env in (None, {"A": "b"}):
                    with pytest.raises(Unreachable, match=r"did not start the command in 2 s.*\.bashrc"):
                        await result(connector, where, "echo", env=env)

        asyncio.run(body())
    finally:
        ssh_hosts.run(2, "rm -f /root/.bashrc")


def test_output_goes_on_after_the_input_is_closed(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with (
            up(make(ssh_hosts)) as (connector, where),
            await connector.open(where, ["sh", "-c", "cat; sleep 0.2; echo after"]) as channel,
        ):
            await channel.write(memoryview(b"before\n"))
            await channel.close_stdin()
            await channel.close_stdin()
            with pytest.raises(Unreachable):
                await channel.write(b"late")
            assert await drain(channel) == b"before\nafter\n"
            assert await channel.wait() == 0
            assert await channel.read() == b""

    asyncio.run(body())


def test_ten_megabytes_come_whole_and_the_next_command_is_unaffected(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            code, output, _ = await result(connector, where, "sh", "-c", "yes 0123456789abcde | head -c 10000000")
            assert code == 0
            assert output == (b"0123456789abcde\n" * 625_000)
            assert (await result(connector, where, "echo", "next"))[1] == b"next\n"

    asyncio.run(body())


def test_a_slow_reader_holds_the_process_back_and_loses_nothing(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            size = 60_000_000
            script = f"head -c {size} /dev/zero; echo done >&2"
            async with await connector.open(where, ["sh", "-c", script]) as channel:
                await asyncio.sleep(0.5)
                assert channel.errors == b""
                got = 0
                while data := await channel.read():
                    got += len(data)
                    assert vars(channel)["_buffered_b"] < 12 * 1024 * 1024
                    assert sum(len(part) for part, _ in vars(channel)["_chan"]._recv_buf) < 12 * 1024 * 1024
                    if got < 20_000_000:
                        await asyncio.sleep(0.01)
                assert got == size
                assert await channel.wait() == 0

    asyncio.run(body())


def test_a_slow_process_holds_the_writer_back(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with (
            up(make(ssh_hosts)) as (connector, where),
            await connector.open(where, ["sh", "-c", "sleep 0.5; wc -c"]) as channel,
        ):
            sent = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    while True:
                        await channel.write(bytes(65536))
                        sent += 65536
            assert sent < 16 * 1024 * 1024
            await channel.close_stdin()
            # the write that was cut off had handed its block over
            assert int(await drain(channel)) in (sent, sent + 65536)

    asyncio.run(body())


def test_writing_to_a_process_that_ends_fails_and_its_code_arrives(ssh_hosts: SshHosts) -> None:
    async def write_for_ever(channel: Channel) -> None:
        while True:
            await channel.write(bytes(65536))

    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where), asyncio.timeout(4):
            channel = await connector.open(where, ["sh", "-c", "sleep 0.2; echo full >&2; exit 3"])
            with pytest.raises(Unreachable):
                await write_for_ever(channel)
            assert await channel.wait() == 3
            assert await drain(channel) == b""
            assert channel.errors == b"full\n"

    asyncio.run(body())


def test_a_daemon_left_behind_does_not_hide_the_exit_code(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where), asyncio.timeout(3):
            async with await connector.open(where, ["sh", "-c", "sleep 20 & exit 5"]) as channel:
                assert await channel.wait() == 5
            assert (await result(connector, where, "echo", "next"))[1] == b"next\n"
            ssh_hosts.run(1, "pkill -f 'sleep 20'")

    asyncio.run(body())


def test_kill_ends_the_process_tree_at_once_and_raises_nothing(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts, username="worker")) as (connector, where):
            channel = await connector.open(where, ["sh", "-c", "sleep 4321 & sleep 4321"])
            await asyncio.sleep(0.2)
            assert ssh_hosts.run(1, "pgrep -fx 'sleep 4321'").stdout.count("\n") == 2
            start = time.monotonic()
            await channel.kill()
            await channel.kill()
            assert time.monotonic() - start < 0.5
            with pytest.raises(Unreachable):
                await channel.read()
            with pytest.raises(Unreachable):
                await channel.wait()
            with pytest.raises(Unreachable):
                await channel.write(b"x")
            await asyncio.sleep(0.3)
            assert ssh_hosts.run(1, "pgrep -fx 'sleep 4321'").stdout == ""

    asyncio.run(body())


# the pool


def test_a_hundred_at_once_take_their_turns(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):

            async def one(i: int) -> None:
                assert (await result(connector, where, "sh", "-c", f"sleep 0.1; echo {i}"))[1] == b"%d\n" % i

            start = time.monotonic()
            await asyncio.gather(*(one(i) for i in range(100)))
            assert time.monotonic() - start < 5
            assert connections(ssh_hosts, 1) <= 4

    asyncio.run(body())

"""The ssh connector against real sshds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import asyncssh
import pytest

from snakemake_executor_plugin_streamflow.conformance.odd import NASTY
from snakemake_executor_plugin_streamflow.conformance.watch import Watch
from snakemake_executor_plugin_streamflow.connect.base import Channel, Connector
from snakemake_executor_plugin_streamflow.connect.registry import connector_class
from snakemake_executor_plugin_streamflow.connect.ssh import SshConnector
from snakemake_executor_plugin_streamflow.connect.ssh_channel import quote
from snakemake_executor_plugin_streamflow.connect.ssh_login import logins
from snakemake_executor_plugin_streamflow.errors import ConfigError, DeployError, SiteError, Unreachable
from snakemake_executor_plugin_streamflow.model import Deployment, FilesystemSpec, Location, SshHop, SshOptions
from tests.servers import ssh as servers
from tests.servers.ssh import SshHosts

ssh_hosts = servers.ssh_hosts


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def debug(self, message: str) -> None:
        self.lines.append(message)

    def warning(self, message: str) -> None:
        self.lines.append(message)
        self.warnings.append(message)


def make(
    hosts: SshHosts, *, nodes: Sequence[str | SshHop] | None = None, log: Log | None = None, **more: Any
) -> SshConnector:
    given: dict[str, Any] = {
        "nodes": tuple(nodes if nodes is not None else hosts.hosts[: hosts.n - hosts.hidden]),
        "username": "root",
        "ssh_key": str(hosts.key),
        "known_hosts": str(hosts.known_hosts),
        "connect_timeout": 10,
        "retries": 0,
    }
    deployment = Deployment(name="lab", type="ssh", options=SshOptions(**(given | more)))
    return SshConnector(deployment, run="test", inner=None, log=log or Log())


@contextlib.asynccontextmanager
async def up(connector: SshConnector) -> AsyncIterator[tuple[SshConnector, Location]]:
    try:
        await connector.deploy()
        yield connector, (await connector.locations(None))[0]
    finally:
        await connector.undeploy()


async def drain(channel: Channel) -> bytes:
    parts = []
    while data := await channel.read():
        parts.append(data)
    return b"".join(parts)


async def result(
    connector: Connector, where: Location, *argv: str, env: dict[str, str] | None = None
) -> tuple[int, bytes, bytes]:
    async with await connector.open(where, argv, env) as channel:
        await channel.close_stdin()
        output = await drain(channel)
        return await channel.wait(), output, channel.errors


@pytest.fixture(scope="module")
def few_sessions() -> Iterator[SshHosts]:
    with SshHosts(1, options=["MaxSessions=3"]) as hosts:
        yield hosts


# processes


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


def connections(hosts: SshHosts, i: int) -> int:
    return int(hosts.run(i, "ss -Htn state established '( sport = :22 )' | wc -l").stdout)


def test_a_lower_limit_of_sshd_is_learned(few_sessions: SshHosts) -> None:
    async def body() -> None:
        async with up(make(few_sessions, max_connections=2)) as (connector, where):

            async def one(i: int) -> bytes:
                return (await result(connector, where, "sh", "-c", f"echo {i} >> /root/runs; sleep 0.1; echo {i}"))[1]

            start = time.monotonic()
            assert await asyncio.gather(*(one(i) for i in range(40))) == [b"%d\n" % i for i in range(40)]
            assert time.monotonic() - start < 6
            assert len(few_sessions.run(1, "cat /root/runs").stdout.split()) == 40

    asyncio.run(body())


def test_a_process_that_outlives_its_channel_does_not_block_the_host(few_sessions: SshHosts) -> None:
    async def body() -> None:
        async with up(make(few_sessions, max_connections=1, max_concurrent_sessions=3)) as (connector, where):
            for _ in range(3):
                async with await connector.open(where, ["sh", "-c", "trap '' TERM; echo; sleep 3333"]) as channel:
                    assert await channel.read() == b"\n"
            async with asyncio.timeout(3):
                assert (await result(connector, where, "echo", "on"))[1] == b"on\n"
        few_sessions.run(1, "pkill -9 -f 'sleep 3333'")

    asyncio.run(body())


def test_cancelled_opens_leave_no_session_behind(few_sessions: SshHosts) -> None:
    async def body() -> None:
        async with up(make(few_sessions, max_connections=1)) as (connector, where):
            for delay in (0, 0.0005, 0.001, 0.002, 0.004, 0.008) * 5:
                tasks = [asyncio.ensure_future(connector.open(where, ["cat"])) for _ in range(5)]
                await asyncio.sleep(delay)
                for task in tasks:
                    task.cancel()
                for end in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(end, Channel):
                        await end.kill()
            async with asyncio.timeout(5):
                for _ in range(5):
                    assert (await result(connector, where, "echo", "on"))[1] == b"on\n"
            await asyncio.sleep(0.2)
            assert few_sessions.run(1, "pgrep -x cat").stdout == ""

    asyncio.run(body())


def test_concurrent_opens_share_one_attempt_and_its_failure(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        connector = make(ssh_hosts, nodes=[f"{ssh_hosts.hosts[0]}:23"])
        where = Location(name="lab/x", deployment="lab", service="", host=f"{ssh_hosts.hosts[0]}:23", filesystem="x")
        start = time.monotonic()
        ends = await asyncio.gather(*(connector.open(where, ["true"]) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(end, Unreachable) and "refused" in str(end) for end in ends)
        assert time.monotonic() - start < 2
        await connector.close()

    asyncio.run(body())


# what breaks


def test_a_cut_link_is_noticed_by_keep_alive_and_the_host_works_again(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts, keep_alive=1, connect_timeout=3)) as (connector, where):
            channel = await connector.open(where, ["sh", "-c", "echo on; sleep 100"])
            assert await channel.read() == b"on\n"
            ssh_hosts.cut(1)
            try:
                start = time.monotonic()
                with pytest.raises(Unreachable) as caught:
                    await channel.read()
                assert caught.value.transient
                assert time.monotonic() - start < 6
                with pytest.raises(Unreachable):
                    await channel.wait()
                start = time.monotonic()
                with pytest.raises(Unreachable, match=r"no answer|[Nn]o route|unreachable"):
                    await connector.open(where, ["true"])
                assert time.monotonic() - start < 4
                assert [location.host for location in await connector.locations(None)] == [ssh_hosts.hosts[1]]
            finally:
                ssh_hosts.heal(1)
            assert (await result(connector, where, "echo", "back"))[1] == b"back\n"
            assert len(await connector.locations(None)) == 2

    asyncio.run(body())


def test_killed_sessions_are_unreachable_at_once_and_the_next_open_connects_again(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            channel = await connector.open(where, ["cat"])
            await channel.write(b"x")
            assert await channel.read() == b"x"
            ssh_hosts.kill_sessions(1)
            start = time.monotonic()
            with pytest.raises(Unreachable):
                await channel.wait()
            with pytest.raises(Unreachable):
                await channel.read()
            with pytest.raises(Unreachable):
                await channel.write(b"y")
            await channel.kill()
            assert time.monotonic() - start < 2
            assert (await result(connector, where, "echo", "back"))[1] == b"back\n"

    asyncio.run(body())


def test_output_cut_off_is_never_taken_for_a_whole(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            channel = await connector.open(where, ["sh", "-c", "head -c 50000000 /dev/zero"])
            await channel.read()
            await asyncio.sleep(0.2)
            ssh_hosts.kill_sessions(1)
            with pytest.raises(Unreachable):
                await drain(channel)

    asyncio.run(body())


def test_a_host_that_is_off_is_left_out_and_comes_back(ssh_hosts: SshHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakemake_executor_plugin_streamflow.connect.ssh.PROBE_S", 0.2)

    async def body() -> None:
        ssh_hosts.stop(2)
        log = Log()
        try:
            async with up(make(ssh_hosts, connect_timeout=2, log=log)) as (connector, _):
                assert [location.host for location in await connector.locations(None)] == [ssh_hosts.hosts[0]]
                assert len([line for line in log.warnings if ssh_hosts.hosts[1] in line]) == 1
                ssh_hosts.start(2)
                async with asyncio.timeout(8):
                    while len(await connector.locations(None)) < 2:
                        await asyncio.sleep(0.1)
        finally:
            if 2 not in vars(ssh_hosts)["_processes"]:
                ssh_hosts.start(2)

    asyncio.run(body())


def test_an_external_deployment_needs_no_deploy(ssh_hosts: SshHosts) -> None:
    async def body() -> None:
        connector = make(ssh_hosts)
        where = (await connector.locations(None))[0]
        assert (await result(connector, where, "hostname"))[1] == b"h1\n"
        await connector.close()
        await connector.close()
        assert (await result(connector, where, "hostname"))[1] == b"h1\n"
        await connector.undeploy()
        await connector.undeploy()

    asyncio.run(body())


# logging in


def failure(connector: SshConnector) -> DeployError:
    async def body() -> None:
        try:
            await connector.deploy()
        finally:
            await connector.close()

    with pytest.raises(DeployError) as caught:
        asyncio.run(body())
    return caught.value


def hostname(connector: SshConnector) -> bytes:
    async def body() -> bytes:
        async with up(connector) as (_, where):
            return (await result(connector, where, "hostname"))[1]

    return asyncio.run(body())


def key_pair(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
    return path


def test_refused_and_unknown_names_are_typed_and_quick(ssh_hosts: SshHosts) -> None:
    start = time.monotonic()
    error = failure(make(ssh_hosts, nodes=[f"{ssh_hosts.hosts[0]}:23"]))
    assert "refused" in str(error)
    assert error.transient
    error = failure(make(ssh_hosts, nodes=["no-such-host.invalid"]))
    assert "no-such-host.invalid" in str(error)
    assert time.monotonic() - start < 10


def test_a_refused_connection_is_tried_again(ssh_hosts: SshHosts) -> None:
    log = Log()
    start = time.monotonic()
    failure(make(ssh_hosts, nodes=[f"{ssh_hosts.hosts[0]}:23"], retries=2, retry_delay=1, log=log))
    assert 2 < time.monotonic() - start < 5
    assert len([line for line in log.lines if "next try" in line]) == 2


def test_a_silent_host_is_given_up_after_the_time_out(ssh_hosts: SshHosts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        error = failure(make(ssh_hosts, nodes=[f"127.0.0.1:{server.getsockname()[1]}"], connect_timeout=2, retries=3))
        assert time.monotonic() - start < 3
        assert "within 2 s" in str(error)
        assert error.transient


def test_a_wrong_key_says_who_where_and_what_was_tried(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    key = key_pair(tmp_path / "other")
    error = failure(make(ssh_hosts, nodes=[ssh_hosts.hosts[0]], ssh_key=str(key), retries=3))
    assert not error.transient
    for word in ("root", ssh_hosts.hosts[0], str(key), "authorized_keys"):
        assert word in str(error)


def test_a_missing_key_file_is_named(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    error = failure(make(ssh_hosts, ssh_key=str(tmp_path / "none")))
    assert str(tmp_path / "none") in str(error)
    assert not error.transient


def test_a_key_with_a_passphrase(ssh_hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = key_pair(tmp_path / "locked", "open sesame")
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("open sesame\n")
    wrong.write_text("open barley\n")
    public = Path(f"{key}.pub").read_text().strip()
    ssh_hosts.run(1, f"echo '{public}' >> /etc/ssh/sf_authorized")
    node = [ssh_hosts.hosts[0]]
    assert hostname(make(ssh_hosts, nodes=node, ssh_key=str(key), ssh_key_passphrase_file=str(right))) == b"h1\n"
    wrong_ones: list[dict[str, Any]] = [{"ssh_key_passphrase_file": str(wrong)}, {}]
    for more in wrong_ones:
        error = failure(make(ssh_hosts, nodes=node, ssh_key=str(key), **more))
        assert str(key) in str(error)
        assert "barley" not in str(error)
        assert not error.transient


def test_a_password_from_a_file_is_never_shown(
    ssh_hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text(ssh_hosts.password + "\n")
    wrong.write_text("wrong-password-1\n")
    node = [ssh_hosts.hosts[0]]
    log = Log()
    assert hostname(make(ssh_hosts, nodes=node, ssh_key=None, password_file=str(right), log=log)) == b"h1\n"
    error = failure(make(ssh_hosts, nodes=node, ssh_key=None, password_file=str(wrong), log=log))
    assert str(wrong) in str(error)
    assert not error.transient
    assert ssh_hosts.password not in "\n".join(log.lines)
    assert "wrong-password-1" not in "\n".join([*log.lines, str(error)])


def test_an_agent_is_asked(ssh_hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        monkeypatch.setenv("HOME", str(tmp_path))
        for _ in range(100):
            if (tmp_path / "agent").exists():
                break
            time.sleep(0.02)
        subprocess.run(["ssh-add", "-q", str(ssh_hosts.key)], check=True)
        assert hostname(make(ssh_hosts, ssh_key=None)) == b"h1\n"
        locked = tmp_path / "locked"
        locked.write_bytes(ssh_hosts.key.read_bytes())
        locked.chmod(0o600)
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-N", "secret", "-P", "", "-f", str(locked)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        assert hostname(make(ssh_hosts, ssh_key=str(locked))) == b"h1\n"
    finally:
        agent.kill()
        agent.wait()


def test_an_unknown_host_key_is_refused(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    for content in (None, "", "# a comment\nnonsense\n"):
        file = tmp_path / "known"
        if content is not None:
            file.write_text(content)
        error = failure(make(ssh_hosts, nodes=[ssh_hosts.hosts[0]], known_hosts=str(file), retries=3))
        assert not error.transient
        for word in (ssh_hosts.hosts[0], str(file), "accept-new", "SHA256:"):
            assert word in str(error)


@pytest.mark.parametrize("mode", ["known", "accept-new"])
def test_a_changed_host_key_is_refused(ssh_hosts: SshHosts, tmp_path: Path, mode: str) -> None:
    other = Path(f"{key_pair(tmp_path / 'x')}.pub").read_text().split()
    rsa = asyncssh.generate_private_key("ssh-rsa").export_public_key().decode().split()
    for kind, data in (other[:2], rsa[:2]):
        file = tmp_path / "known"
        file.write_text(f"{ssh_hosts.hosts[0]} {kind} {data}\n")
        error = failure(make(ssh_hosts, nodes=[ssh_hosts.hosts[0]], known_hosts=str(file), host_keys=mode))
        assert not error.transient
        assert "ssh-keygen -R" in str(error)
        assert file.read_text().count("\n") == 1


def test_accept_new_remembers_and_then_checks(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    file = tmp_path / "sub" / "known"
    assert hostname(make(ssh_hosts, known_hosts=str(file), host_keys="accept-new")) == b"h1\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    expected = {tuple(line.split()[:3]) for line in ssh_hosts.known_hosts.read_text().splitlines()}
    assert {tuple(line.split()[:3]) for line in file.read_text().splitlines()} == expected
    assert hostname(make(ssh_hosts, known_hosts=str(file))) == b"h1\n"
    assert len(file.read_text().splitlines()) == 2


def test_accept_new_hashes_names_where_they_are_hashed(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(ssh_hosts.known_hosts.read_text().splitlines()[1])  # h2, no newline at the end
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert hostname(make(ssh_hosts, known_hosts=str(file), host_keys="accept-new")) == b"h1\n"
    text = file.read_text()
    assert len(text.splitlines()) == 2
    assert not any(host in text for host in ssh_hosts.hosts)
    found = subprocess.run(["ssh-keygen", "-F", ssh_hosts.hosts[0], "-f", str(file)], capture_output=True, text=True)
    assert "ssh-ed25519" in found.stdout


@pytest.mark.parametrize("more", [{"check_host_key": False}, {"host_keys": "any"}])
def test_an_unchecked_host_key_is_warned_about_once(ssh_hosts: SshHosts, tmp_path: Path, more: dict[str, Any]) -> None:
    log = Log()
    assert hostname(make(ssh_hosts, known_hosts=str(tmp_path / "none"), log=log, **more)) == b"h1\n"
    assert len([line for line in log.warnings if "not checked" in line]) == 1


def test_ssh_config_is_honoured(ssh_hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    config = (
        f"Host lab-one\n  HostName {ssh_hosts.hosts[0]}\n  User root\n  IdentityFile {ssh_hosts.key}\n"
        f"  UserKnownHostsFile {ssh_hosts.known_hosts}\n  Ciphers aes256-ctr\n"
    )
    (tmp_path / "elsewhere").write_text(config)
    open_: dict[str, Any] = {"nodes": ["lab-one"], "username": None, "ssh_key": None, "known_hosts": None}
    assert hostname(make(ssh_hosts, **open_, config_file=str(tmp_path / "elsewhere"))) == b"h1\n"
    (tmp_path / ".ssh" / "config").write_text(config)
    assert hostname(make(ssh_hosts, **open_)) == b"h1\n"
    error = failure(make(ssh_hosts, **(open_ | {"username": "no-such-user"})))
    assert "no-such-user@lab-one" in str(error)


@pytest.fixture(scope="module")
def behind() -> Iterator[SshHosts]:
    """h2 and h3 can be reached through h1 only."""
    with SshHosts(3, hidden=2) as hosts:
        yield hosts


def test_a_jump_host(behind: SshHosts, tmp_path: Path) -> None:
    gate, inner, last = behind.hosts
    failure(make(behind, nodes=[inner], connect_timeout=2))
    hop = SshHop(hostname=gate, username="root")
    nested = SshHop(hostname=inner, tunnel=hop)
    config = tmp_path / "config"
    config.write_text(f"Host {inner}\n  ProxyJump root@gate:22\nHost gate\n  HostName {gate}\n")
    both = tmp_path / "both"
    both.write_text(behind.known_hosts.read_text() + behind.known_hosts.read_text().replace(gate, "gate"))
    assert hostname(make(behind, nodes=[inner], tunnel=gate)) == b"h2\n"
    assert hostname(make(behind, nodes=[inner], tunnel=f"root@{gate}:22")) == b"h2\n"
    assert hostname(make(behind, nodes=[inner], tunnel=hop)) == b"h2\n"
    assert hostname(make(behind, nodes=[SshHop(hostname=inner, tunnel=hop)])) == b"h2\n"
    assert hostname(make(behind, nodes=[last], tunnel=f"{gate},{inner}")) == b"h3\n"
    assert hostname(make(behind, nodes=[SshHop(hostname=last, tunnel=nested)])) == b"h3\n"
    assert hostname(make(behind, nodes=[inner], config_file=str(config), known_hosts=str(both))) == b"h2\n"


def test_nodes_behind_one_jump_host_share_its_connection(behind: SshHosts) -> None:
    async def body() -> None:
        async with up(make(behind, nodes=behind.hosts[1:], tunnel=behind.hosts[0])) as (connector, _):
            assert len(await connector.locations(None)) == 2
            assert connections(behind, 1) == 1

    asyncio.run(body())


def test_a_broken_jump_host_is_named_and_recovers(behind: SshHosts) -> None:
    gate, inner, _ = behind.hosts

    async def body() -> None:
        async with up(make(behind, nodes=[inner], tunnel=gate)) as (connector, where):
            behind.kill_sessions(1)
            assert (await result(connector, where, "hostname"))[1] == b"h2\n"

    asyncio.run(body())
    error = failure(make(behind, nodes=[inner], tunnel=f"{gate}:23"))
    assert f"root@{inner} (through {gate}:23)" in str(error)
    assert "refused" in str(error)


# locations


def test_locations_say_what_the_options_say(ssh_hosts: SshHosts) -> None:
    one, two = ssh_hosts.hosts
    options = SshOptions(
        nodes=(one, SshHop(hostname=two)),
        username="root",
        ssh_key=str(ssh_hosts.key),
        known_hosts=str(ssh_hosts.known_hosts),
        services={"a": {}, "b": {}},
        shared_paths=("/data",),
        cores=3,
        memory=5,
        disk=7,
        resources={"gpu": 2},
    )
    named = FilesystemSpec(name="nas", shared=(PurePosixPath("/mnt/nas"),))
    plain = Deployment(name="lab", type="ssh", options=options, workdir=PurePosixPath("/w"))
    on_nas = Deployment(name="lab", type="ssh", options=options, filesystem=named)

    async def body() -> None:
        connector = SshConnector(plain, run="r", inner=None, log=Log())
        assert connector.services() == ("a", "b")
        first = (await connector.locations("a"))[0]
        assert first == Location(
            name=f"lab/a/{one}",
            deployment="lab",
            service="a",
            host=one,
            filesystem=f"lab/{one}",
            workdir=PurePosixPath("/w"),
            cores=3,
            memory_b=5,
            disk_b=7,
            custom={"gpu": 2},
            shared=(PurePosixPath("/data"),),
        )
        assert (await connector.locations("b"))[0].filesystem == first.filesystem
        with pytest.raises(DeployError, match="a, b"):
            await connector.locations("c")
        await connector.close()
        connector = SshConnector(on_nas, run="r", inner=None, log=Log())
        assert {location.filesystem for location in await connector.locations("a")} == {"nas"}
        assert (await connector.locations("a"))[0].shared == (PurePosixPath("/mnt/nas"), PurePosixPath("/data"))
        await connector.close()

    asyncio.run(body())


def test_the_registry_knows_the_connector() -> None:
    assert connector_class("ssh") is SshConnector


def test_options_are_inherited_by_hops() -> None:
    options = SshOptions(
        nodes=("a", "me@b:2222", SshHop(hostname="c", check_host_key=False), "[::1]:22", "fe80::1"),
        username="u",
        ssh_key="/k",
        ssh_key_passphrase_file="/p",
        tunnel=SshHop(hostname="gate", ssh_key="/other"),
    )
    found = logins(options)
    assert [(login.user, login.host, login.port) for login in found.values()] == [
        ("u", "a", None),
        ("me", "b", 2222),
        ("u", "c", None),
        ("u", "::1", 22),
        ("u", "fe80::1", None),
    ]
    gate = found["a"].through
    assert gate is not None
    assert (gate.user, gate.own_user, gate.key, gate.passphrase_file) == ("u", False, Path("/other"), None)
    assert (found["a"].key, found["a"].passphrase_file) == (Path("/k"), Path("/p"))
    assert (found["a"].host_keys, found["c"].host_keys) == ("known", "any")


# forwarded sockets


def test_a_forwarded_socket_leads_to_the_host(ssh_hosts: SshHosts) -> None:
    serve = (
        "import socket,os\ns=socket.socket(socket.AF_UNIX)\ns.bind('/run/echo.sock')\ns.listen()\n"
        "print('up',flush=True)\nwhile 1:\n c=s.accept()[0]\n"
        " while d:=c.recv(65536): c.sendall(d.upper())\n c.close()\n"
    )

    async def ask(path: Path) -> bytes:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello")
        answer = await reader.readexactly(5)
        writer.close()
        return answer

    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            server = await connector.open(where, ["/usr/bin/python3", "-c", serve])
            assert await server.read() == b"up\n", server.errors
            path = await connector.forward_socket(where, "/run/echo.sock")
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert await ask(path) == b"HELLO"
            assert await connector.forward_socket(where, "/run/echo.sock") == path
            tcp = await connector.forward_socket(where, "127.0.0.1:22")
            reader, writer = await asyncio.open_unix_connection(tcp)
            assert (await reader.readline()).startswith(b"SSH-2.0-")
            writer.close()
            with pytest.raises(Unreachable, match=r"/run/none\.sock"):
                await connector.forward_socket(where, "/run/none.sock")
            await server.kill()
            ssh_hosts.kill_sessions(1)
            await asyncio.sleep(0.3)
            ssh_hosts.run(1, "rm -f /run/echo.sock")
            server = await connector.open(where, ["/usr/bin/python3", "-c", serve])
            assert await server.read() == b"up\n"
            again = await connector.forward_socket(where, "/run/echo.sock")
            assert await ask(again) == b"HELLO"
            await server.kill()
            folders = [path.parent, again.parent, tcp.parent]
        assert not any(folder.exists() for folder in folders[1:])

    asyncio.run(body())


def test_a_forwarded_socket_that_is_read_slowly_holds_its_sender_back(ssh_hosts: SshHosts) -> None:
    size_b = 128 << 20
    serve = (
        "import socket\ns=socket.socket(socket.AF_UNIX)\ns.bind('/run/pour.sock')\ns.listen()\nprint('up',flush=True)\n"
        f"s.accept()\nc=s.accept()[0]\nfor _ in range({size_b >> 16}): c.sendall(bytes(65536))\nc.close()\n"
    )

    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            server = await connector.open(where, ["/usr/bin/python3", "-c", serve])
            assert await server.read() == b"up\n", server.errors
            path = await connector.forward_socket(where, "/run/pour.sock")
            watch, got = Watch(), 0
            async with watch:
                reader, writer = await asyncio.open_unix_connection(path)
                while data := await reader.read(65536):
                    got += len(data)
                    await asyncio.sleep(0.001)
                writer.close()
            assert got == size_b
            assert watch.growth_b < 16 << 20

    asyncio.run(body())


def test_every_error_of_a_login_is_a_site_error(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    broken = tmp_path / "config"
    broken.write_text("Port nonsense\n")
    assert isinstance(failure(make(ssh_hosts, config_file=str(broken))), SiteError)
    assert isinstance(failure(make(ssh_hosts, config_file=str(tmp_path / "none"))), SiteError)

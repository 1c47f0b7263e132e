"""Connections to real sshds: limits of sessions, cuts, hosts that come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.errors import Unreachable
from snakemake_executor_plugin_streamflow.model import Location
from tests.servers import ssh as servers
from tests.servers.ssh import SshHosts

from .ssh_up import Log, drain, make, result, up

ssh_hosts = servers.ssh_hosts


@pytest.fixture(scope="module")
def few_sessions() -> Iterator[SshHosts]:
    with SshHosts(1, options=["MaxSessions=3"]) as hosts:
        yield hosts


# processes


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

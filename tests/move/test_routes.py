"""Direct routes between hosts: what moves never passes through here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

import pytest

from snakemake_executor_plugin_streamflow.conformance.data import carry, tree
from snakemake_executor_plugin_streamflow.conformance.place import Watched, WatchedChannel
from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.connect.ssh import SshConnector
from snakemake_executor_plugin_streamflow.model import Deployment, Location, SshOptions
from snakemake_executor_plugin_streamflow.move.entry import Item
from snakemake_executor_plugin_streamflow.move.here import Here
from snakemake_executor_plugin_streamflow.move.mover import Mover
from snakemake_executor_plugin_streamflow.move.routes import OWN_B
from snakemake_executor_plugin_streamflow.move.there import There
from tests.servers.ssh import SshHosts


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, message: str) -> None:
        self.lines.append(message)

    info = warning = debug


class Counted(SshConnector):
    """Counts what goes through the channels."""

    cut_after_b = flip = None
    read_b = written_b = writes = 0

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        return WatchedChannel(cast(Watched, self), await super().open(location, argv, env))


@dataclass
class Two:
    """Two stores, and what is known of the copies between them."""

    a: There
    b: There
    connectors: list[Counted]
    log: Log = field(default_factory=Log)
    routes: list[str] = field(default_factory=list)

    def passed_b(self) -> int:
        return sum(connector.read_b + connector.written_b for connector in self.connectors)

    async def move(self, mover: Mover, items: Sequence[Item]) -> int:
        """Move items and return how many bytes passed through here."""
        before = self.passed_b()
        await mover.move(self.a, self.b, items)
        return self.passed_b() - before


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with SshHosts(2) as made:
        yield made


@asynccontextmanager
async def two(hosts: SshHosts, numbers: tuple[int, int] = (1, 2), **options: Any) -> AsyncIterator[tuple[Two, Mover]]:
    """Stores at two hosts, each of a deployment of its own, and a mover."""
    log = Log()
    connectors, stores = [], []
    for name, number in zip("ab", numbers, strict=True):
        given: dict[str, Any] = {"username": "root", "ssh_key": str(hosts.key), "known_hosts": str(hosts.known_hosts)}
        ssh = SshOptions(nodes=(hosts.hosts[number - 1],), **(given | options))
        connector = Counted(Deployment(name, "ssh", ssh), run="t", inner=None, log=log)
        await connector.deploy()
        connectors.append(connector)
        (location,) = await connector.locations(None)
        workdir = PurePosixPath(f"/home/it's {name}")
        hosts.run(number, f"""rm -rf "{workdir}"; mkdir -p "{workdir}/.streamflow/in" """)

        async def open_shell(connector: Counted = connector, location: Location = location) -> Channel:
            return await connector.open(location, ["sh"])

        stores.append(There(location.name, workdir, open_shell, 4, (connector, location)))
    pair = Two(*stores, connectors, log)
    try:
        async with asyncio.TaskGroup() as group:
            yield pair, Mover(group.create_task, lambda *seen: pair.routes.append(seen[-1]), log=log.debug)
            for store in stores:
                assert (await store.ask("ls -A .streamflow/in; ls -A ${TMPDIR:-/tmp}")).text == ""
    finally:
        for store in stores:
            await store.close()
        for connector in connectors:
            await connector.undeploy()


FILE_B = 9_000_001


async def one_file(pair: Two, size_b: int = FILE_B) -> list[Item]:
    await pair.a.ask(f"head -c {size_b} /dev/urandom >f; chmod 750 f; touch -d @1500000000 f")
    return await pair.a.list({"f": "sub/f"})


async def same(pair: Two) -> bool:
    sums = [(await store.ask(f"sha1sum <{path}")).text for store, path in ((pair.a, "f"), (pair.b, "sub/f"))]
    return sums[0] == sums[1]


def test_an_agent_that_is_lent_lets_two_hosts_exchange_files(hosts: SshHosts, tmp_path: Path) -> None:
    async def check() -> None:
        async with two(hosts, direct="agent") as (pair, mover):
            items = await one_file(pair)
            assert await pair.move(mover, items) < 30_000
            assert pair.routes == ["ssh"]
            (found,) = await pair.b.stat(["sub/f"])
            assert (found.size_b, found.mode, found.mtime_ns) == (FILE_B, 0o750, 1_500_000_000 * 10**9)
            assert await same(pair)
            assert "took the route 'ssh'" in "\n".join(pair.log.lines)

    asyncio.run(check())
    for number in (1, 2):
        assert hosts.run(number, "ls -A /root/.ssh 2>/dev/null").stdout == ""


def test_a_directory_keeps_its_shape_on_a_direct_route(hosts: SshHosts, tmp_path: Path) -> None:
    make = """mkdir -p d/empty/deep "d/a b"; cd d; for n in 1 2 3; do head -c 5000000 /dev/urandom >"a b/-$n"; done
: >nothing; echo x >"new
line"; chmod 400 nothing; ln -s "a b/-1" link; ln -s no/such dangling; ln "a b/-2" hard; touch -d @1400000000 "a b/-1"
chmod 555 empty; head -c 262144 /dev/zero >exact; head -c 67108864 /dev/zero >part"""

    async def check() -> None:
        async with two(hosts, direct="agent") as (pair, mover):
            assert (await pair.a.ask(make)).code == 0
            await pair.b.ask("mkdir -p e/old")
            assert await pair.move(mover, await pair.a.list({"d": "e"})) < 50_000
            assert pair.routes == ["ssh"]
            here = Here("here", tmp_path)
            await carry(pair.a, "d", here, "sent")
            await carry(pair.b, "e", here, "arrived")

    asyncio.run(check())
    assert tree(tmp_path / "sent") == tree(tmp_path / "arrived")


def test_hosts_that_know_each_other_need_nothing_of_ours(hosts: SshHosts) -> None:
    hosts.run(2, "mkdir -p /root/.ssh; chmod 700 /root/.ssh")
    (hosts.root(2) / "root/.ssh/id_ed25519").write_bytes(hosts.key.read_bytes())
    hosts.run(2, "chmod 600 /root/.ssh/id_ed25519")

    async def check() -> None:
        async with two(hosts) as (pair, mover):
            assert await pair.move(mover, await one_file(pair, OWN_B)) < 30_000
            assert pair.routes == ["ssh back"], "only the second host can log in to the first"
            assert await same(pair)

    try:
        asyncio.run(check())
    finally:
        hosts.run(2, "rm -rf /root/.ssh")


def test_without_a_direct_route_the_bytes_pass_through_here(hosts: SshHosts) -> None:
    async def check() -> None:
        async with two(hosts) as (pair, mover):
            await pair.move(mover, await one_file(pair))
            assert not [line for line in pair.log.lines if "does not work" in line], "it is too small to try"
            items = await one_file(pair, OWN_B)
            assert await pair.move(mover, items) > 2 * OWN_B
            tried = [line for line in pair.log.lines if "does not work" in line]
            assert len(tried) == 2
            await pair.move(mover, items)
            assert pair.routes == ["relay"] * 3
            assert [line for line in pair.log.lines if "does not work" in line] == tried, "it was tried again"
            assert await same(pair)
        async with two(hosts, direct="no") as (pair, mover):
            await pair.move(mover, await one_file(pair, OWN_B))
            assert not [line for line in pair.log.lines if "does not work" in line]

    asyncio.run(check())


def test_one_host_under_two_names_copies_by_itself(hosts: SshHosts) -> None:
    async def check() -> None:
        async with two(hosts, (1, 1), direct="no") as (pair, mover):
            assert await pair.move(mover, await one_file(pair)) < 30_000
            assert pair.routes == ["seen"]
            assert await same(pair)
            await pair.b.ask("echo more >>sub/f")
            assert (await pair.a.stat(["f"]))[0].size_b == FILE_B

    asyncio.run(check())


def test_a_byte_that_changes_on_a_direct_route_is_noticed(hosts: SshHosts) -> None:
    hosts.run(
        1, r"""printf '#!/bin/sh\ntr a b | /usr/bin/ssh "$@"\n' >/usr/local/bin/ssh; chmod 755 /usr/local/bin/ssh"""
    )

    async def check() -> None:
        async with two(hosts, direct="agent") as (pair, mover):
            await pair.move(mover, await one_file(pair))
            assert any("digests differ" in line for line in pair.log.lines)
            assert pair.routes == ["ssh back"]
            assert await same(pair)

    try:
        asyncio.run(check())
    finally:
        hosts.run(1, "rm /usr/local/bin/ssh")


def test_small_files_go_together_through_here(hosts: SshHosts) -> None:
    async def check() -> None:
        async with two(hosts, direct="agent") as (pair, mover):
            await pair.a.ask("mkdir d; for n in $(seq 200); do head -c 50000 /dev/zero >d/$n; done")
            await pair.move(mover, await pair.a.list({"d": "d"}))
            assert pair.routes == ["relay"]

    asyncio.run(check())


def test_an_agent_signs_for_nobody_else(hosts: SshHosts) -> None:
    ssh = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"

    async def check() -> None:
        async with two(hosts) as (pair, _):
            a, b = pair.connectors
            (at,), (to,) = await a.locations(None), await b.locations(None)
            folder = (await pair.a.ask("mktemp -d")).text.strip()
            async with a.lend(at, f"{folder}/agent", await b.keys(to), "root"):
                for user, wanted in (("root", "root"), ("worker", "")):
                    done = await pair.a.ask(
                        f"SSH_AUTH_SOCK={folder}/agent {ssh} {user}@{hosts.hosts[1]} id -un 2>/dev/null"
                    )
                    assert done.text.strip() == wanted
            assert (await pair.a.ask(f"SSH_AUTH_SOCK={folder}/agent ssh-add -l")).code != 0
            await pair.a.ask(f"rm -r {folder}")

    asyncio.run(check())

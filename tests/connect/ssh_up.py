"""The ssh connector with the hosts that the tests start: made, brought up, asked."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Channel, Connector
from snakemake_executor_plugin_streamflow.connect.ssh import SshConnector
from snakemake_executor_plugin_streamflow.errors import DeployError
from snakemake_executor_plugin_streamflow.model import Deployment, Location, SshHop, SshOptions
from tests.servers.ssh import SshHosts


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


def connections(hosts: SshHosts, i: int) -> int:
    return int(hosts.run(i, "ss -Htn state established '( sport = :22 )' | wc -l").stdout)


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

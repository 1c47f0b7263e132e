"""Processes over the websocket of `pods/exec`, with servers of both ages; no cluster."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from snakemake_executor_plugin_streamflow.connect.base import Channel
from snakemake_executor_plugin_streamflow.connect.kubernetes import KubernetesConnector
from snakemake_executor_plugin_streamflow.connect.kubernetes_access import Access
from snakemake_executor_plugin_streamflow.connect.kubernetes_api import Cluster
from snakemake_executor_plugin_streamflow.connect.kubernetes_exec import V4, V5
from snakemake_executor_plugin_streamflow.errors import DeployError, Unreachable
from snakemake_executor_plugin_streamflow.model import Deployment, HelmOptions, KubernetesOptions, Location
from tests.servers.kubernetes_exec import PODS, ExecServer, exec_server, kubeconfig


@pytest.fixture(params=[(V5, V4), (V4,)], ids=["v5", "v4"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ExecServer]:
    with exec_server(tmp_path, *request.param) as running:
        yield running


def connector(server: ExecServer) -> KubernetesConnector:
    options = KubernetesOptions(kubeconfig=str(server.kubeconfig), selector="app=worker")
    deployment = Deployment("pods", "kubernetes", options, external=True)
    return KubernetesConnector(deployment, run="r", inner=None, log=logging.getLogger("test"))


async def everything(channel: Channel) -> bytes:
    found = b""
    while data := await channel.read():
        found += data
    return found


def test_input_ends_and_output_follows(server: ExecServer) -> None:
    async def check() -> None:
        pods = connector(server)
        location = (await pods.locations("work"))[0]
        data = bytes(range(256)) * 5000
        async with await pods.open(location, ["sh", "-c", "cat; echo no more >&2; exit 7"]) as channel:
            writing = asyncio.create_task(channel.write(data))
            writing.add_done_callback(lambda _: asyncio.ensure_future(channel.close_stdin()))
            assert await everything(channel) == data
            assert await channel.wait() == 7
            assert channel.errors == b"no more\n"
        await pods.close()

    asyncio.run(check())


def test_a_process_that_leaves_its_input_unread_ends_as_it_ends(server: ExecServer) -> None:
    async def check() -> None:
        pods = connector(server)
        location = (await pods.locations("work"))[0]
        async with await pods.open(location, ["sh", "-c", "head -c 1; echo full >&2; exit 3"]) as channel:
            with pytest.raises(Unreachable):
                await channel.write(bytes(64 << 20))
            assert await everything(channel) == b"\0"
            assert await channel.wait() == 3
            assert channel.errors == b"full\n"
        await pods.close()

    asyncio.run(check())


def test_environment_and_odd_arguments_are_not_in_the_request(server: ExecServer) -> None:
    async def check() -> None:
        pods = connector(server)
        location = (await pods.locations("work"))[0]
        env = {"TOKEN": "hush $(id) 'x'\n"}
        argv = ["sh", "-c", 'printf %s "$TOKEN$1"; cat', "sh", "\udcff" + "y" * 9000]
        async with await pods.open(location, argv, env) as channel:
            await channel.write(b"!")
            await channel.close_stdin()
            assert await everything(channel) == b"hush $(id) 'x'\n\xff" + b"y" * 9000 + b"!"
        assert not any("hush" in word or len(word) > 1000 for command in server.commands for word in command)
        await pods.close()

    asyncio.run(check())


def test_a_container_that_is_taken_away_is_no_failure_of_its_processes(server: ExecServer) -> None:
    async def check() -> None:
        pods = connector(server)
        first, second = await pods.locations(None)
        assert (first.cores, first.memory_b, first.custom) == (2, 2 << 30, {"gpu": 1})
        async with await pods.open(first, ["sh", "-c", "echo $$; sleep 60"]) as channel:
            await channel.read()
            server.evict("worker-0")
            with pytest.raises(Unreachable, match="stopped while the process was running"):
                await channel.wait()
        with pytest.raises(Unreachable, match="not found"):
            await pods.open(first, ["true"])
        assert [one.name for one in await pods.locations(None)] == [second.name]
        server.pods["worker-1"] += 1
        assert (await pods.locations(None))[0].host != second.host  # the same pod, another container
        await pods.close()

    asyncio.run(check())


def test_nothing_listens(tmp_path: Path) -> None:
    with exec_server(tmp_path, V5) as server:
        pass

    async def check() -> None:
        pods = connector(server)
        with pytest.raises(Unreachable, match="does not answer"):
            await pods.locations(None)

    asyncio.run(check())


def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("clusters: 1")
    for name, words in (("broken", "cannot be used"), ("missing", "no kubeconfig at")):
        options = KubernetesOptions(kubeconfig=str(tmp_path / name), selector="a=b")
        deployment = Deployment("pods", "kubernetes", options, external=True)
        pods = KubernetesConnector(deployment, run="r", inner=None, log=logging.getLogger("test"))
        with pytest.raises(DeployError, match=words):
            asyncio.run(pods.locations(None))


def test_single_credentials_of_helm_count_for_pods_too(tmp_path: Path) -> None:
    with exec_server(tmp_path, V5) as server:
        options = HelmOptions(
            chart="c", kubeconfig=str(server.kubeconfig), kube_token="other", kube_as_user="u", kube_as_group=("g", "h")
        )
        cluster = Cluster(options, None)

        async def check() -> None:
            assert len((await cluster.call("GET", PODS))["items"]) == 2
            socket = await cluster.stream(f"{PODS}/worker-0/exec", [("command", "true")], V5)
            await socket.close()
            await cluster.close()

        asyncio.run(check())
        assert len(server.headers) == 2
        for headers in server.headers:
            assert headers["Authorization"] == "Bearer other"
            assert headers["Impersonate-User"] == "u"
            assert headers.get_all("Impersonate-Group") == ["g", "h"]


def test_a_server_that_is_named_needs_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with exec_server(tmp_path, V5) as server:
        options = HelmOptions(chart="c", kube_apiserver=server.address, kube_token="t", namespace="lab")
        cluster = Cluster(options, None)

        async def check() -> None:
            assert await cluster.namespace() == "lab"
            assert len((await cluster.call("GET", PODS))["items"]) == 2
            await cluster.close()

        asyncio.run(check())


def test_a_tunnel_is_kept_when_a_token_is_renewed(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig("https://api.example.org:6443")))
    access = Access.read(KubernetesOptions(kubeconfig=str(tmp_path / "config")))
    access.through(1234)
    for _ in range(2):
        assert ("authorization", "Bearer secret-token") in access.headers()
        assert access.url("/api", ()) == "https://127.0.0.1:1234/api"
        assert access.server_name == "api.example.org"


def test_a_hundred_processes_start_at_once(tmp_path: Path) -> None:
    with exec_server(tmp_path, V5) as server:

        async def one(pods: KubernetesConnector, location: Location) -> bytes:
            async with await pods.open(location, ["sh", "-c", "sleep 1; echo done"]) as channel:
                return await everything(channel)

        async def check() -> float:
            pods = connector(server)
            location = (await pods.locations("work"))[0]
            begin = time.monotonic()
            assert await asyncio.gather(*(one(pods, location) for _ in range(100))) == [b"done\n"] * 100
            took = time.monotonic() - begin
            await pods.close()
            return took

        assert asyncio.run(check()) < 15  # one after another they would take 100 s

"""Locations that come and go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from snakemake_executor_plugin_streamflow import returning, sites
from snakemake_executor_plugin_streamflow.connect import ssh
from snakemake_executor_plugin_streamflow.connect.local import LocalConnector
from snakemake_executor_plugin_streamflow.engine import Engine
from snakemake_executor_plugin_streamflow.errors import Unreachable
from snakemake_executor_plugin_streamflow.model import (
    Companion,
    Deployment,
    FilesystemSpec,
    LocalOptions,
    Location,
    SshOptions,
    Target,
)
from snakemake_executor_plugin_streamflow.plan import Replica
from snakemake_executor_plugin_streamflow.site import Site

from .executor.running import wait_until
from .servers.ssh import SshHosts, ssh_hosts  # noqa: F401

RUN = "a run"


def engine_for(tmp_path: Path, *deployments: Deployment) -> Engine:
    companion = Companion(tmp_path / "streamflow.yml", deployments={one.name: one for one in deployments})
    engine = Engine(companion, tmp_path, log=logging.getLogger(RUN))
    engine.launch()
    return engine


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    monkeypatch.setattr(returning, "_RETURN_S", (0.3, 1.0))
    monkeypatch.setattr(sites, "_LOOK_S", 0.5)
    monkeypatch.setattr(ssh, "PROBE_S", 0.5)
    with caplog.at_level(logging.INFO, RUN):
        yield caplog


def lab(ssh_hosts: SshHosts, name: str, *nodes: str) -> Deployment:
    """Hosts that are given up soon when they do not answer."""
    options = SshOptions(
        nodes=nodes,
        username="root",
        ssh_key=str(ssh_hosts.key),
        known_hosts=str(ssh_hosts.known_hosts),
        config_file="/dev/null",
        connect_timeout=2,
        retries=1,
    )
    return Deployment(name, "ssh", options, workdir=PurePosixPath("/root/work"))


def test_hosts_that_are_down_are_used_once_they_answer(
    tmp_path: Path, ssh_hosts: SshHosts, soon: pytest.LogCaptureFixture
) -> None:
    engine = engine_for(tmp_path, lab(ssh_hosts, "lab", *ssh_hosts.hosts[:2]))
    returned: list[float] = []
    engine.sites.returned = lambda: returned.append(time.monotonic())
    try:
        ssh_hosts.stop(2)
        engine.wait(engine.sites.open([Target("lab")]))
        assert len(list(engine.sites)) == 1
        time.sleep(1)
        assert not returned
        ssh_hosts.start(2)
        wait_until(lambda: returned)
        assert len(list(engine.sites)) == 2
        assert sum("left out" in record.message for record in soon.records) == 1, "said once"
        returned.clear()

        async def lose() -> None:
            site = engine.sites[f"lab/{ssh_hosts.hosts[1]}"]
            site.session.lost = True
            assert engine.sites.strike(site, Unreachable("it is gone"))

        engine.wait(lose())
        assert len(list(engine.sites)) == 1
        wait_until(lambda: returned)
        assert len(list(engine.sites)) == 2
    finally:
        if 2 not in ssh_hosts._processes:
            ssh_hosts.start(2)
        engine.stop()


def test_a_deployment_that_is_down_delays_nobody_and_is_used_once_it_answers(
    tmp_path: Path, ssh_hosts: SshHosts, soon: pytest.LogCaptureFixture
) -> None:
    here = Deployment("near", "local", LocalOptions(), workdir=PurePosixPath(tmp_path / "near"))
    engine = engine_for(tmp_path, here, lab(ssh_hosts, "far", ssh_hosts.hosts[0]))
    targets = [Target("far"), Target("near")]
    ssh_hosts.stop(1)
    started = False
    try:
        engine.wait(engine.sites.open(targets))
        before = time.monotonic()
        engine.wait(engine.sites.open(targets))
        assert time.monotonic() - before < 0.5
        ssh_hosts.start(1)
        started = True
        wait_until(lambda: any(site.location.deployment == "far" for site in engine.sites))
        assert sum("far cannot be used" in record.message for record in soon.records) == 1, "said once"
    finally:
        if not started:
            ssh_hosts.start(1)
        engine.stop()


def test_a_location_that_was_set_aside_comes_back(tmp_path: Path, soon: pytest.LogCaptureFixture) -> None:
    two = Deployment("two", "local", LocalOptions(locations=2), workdir=PurePosixPath(tmp_path / "two"))
    engine = engine_for(tmp_path, two)
    returned: list[bool] = []
    engine.sites.returned = lambda: returned.append(True)

    async def strike() -> list[bool]:
        site = engine.sites["two/0"]
        return [engine.sites.strike(site, Unreachable("it hiccups")) for _ in range(3)]

    try:
        engine.wait(engine.sites.open([Target("two")]))
        site = engine.sites["two/0"]
        blocked = Path(site.facts.workdir) / ".streamflow/in"
        blocked.rmdir()
        assert engine.wait(strike()) == [False, False, True]
        time.sleep(1)
        assert not returned, "it does not work yet"
        blocked.mkdir()
        wait_until(lambda: returned)
        assert [record.message for record in soon.records if "two/0" in record.message][-2:] == [
            "two/0 is set aside: it hiccups",
            "two/0 is used again",
        ]
        assert site.strikes == 0
    finally:
        engine.stop()


def test_deployments_that_do_not_wait_for_each_other_come_up_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans: dict[str, tuple[float, float]] = {}

    async def slowly(connector: LocalConnector) -> None:
        begin = time.monotonic()
        await asyncio.sleep(0.5)
        spans[connector.deployment.name] = begin, time.monotonic()

    monkeypatch.setattr(LocalConnector, "deploy", slowly)
    both = [Deployment(n, "local", LocalOptions(), workdir=PurePosixPath(tmp_path / n)) for n in ("one", "two")]
    engine = engine_for(tmp_path, *both)
    try:
        engine.wait(engine.sites.open([Target("one"), Target("two")]))
    finally:
        engine.stop()
    (one, two) = (spans["one"], spans["two"])
    assert max(one[0], two[0]) < min(one[1], two[1])


def test_who_needs_a_deployment_that_is_going_waits_and_gets_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    async def deploy(connector: LocalConnector) -> None:
        happened.append("up")

    async def undeploy(connector: LocalConnector) -> None:
        happened.append("going")
        await asyncio.sleep(0.3)
        happened.append("gone")

    monkeypatch.setattr(LocalConnector, "deploy", deploy)
    monkeypatch.setattr(LocalConnector, "undeploy", undeploy)
    engine = engine_for(tmp_path, Deployment("box", "local", LocalOptions(), workdir=PurePosixPath(tmp_path / "box")))

    async def leave() -> None:
        engine.sites.leave("box")
        assert not list(engine.sites)

    try:
        engine.wait(engine.sites.open([Target("box")]))
        engine.wait(leave())
        engine.wait(engine.sites.open([Target("box")]))
        assert len(list(engine.sites)) == 1
        assert happened == ["up", "going", "gone", "up"]
    finally:
        engine.stop()


def test_what_is_left_of_a_lost_location_is_what_others_see(tmp_path: Path) -> None:
    """What was built at it is forgotten: what comes up under its name may be another container."""
    folder = PurePosixPath(tmp_path / "two")
    two = Deployment("two", "local", LocalOptions(locations=2), workdir=folder, filesystem=FilesystemSpec("nas"))
    engine = engine_for(tmp_path, two)

    async def lose(name: str) -> None:
        site = engine.sites[name]
        site.session.lost = True
        assert engine.sites.strike(site, Unreachable("it is gone"))

    try:
        engine.wait(engine.sites.open([Target("two")]))
        engine.ledger.put(Replica("a", "nas", "v", 1, 1))
        built = engine.runtimes._found = {"two/0": asyncio.Future(loop=engine.loop)}
        engine.wait(lose("two/0"))
        assert engine.ledger.get("a", "nas") is not None
        assert not built
        engine.wait(lose("two/1"))
        assert engine.ledger.get("a", "nas") is None
    finally:
        engine.stop()


def test_jobs_of_earlier_runs_are_ended_also_where_a_location_comes_up_just_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, nas = LocalOptions(locations=2), FilesystemSpec("nas")
    folders = [PurePosixPath(tmp_path / name) for name in ("shared", "own")]
    deployments = [
        *(Deployment(name, "local", options, workdir=folders[0], filesystem=nas) for name in ("one", "same")),
        Deployment("two", "local", options, workdir=folders[1]),
    ]
    engine = engine_for(tmp_path, *deployments)
    swept: list[str] = []
    searched: list[bool] = []
    held = asyncio.Event()
    original = Site.open

    async def sweep(site: Site, *_: object, deep: bool, **__: object) -> list[str]:
        await asyncio.sleep(0.2)
        swept.append(site.location.name)
        searched.append(deep)
        return []

    async def open_site(connector: LocalConnector, location: Location, **more: Any) -> Site:
        site = await original(connector, location, **more)
        if location.name == "two/1":
            await held.wait()
        return site

    monkeypatch.setattr(Site, "sweep", sweep)
    monkeypatch.setattr(Site, "open", open_site)

    async def both() -> None:
        await engine.sites.open([Target("one")])
        opening = asyncio.ensure_future(engine.sites.open([Target("two")]))
        await asyncio.sleep(0.5)
        telling = asyncio.ensure_future(engine.sites.take_over((), {}, alive=(), deep=True))
        await asyncio.sleep(0.1)
        held.set()
        await asyncio.gather(opening, telling)
        await engine.sites.open([Target("same")])

    try:
        engine.wait(both())
        assert sorted(swept) == ["one/0", "one/1", "same/0", "same/1", "two/0", "two/1"]
        assert sum(searched) == 4, "in a folder that a location shares, transfers are on their way by now"
    finally:
        engine.stop()


def test_what_comes_in_the_place_of_a_location_that_is_gone_is_used_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, shown = LocalConnector.locations, {"two/0"}

    async def locations(connector: LocalConnector, service: str | None) -> list[Location]:
        return [one for one in await usual(connector, service) if one.name in shown]

    async def lose() -> None:
        site = engine.sites["two/0"]
        await site.session.close()
        monkeypatch.setattr(site.session, "lost", True)
        shown.clear()
        shown.add("two/1")
        assert engine.sites.strike(site, Unreachable("it is gone"))

    monkeypatch.setattr(LocalConnector, "locations", locations)
    monkeypatch.setattr(LocalConnector, "ephemeral", True)
    two = Deployment("two", "local", LocalOptions(locations=2), workdir=PurePosixPath(tmp_path / "two"))
    engine = engine_for(tmp_path, two)
    try:
        engine.wait(engine.sites.open([Target("two")]))
        engine.wait(lose())
        wait_until(lambda: engine.sites.get("two/1") is not None)
    finally:
        engine.stop()

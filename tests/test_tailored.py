"""Tasks that get locations of their own, through the driver."""

from __future__ import annotations

import logging
import queue
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.local import LocalConnector
from snakemake_executor_plugin_streamflow.driver import Driver
from snakemake_executor_plugin_streamflow.engine import Engine
from snakemake_executor_plugin_streamflow.errors import DeployError, SiteError
from snakemake_executor_plugin_streamflow.jobs import Member, Output, Task
from snakemake_executor_plugin_streamflow.model import (
    Binding,
    Companion,
    Deployment,
    LocalOptions,
    Location,
    Request,
    Target,
)
from snakemake_executor_plugin_streamflow.remote.job import Command

made: list[tuple[str, Request]] = []
there: set[str] = set()
usual = LocalConnector.locations


async def tailor(connector: LocalConnector, service: str | None, request: Request, count: int) -> str:
    if request.cores > 2:
        raise DeployError("no room for it, ever")
    made.append((f"own{len(made)}", request))
    there.add(made[-1][0])
    return made[-1][0]


async def discard(connector: LocalConnector, service: str) -> None:
    there.discard(service)


async def locations(connector: LocalConnector, service: str | None) -> Sequence[Location]:
    top = connector.deployment.workdir
    if top is None or service is None:
        return await usual(connector, service)
    assert service in there
    request = dict(made)[service]
    name = f"site/{service}"
    return [Location(name, "site", service, name, name, workdir=top / service, cores=request.cores)]


@pytest.mark.parametrize("floating", [False, True])
def test_each_task_has_a_location_of_its_size_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floating: bool
) -> None:
    made.clear()
    for function in (tailor, discard, locations):
        monkeypatch.setattr(LocalConnector, function.__name__, function)
    monkeypatch.setattr(LocalConnector, "ephemeral", True)
    monkeypatch.setattr(LocalConnector, "on_controller", False)
    monkeypatch.setattr(Deployment, "tailors", property(lambda one: one.name == "site"))
    site = Deployment("site", "local", LocalOptions(), workdir=PurePosixPath(tmp_path / "site"))
    here = tmp_path / "here"
    here.mkdir()
    binding = Binding(("*",), (), (Target("site"),))
    companion = Companion(here / "streamflow.yml", (binding,), deployments={"site": site})
    ends: queue.Queue[tuple[str, Exception | None]] = queue.Queue()
    run = Engine(companion, here, log=logging.getLogger("test"))
    driver = Driver(
        run,
        done=lambda task, error: ends.put((task.rule, error)),
        maker=lambda path: None,
        later=tuple,
        keep_incomplete=False,
    )

    def task(rule: str, cores: int, script: str) -> Task:
        outputs = (Output(f"{rule}.txt", home=not floating),)
        member = Member(rule, lambda path_of, tmpdir: Command(script, "sh"), outputs)
        return Task(f"t-{rule}", rule, rule, None, Request(cores), (), (member,), {}, floating=floating)

    run.launch()
    try:
        driver.submit([task("a", 1, "echo a >a.txt"), task("b", 2, "echo b >b.txt"), task("c", 3, "")])
        found = dict(ends.get(timeout=20) for _ in range(3))
        assert isinstance(found.pop("c"), SiteError)
        assert found == {"a": None, "b": None}
        assert sorted(request.cores for _, request in made) == [1, 2]
        assert there == set()
        assert [site.location.name for site in run.sites if site.location.deployment == "site"] == []
        assert [(here / f"{name}.txt").read_text() for name in "ab"] == ["a\n", "b\n"]
    finally:
        assert run.take_down() == []
        run.stop()

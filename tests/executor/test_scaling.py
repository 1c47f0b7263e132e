"""Replicas of a service come with the jobs that wait, and go when they are idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..servers.docker import DockerEngine, busybox_image, docker_engine  # noqa: F401 - fixtures
from .running import wait_until, write_workflow
from .test_elastic import Going, run_of

SNAKEFILE = """
    rule all:
        input: "last.txt"
    rule slow:
        output: "slow/{number}.txt"
        shell: "hostname > {output}; sleep 1"
    rule pause:
        input: expand("slow/{number}.txt", number=range(10))
        output: "pause.txt"
        shell: "until [ -e go ]; do sleep 0.1; done; cat {input} > {output}"
    rule slow_last:
        input: "pause.txt"
        output: "last.txt"
        shell: "cp {input} {output}"
    """
BINDINGS = """\
version: v1.0
bindings:
  - rule: "slow*"
    target: {deployment: box}
deployments:
"""
DOCKER = """\
  box:
    type: docker
    config: {image: IMAGE, pull: never, dockerHost: ADDRESS, cores: 1, replicas: {min: 1, max: 3, idle: 3}}
"""
COMPOSE = """\
  box:
    type: docker-compose
    config: {files: [compose.yml], host: ADDRESS, timeout: 0, cores: 1, scale: {tool: {min: 1, max: 3, idle: 3}}}
"""
PROJECT = "services: {tool: {image: IMAGE, command: [sleep, '3600'], pull_policy: never, network_mode: none}}"


@pytest.mark.parametrize(("kind", "label"), [(DOCKER, "streamflow.run={}"), (COMPOSE, "com.docker.compose.project={}")])
def test_containers_come_with_the_jobs_that_wait_and_go_when_they_are_idle(
    tmp_path: Path, docker_engine: DockerEngine, busybox_image: str, kind: str, label: str
) -> None:
    def filled(text: str) -> str:
        return text.replace("IMAGE", busybox_image).replace("ADDRESS", docker_engine.address)

    work = write_workflow(tmp_path, SNAKEFILE, filled(BINDINGS + kind))
    (work / "compose.yml").write_text(filled(PROJECT))
    with Going(work, "--jobs", "20") as run, docker_engine.client() as client:
        run.until("deployment box is up")
        name = run_of(work)
        chosen = label.format(name if "run" in label else f"streamflow-{name}-box")

        def count() -> int:
            return len(client.api.containers(filters={"label": chosen}))

        run.until("jobs wait: 3 instead of 1")
        wait_until(lambda: count() == 3, 20)
        run.until("10 of 13 steps")
        wait_until(lambda: count() == 1, 20)
        (work / "go").touch()
        assert run.end() == 0, run.text
        wait_until(lambda: count() == 0)
    hosts = (work / "last.txt").read_text().split()
    assert len(hosts) == 10
    assert len({*hosts}) == 3

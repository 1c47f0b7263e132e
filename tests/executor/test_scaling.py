"""Replicas of a service come with the jobs that wait, and go when they are idle."""

from __future__ import annotations

import time
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
    rule uses:
        input: expand("slow/{number}.txt", number=range(10))
        output: "uses.txt"
        shell: "sleep USED; env | grep TOOL_HOSTS > {output} || true"
    rule slow_last:
        input: "pause.txt", "uses.txt"
        output: "last.txt"
        shell: "cp pause.txt {output}"
    """
BINDINGS = """\
version: v1.0
bindings:
  - rule: "slow*"
    target: {deployment: boxSERVICE}
"""
DOCKER = """\
deployments:
  box:
    type: docker
    config: {image: IMAGE, pull: never, dockerHost: ADDRESS, cores: 1, replicas: {min: 1, max: 3, idle: 2}}
"""
COMPOSE = """\
  - rule: uses
    target: {deployment: box, service: other, needs: tool}
deployments:
  box:
    type: docker-compose
    config: {files: [compose.yml], host: ADDRESS, timeout: 0, cores: 1, scale: {tool: {min: 1, max: 3, idle: 2}}}
"""
SERVICE = "{image: IMAGE, command: [sleep, '3600'], pull_policy: never, network_mode: none}"
PROJECT = f"services: {{tool: {SERVICE}, other: {SERVICE}}}"
USED_S = 5
"""How long a job needs the replicas; they would go after two seconds, and half of one."""


@pytest.mark.parametrize(
    ("kind", "label"),
    [(DOCKER, "streamflow.run={}"), (COMPOSE, "com.docker.compose.project={}")],
    ids=["docker", "compose"],
)
def test_containers_come_with_the_jobs_that_wait_and_go_when_they_are_idle(
    tmp_path: Path, docker_engine: DockerEngine, busybox_image: str, kind: str, label: str
) -> None:
    def filled(text: str) -> str:
        return text.replace("IMAGE", busybox_image).replace("ADDRESS", docker_engine.address)

    used = kind is COMPOSE
    service = ", service: tool" if used else ""
    companion = filled(BINDINGS.replace("SERVICE", service) + kind)
    work = write_workflow(tmp_path, SNAKEFILE.replace("USED", str(USED_S if used else 0)), companion)
    (work / "compose.yml").write_text(filled(PROJECT))
    with Going(work, "--jobs", "20") as run, docker_engine.client() as client:
        run.until("deployment box is up")
        name = run_of(work)
        chosen = label.format(name if "run" in label else f"streamflow-{name}-box")

        def count() -> int:
            labels = [chosen, "com.docker.compose.service=tool"] if used else [chosen]
            return len(client.api.containers(filters={"label": labels}))

        run.until("jobs wait: 3 instead of 1")
        wait_until(lambda: count() == 3, 20)
        run.until("10 of 14 steps")
        if used:
            time.sleep(USED_S - 1)
            assert count() == 3, "a job was told of them"
        wait_until(lambda: count() == 1, 20)
        (work / "go").touch()
        assert run.end() == 0, run.text
        wait_until(lambda: count() == 0)
    hosts = (work / "last.txt").read_text().split()
    assert len(hosts) == 10
    assert not used or (work / "uses.txt").read_text().count(",") == 2
    assert len({*hosts}) == 3

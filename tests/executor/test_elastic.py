"""Deployments are up as long as something needs them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from ..servers.docker import DockerEngine, busybox_image, docker_engine  # noqa: F401 - fixtures
from ..storage.floating import FLOATING
from .running import command, environment, wait_until, write_workflow

SNAKEFILE = """
    rule all:
        input: "last.txt"
    rule first:
        output: "first.txt"
        shell: "echo {rule} > {output}"
    checkpoint split:
        input: "first.txt"
        output: directory("parts")
        shell: "until [ -e go1 ]; do sleep 0.05; done; mkdir {output}; cp {input} {output}/1"
    def parts(wildcards):
        return [f"{checkpoints.split.get().output[0]}/1"]
    rule last:
        input: parts
        output: "last.txt"
        shell: "until [ -e go2 ]; do sleep 0.05; done; cp {input} {output}"
    """
COMPANION = """\
version: v1.0
bindings:
  - {{rule: first, target: {{deployment: box}}}}
deployments:
  box: {{type: docker, config: {{image: "{image}", pull: never, dockerHost: "{address}"}}}}
"""


@pytest.mark.parametrize("floating", [False, True])
def test_a_deployment_goes_when_the_rest_of_the_run_does_not_need_it(
    tmp_path: Path,
    docker_engine: DockerEngine,
    busybox_image: str,
    floating: bool,
) -> None:
    work = write_workflow(tmp_path, SNAKEFILE, COMPANION.format(image=busybox_image, address=docker_engine.address))
    log = work / "log"
    with log.open("w") as out:
        run = subprocess.Popen(
            command(*(FLOATING if floating else ())), cwd=work, env=environment(), stdout=out, stderr=out
        )

    def taken_down() -> bool:
        return "deployment box is taken down" in log.read_text()

    def until(condition: str) -> None:
        wait_until(lambda: condition in log.read_text() or run.poll() is not None, 60)
        assert run.poll() is None, log.read_text()

    try:
        until("1 of 4 steps")
        time.sleep(2)
        assert not taken_down(), "a checkpoint may send more jobs there"
        (work / "go1").touch()
        until("2 of 4 steps")
        begin = time.monotonic()
        until("deployment box is taken down")
        assert time.monotonic() - begin < 2
        with docker_engine.client() as client:
            wait_until(lambda: not client.containers.list(filters={"label": "streamflow.deployment=box"}))
        (work / "go2").touch()
        assert run.wait(60) == 0, log.read_text()
    finally:
        run.kill()
        run.wait()
    assert (work / "last.txt").read_text() == "first\n"

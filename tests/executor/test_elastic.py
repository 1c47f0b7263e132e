"""Deployments are up as long as something needs them."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest

from ..servers.docker import DockerEngine, busybox_image, docker_engine  # noqa: F401 - fixtures
from .running import FLOATING, command, environment, wait_until, write_workflow

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
  - {{rule: "first*", target: {{deployment: box}}}}
deployments:
  box: {{type: docker, config: {{image: "{image}", pull: never, dockerHost: "{address}"}}}}
"""
FAILING = """
    rule all:
        input: "after.txt", "last.txt"
    rule first:
        output: "first.txt"
        shell: "echo {rule} > {output}"
    rule fails:
        input: "first.txt"
        output: "failed.txt"
        shell: "exit 3"
    rule first_after:
        input: "failed.txt"
        output: "after.txt"
        shell: "cp {input} {output}"
    rule last:
        input: "first.txt"
        output: "last.txt"
        shell: "until [ -e go2 ]; do sleep 0.05; done; cp {input} {output}"
    """

TAKEN_DOWN = "deployment box is taken down"


class Going:
    """A run that goes on, and what it has printed."""

    def __init__(self, work: Path, *args: str) -> None:
        self.work, self._log = work, work / "log"
        with self._log.open("w") as out:
            self._process = subprocess.Popen(command(*args), cwd=work, env=environment(), stdout=out, stderr=out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def text(self) -> str:
        return self._log.read_text()

    def until(self, text: str) -> None:
        """Wait until it prints something; it must not end before."""
        wait_until(lambda: text in self.text or self._process.poll() is not None, 60)
        assert self._process.poll() is None, self.text

    def end(self) -> int:
        return self._process.wait(60)


@pytest.mark.parametrize("floating", [False, True])
def test_a_deployment_goes_when_the_rest_of_the_run_does_not_need_it(
    tmp_path: Path, docker_engine: DockerEngine, busybox_image: str, floating: bool
) -> None:
    work = write_workflow(tmp_path, SNAKEFILE, COMPANION.format(image=busybox_image, address=docker_engine.address))
    with Going(work, *(FLOATING if floating else ())) as run:
        run.until("1 of 4 steps")
        time.sleep(2)
        assert TAKEN_DOWN not in run.text, "a checkpoint may send more jobs there"
        (work / "go1").touch()
        run.until("2 of 4 steps")
        begin = time.monotonic()
        run.until(TAKEN_DOWN)
        assert time.monotonic() - begin < 4, "half of it when nothing else runs on this machine"
        with docker_engine.client() as client:
            wait_until(lambda: not client.api.containers(filters={"label": f"streamflow.run={run_of(work)}"}))
        (work / "go2").touch()
        assert run.end() == 0, run.text
    assert (work / "last.txt").read_text() == "first\n"


def test_jobs_that_cannot_run_any_more_need_nothing(
    tmp_path: Path, docker_engine: DockerEngine, busybox_image: str
) -> None:
    work = write_workflow(tmp_path, FAILING, COMPANION.format(image=busybox_image, address=docker_engine.address))
    with Going(work, "--keep-going") as run:
        run.until(TAKEN_DOWN)
        assert "Error in rule fails" in run.text
        (work / "go2").touch()
        assert run.end() == 1, run.text
    assert (work / "last.txt").read_text() == "first\n"


def run_of(work: Path) -> str:
    with closing(sqlite3.connect(work / ".snakemake/streamflow/journal.db")) as journal:
        (found,) = journal.execute("SELECT id FROM runs").fetchone()
    return str(found)

"""An engine of its own that is stopped, and started again, while a job runs in its containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import DockerException
from requests.exceptions import RequestException

from ..servers import docker
from .running import command, environment, wait_until, write_workflow

SNAKEFILE = """
    rule all:
        input: "out.txt"
    rule slow:
        output: "out.txt"
        shell: "echo run >> /shared/runs; sleep 3; cp /shared/runs {output}"
    """
COMPANION = """\
version: v1.0
bindings:
  - {rule: "*", target: {deployment: box}}
deployments:
  box: {type: docker, config: {image: IMAGE, pull: never, dockerHost: "ADDRESS", volume: ["SHARED:/shared"]}}
"""


class PrivateEngine(docker.DockerEngine):
    """A dockerd in a network namespace of its own, beside the one of the other tests."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.address = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert program, "no dockerd: `apt-get install docker.io`"
        argv = ["unshare", "--net", program, "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        argv += ["-H", self.address, "-p", f"{self.folder}/pid", "--bridge", "none", "--iptables=false", *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(self._answers)

    def stop(self) -> None:
        """End it, and wait for that."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            with self.client() as client:
                client.ping()
        except (DockerException, RequestException):
            return False
        return True


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    folder = tmp_path_factory.mktemp("engine")
    private = PrivateEngine(folder)
    try:
        yield private
    finally:
        if private._process is not None:
            with private.client() as client:
                for container in client.containers.list(all=True, ignore_removed=True):
                    container.remove(force=True)
            private.stop()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (point := line.split()[1]).startswith(f"{folder}/"):
                subprocess.run(["umount", "-l", point], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def run_and_restart(tmp_path: Path, engine: PrivateEngine, *options: str) -> tuple[str, str]:
    """Run the workflow, restart the engine once its job runs, and return what was printed and the output."""
    shared = tmp_path / "shared"
    shared.mkdir()
    engine.start(*options)
    image = docker.ensure(engine, docker.BUSYBOX_IMAGE, docker.busybox_tree, ["ENV PATH=/bin"])
    companion = COMPANION.replace("IMAGE", image).replace("ADDRESS", engine.address).replace("SHARED", str(shared))
    work = write_workflow(tmp_path, SNAKEFILE, companion)
    run = subprocess.Popen(
        command(), cwd=work, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_until(lambda: (shared / "runs").exists() or run.poll() is not None)
        assert run.poll() is None, run.communicate()[0]
        engine.stop()
        time.sleep(1)
        engine.start(*options)
        text, _ = run.communicate(timeout=60)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0, text
    return text, (work / "out.txt").read_text()


def test_a_job_survives_an_engine_that_keeps_its_containers(tmp_path: Path, engine: PrivateEngine) -> None:
    text, output = run_and_restart(tmp_path, engine, "--live-restore")
    assert output == "run\n"
    assert "connection lost" in text
    assert "Trying again" not in text


def test_a_job_runs_anew_when_the_engine_has_lost_its_containers(tmp_path: Path, engine: PrivateEngine) -> None:
    text, output = run_and_restart(tmp_path, engine, "--shutdown-timeout", "1")
    assert output == "run\nrun\n"
    assert "connection lost" in text
    assert "all its locations are gone: bringing it up again" in text

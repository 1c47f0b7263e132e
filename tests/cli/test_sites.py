"""The command after runs at ssh hosts, and after runs that were killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.journal import State
from snakemake_executor_plugin_streamflow.plan import Replica

from ..executor.running import command, environment, processes, run_workflow, wait_until, write_workflow
from ..servers.docker import DockerEngine, debian_image, docker_engine  # noqa: F401
from ..servers.slurm import Slurm, slurm  # noqa: F401
from ..servers.ssh import SshHosts, ssh_hosts  # noqa: F401
from .commands import cli, journal_of

SNAKEFILE = """
    rule all:
        input: "big.bin.copy", "d"
    rule copy:
        input: "big.bin"
        output: "big.bin.copy"
        shell: "cp {input} {output}"
    rule folder_two:
        input: "big.bin.copy"
        output: directory("d")
        shell: "mkdir {output}; head -c 1000 {input} > {output}/head"
    """
SLEEPERS = """
    rule all:
        input: "far", "near"
    rule far:
        input: "in/x.txt"
        output: "far"
        shell: "sleep {SECONDS}; touch {output}"
    rule near:
        output: "near"
        shell: "sleep {SECONDS}; touch {output}"
    """
QUEUED = """
    rule all:
        input: "first", "second"
    rule one:
        output: "{n}"
        threads: 4
        resources: nodes=3
        shell: "sleep 1000; touch {output}"
    """
SLURM = """\
version: v1.0
bindings:
  - {rule: one, target: {deployment: cluster, service: main}}
deployments:
  cluster:
    type: slurm
    config: {services: {main: {partition: main}}}
"""
SECONDS = str(100_000 + os.getpid())


@pytest.fixture
def companion(ssh_hosts: SshHosts) -> Iterator[str]:
    """Two hosts, whose folders are removed afterwards."""
    config = f"username: root, sshKey: {ssh_hosts.key}, knownHosts: {ssh_hosts.known_hosts}, configFile: /dev/null"
    deployments = "".join(
        f"  {name}: {{type: ssh, workdir: /root/cli, config: {{nodes: [{host}], connectTimeout: 2, {config}}}}}\n"
        for name, host in zip(("one", "two"), ssh_hosts.hosts, strict=False)
    )
    yield (
        "version: v1.0\nbindings:\n"
        '  - {rule: "*_two", target: {deployment: two}}\n  - {rule: [copy, far], target: {deployment: one}}\n'
        f"deployments:\n{deployments}"
    )
    for i in (1, 2):
        ssh_hosts.run(i, "rm -rf /root/cli")


def test_files_at_hosts_are_seen_fetched_and_removed(
    tmp_path: Path,
    companion: str,
    ssh_hosts: SshHosts,
) -> None:
    def prepare(work: Path) -> None:
        (work / "big.bin").write_bytes(os.urandom(3 << 20))

    work = run_workflow(tmp_path, SNAKEFILE, companion, prepare=prepare).work
    one, two = (f"{name}/{host}" for name, host in zip(("one", "two"), ssh_hosts.hosts, strict=True))
    said = cli(work, "data", "verify", "--json")
    assert {r["filesystem"] for r in said.data["replicas"]} == {"controller", one, two}
    places = cli(work, "data", "where", "d", "--look", "--json").data["replicas"]
    assert places[1]["place"] == f"{two}:/root/cli/d"

    content = (work / "big.bin").read_bytes()
    for path in ("big.bin", "big.bin.copy"):
        (work / path).unlink()
    ssh_hosts.run(1, "echo x > /root/cli/big.bin.copy")
    shutil.rmtree(work / "d")
    said = cli(work, "data", "get", "big*", "d", "--json")
    assert {r["path"]: r["from"] for r in said.data["brought"]} == {"big.bin": one, "big.bin.copy": two, "d": two}
    assert (work / "big.bin").read_bytes() == (work / "big.bin.copy").read_bytes() == content
    assert (work / "d" / "head").stat().st_size == 1000
    cli(work, "data", "verify", "--repair")

    ssh_hosts.stop(2)
    try:
        said = cli(work, "data", "verify", code=1)
        assert "not reachable" in said.text
        said = cli(work, "data", "rm", "big*", "--yes", code=1)
        assert f"NOT removed: {two}" in said.text
    finally:
        ssh_hosts.start(2)
    assert ssh_hosts.run(1, "cd /root/cli && ls big*").stdout == "big.bin.copy\n", "changed: nobody knows what it is"
    assert ssh_hosts.run(2, "cd /root/cli && ls").stdout == "big.bin.copy\nd\n"
    cli(work, "data", "rm", ".", "--yes")
    assert ssh_hosts.run(2, "cd /root/cli && ls").stdout == ""
    assert (work / "big.bin").exists()


def test_what_a_killed_run_left_is_cleaned_up(
    tmp_path: Path,
    companion: str,
    ssh_hosts: SshHosts,
) -> None:
    work = write_workflow(tmp_path, SLEEPERS.replace("{SECONDS}", SECONDS), companion)
    (work / "in").mkdir()
    (work / "in" / "x.txt").write_text("x")
    jobs = ssh_hosts.root(1) / "root/cli/.streamflow/jobs"
    with killed(work) as run:
        wait_until(lambda: len(processes(f"sleep\0{SECONDS}")) == 2)
        wait_until(lambda: "in/x.txt" in cli(work, "data", "ls", code=None).text)
        assert f"process {run.pid}" in cli(work, "cleanup", code=2).errors
    (job,) = (path.name for path in jobs.iterdir())
    host = f"one/{ssh_hosts.hosts[0]}"
    assert "died" in cli(work, "status").text

    # what transfers leave behind when nobody ends them, a file of the user's, and a job that failed
    ssh_hosts.run(1, "cd /root/cli; mkdir -p .streamflow/in/0a1b; echo x > in/.sf-0123456789ab; echo x > in/mine")
    ssh_hosts.run(1, "cd /root/cli/.streamflow/jobs; mkdir failed-1; echo why > failed-1/stderr")
    (work / "in" / ".sf-aabbccddeeff").mkdir()
    with journal_of(work) as journal:
        (dead,) = journal.runs()
        journal.add_task("failed-1", run=dead.id, job="failed-1", rule="far", outputs=["far"])
        journal.change_task("failed-1", State.FAILED, location=host, directory="/root/cli/.streamflow/jobs/failed-1")

    said = cli(work, "cleanup", "--dry-run", "--json")
    assert said.data["locations"][host] == {
        "running": [job],
        "queued": [],
        "ended": [],
        "transfers": ["0a1b", "in/.sf-0123456789ab"],
    }
    assert len(processes(f"sleep\0{SECONDS}")) == 2
    said = cli(work, "cleanup")
    assert f"{host}: job {job} ended" in said.text
    assert processes(f"sleep\0{SECONDS}") == []
    assert [path.name for path in jobs.iterdir()] == ["failed-1"]
    left = ssh_hosts.run(1, "cd /root/cli; ls -A in .streamflow/in")
    assert left.stdout.split() == [".streamflow/in:", "in:", "mine", "x.txt"]
    assert os.listdir(work / "in") == ["x.txt"]
    assert "Nothing is left" in cli(work, "cleanup").text
    with journal_of(work) as journal:
        assert journal.unfinished("") == []
        assert journal.runs()[-1].ended is not None


def test_jobs_that_wait_and_run_in_a_queue_are_cancelled(tmp_path: Path, slurm: Slurm) -> None:
    work = write_workflow(tmp_path, QUEUED, SLURM)
    with killed(work) as run:
        wait_until(lambda: sorted(slurm.said("squeue --noheader --format=%T").split()) == ["PENDING", "RUNNING"])
        run.send_signal(signal.SIGKILL)
    running, pending = sorted(path.name for path in (work / ".streamflow/jobs").iterdir() if path.name[0] != ".")
    said = cli(work, "cleanup", "--dry-run", "--json")
    (there,) = (left for left in said.data["locations"].values() if left["queued"])
    assert sorted(there["queued"]) == [running, pending]
    assert len(slurm.said("squeue --noheader").splitlines()) == 2
    assert "cancelled in its queue" in cli(work, "cleanup").text
    wait_until(lambda: slurm.said("squeue --noheader --states=PENDING,RUNNING,COMPLETING") == "")
    assert list((work / ".streamflow/jobs").iterdir()) == []
    assert "Nothing is left" in cli(work, "cleanup").text


def test_containers_of_a_killed_run_are_taken_down(
    tmp_path: Path,
    docker_engine: DockerEngine,
    debian_image: str,
) -> None:
    config = f"{{image: '{debian_image}', dockerHost: '{docker_engine.address}', pull: never}}"
    (tmp_path / "streamflow.yml").write_text(
        f"version: v1.0\nbindings: []\ndeployments:\n  box: {{type: docker, config: {config}}}\n"
    )
    run = subprocess.run([sys.executable, "-c", BRING_UP], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == -signal.SIGKILL, run.stderr
    (up,) = cli(tmp_path, "deployments", "--json", code=1).data["deployments"]
    assert (up["name"], up["type"], up["run_state"]) == ("box", "docker", "died")
    label = up["what"].split()[2]
    assert label == f"label=streamflow.run={up['run']}"
    assert containers(docker_engine, label) == 1

    said = cli(tmp_path, "data", "where", "a", "--look", "--json", code=1).data["replicas"]
    assert said[1]["state"] == "gone", "the container is looked at"
    assert said[1]["place"].startswith("box/1:/")

    assert "would be taken down" in cli(tmp_path, "cleanup", "--dry-run").text
    assert containers(docker_engine, label) == 1
    assert "taken down" in cli(tmp_path, "cleanup").text
    assert containers(docker_engine, label) == 0
    cli(tmp_path, "deployments")
    assert "is not in the journal" in cli(tmp_path, "data", "where", "b", code=2).errors, "it went with its container"
    with journal_of(tmp_path) as journal:
        journal.apply([Replica("b", "box/1", "1", 1, 1)])
    assert "box is not up" in cli(tmp_path, "data", "get", "b", code=1).text


BRING_UP = """
import asyncio, logging, os, signal, time
from pathlib import Path
from snakemake_executor_plugin_streamflow.config import read_companion
from snakemake_executor_plugin_streamflow.connect.lifecycle import Lifecycle
from snakemake_executor_plugin_streamflow.journal import Journal
from snakemake_executor_plugin_streamflow.plan import Replica

journal = Journal(Path(".snakemake/streamflow/journal.db"))
journal.start_run("dead1", time.time())
journal.apply([Replica("a", name, "1", 1, 1) for name in ("controller", "box/1")] + [Replica("b", "box/1", "1", 1, 1)])

def record(deployment, what):
    if what is None:
        journal.remove_deployment(deployment.name, "dead1")
    else:
        journal.add_deployment(deployment.name, "dead1", deployment.type, what)

async def main():
    companion = read_companion(Path("streamflow.yml").absolute(), os.environ)
    await Lifecycle(companion, "dead1", logging.getLogger(), record).up("box")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@contextmanager
def killed(work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run that is killed in the end."""
    with subprocess.Popen(
        command(), cwd=work, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as run:
        try:
            yield run
        finally:
            run.kill()


def containers(engine: DockerEngine, label: str) -> int:
    """How many containers have a label."""
    with engine.client() as client:
        mine = {"label": label.removeprefix("label=")}
        return len(client.containers.list(all=True, ignore_removed=True, filters=mine))

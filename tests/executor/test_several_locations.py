"""Jobs on several locations at once: MPI between ssh hosts that cannot log in to each other."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.remote import launch

from ..servers.docker import DockerEngine, busybox_image, docker_engine  # noqa: F401 - fixtures
from ..servers.ssh import SshHosts
from .running import command, environment, processes, run_workflow, wait_until, write_workflow

EXAMPLE = Path(__file__).parents[2] / "examples" / "mpi"
COMPANION = """\
version: v1.0
bindings:
  - {{rule: compile, target: {{deployment: farm}}}}
  - {{rule: "*", target: {{deployment: farm, locations: 4}}}}
deployments:
  farm:
    type: ssh
    workdir: /root/work
    config: {{nodes: [{nodes}], username: root, sshKey: {key}, knownHosts: {known}, configFile: /dev/null, cores: 1}}
"""


@pytest.fixture(scope="module")
def companion() -> Iterator[str]:
    with SshHosts(4) as hosts:
        yield COMPANION.format(nodes=", ".join(hosts.hosts), key=hosts.key, known=hosts.known_hosts)


def example(work: Path) -> None:
    for name in ("sum.c", "numbers.txt"):
        shutil.copy(EXAMPLE / name, work / name)


def expected() -> int:
    n = int((EXAMPLE / "numbers.txt").read_text())
    return sum(i * i % 1000003 for i in range(n))


def test_plain_mpirun_runs_on_all_locations_of_a_job(tmp_path: Path, companion: str) -> None:
    """Also where the launcher's path has what Open MPI would take it apart at."""
    companion = companion.replace("/root/work", '"/root/my: work"')
    run = run_workflow(tmp_path, (EXAMPLE / "Snakefile").read_text(), companion, prepare=example)
    assert int((run.work / "results/sum.txt").read_text()) == expected()
    said = (run.work / "logs/add.txt").read_text().splitlines()
    ranks = sorted(line for line in said if line.startswith("rank "))
    assert [line.split(" on ")[0] for line in ranks] == [f"rank {number} of 4" for number in range(4)], said
    assert len({line.split(" on ")[1] for line in ranks}) == 4, said


def test_mpich_is_told_of_no_launcher_that_it_cannot_use() -> None:
    assert launch.environment("/w/jobs/a", ["h"], 1)["HYDRA_LAUNCHER_EXEC"] == "/w/jobs/a/launch"
    assert "HYDRA_LAUNCHER_EXEC" not in launch.environment("/my w/jobs/a", ["h"], 1)
    assert not any(name.startswith("HYDRA") for name in launch.elsewhere(launch.environment("/w", ["h"], 1)))


def test_the_launcher_is_used_like_ssh(tmp_path: Path, companion: str) -> None:
    snakefile = """
        rule all:
            output: "out.txt"
            threads: 1
            shell:
                '''
                other=$(tail -n 1 "$STREAMFLOW_HOSTFILE" | cut -d' ' -f1)
                echo $STREAMFLOW_LOCATIONS $STREAMFLOW_RANKS $(tail -n 1 "$STREAMFLOW_MACHINEFILE") > {output}
                "$STREAMFLOW_LAUNCHER" -x root@$other hostname "; pwd; printf 'wro\\\\0ng\\\\n' >&2; exit 7" >> {output} 2> err || echo $? $(cat err) >> {output}
                "$STREAMFLOW_LAUNCHER" nowhere true 2> err || echo $? $(cat err) >> {output}
                mpiexec.hydra hostname | sort -u >> {output}
                '''
        """  # noqa: E501
    run = run_workflow(tmp_path, snakefile, companion)
    counts, host, folder, failed, nowhere, *hosts = (run.work / "out.txt").read_text().splitlines()
    assert counts.startswith("4 4 10.")
    assert counts.endswith(":1")
    assert folder.startswith("/root/work")
    assert failed == "7 wrong"
    assert nowhere.startswith("255 nowhere is no location of this job; these are: 10.")
    assert hosts == ["h1", "h2", "h3", "h4"]
    assert host in hosts


def test_ctrl_c_ends_a_job_at_all_its_locations(tmp_path: Path, companion: str) -> None:
    marker = f"{sleep_s()}"
    snakefile = f"rule all:\n    output: 'out.txt'\n    shell: 'mpirun sleep {marker}'\n"
    work = write_workflow(tmp_path, snakefile, companion)
    run = subprocess.Popen(command(), cwd=work, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        # four ranks, and mpirun
        wait_until(lambda: len(processes(f"sleep\0{marker}")) == 5 or run.poll() is not None)
        assert run.poll() is None, run.communicate()[1]
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=30)
    finally:
        run.kill()
        run.wait()
    wait_until(lambda: not processes(f"sleep\0{marker}"), 5)


def sleep_s() -> int:
    """A time that no other process of this machine sleeps."""
    return 10_000_000 + os.getpid()


STACK = """\
services:
  db:
    image: IMAGE
    command: ["sh", "-c", "sleep 1; echo stored > /x; touch /ready; exec httpd -f -p 8080 -h /"]
    init: true
    stop_grace_period: 1s
    healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 100ms, timeout: 2s, retries: 100}
  worker:
    image: IMAGE
    command: sleep 1000
    init: true
    stop_grace_period: 1s
    deploy: {replicas: 2}
"""


def test_a_job_reaches_the_services_it_needs_and_its_other_locations_in_a_compose_project(
    tmp_path: Path,
    docker_engine: DockerEngine,
    busybox_image: str,
) -> None:
    snakefile = """
        rule all:
            output: "out.txt"
            shell:
                '''
                wget -qO {output} http://$STREAMFLOW_SERVICE_DB_HOST:8080/x
                for host in $(echo $STREAMFLOW_HOSTS | tr , ' '); do $STREAMFLOW_LAUNCHER $host hostname; done > hosts
                sort -u hosts | wc -l >> {output}
                echo $STREAMFLOW_SERVICE_DB_HOSTS $STREAMFLOW_SERVICE_DB_HOST >> {output}
                '''
        """
    (tmp_path / "compose.yaml").write_text(STACK.replace("IMAGE", busybox_image))
    companion = f"""\
version: v1.0
bindings:
  - {{rule: "*", target: {{deployment: stack, service: worker, locations: 2, needs: db}}}}
deployments:
  stack:
    type: docker-compose
    config: {{files: ["{tmp_path}/compose.yaml"], wait: false, host: "{docker_engine.address}"}}
"""
    run = run_workflow(tmp_path, snakefile, companion)
    stored, count, addresses = (run.work / "out.txt").read_text().splitlines()
    assert (stored, count) == ("stored", "2")
    assert len(set(addresses.split())) == 1


BOXES = """\
version: v1.0
bindings: [{{rule: "*", target: {{deployment: boxes, locations: 2}}}}]
deployments:
  boxes: {{type: docker, config: {{image: "{image}", pull: never, dockerHost: "{address}", replicas: 3}}}}
"""


def test_a_job_whose_other_location_is_lost_is_tried_again_on_the_infrastructures_account(
    tmp_path: Path, docker_engine: DockerEngine, busybox_image: str
) -> None:
    marker = f"{sleep_s()}"
    snakefile = f"""
        rule all:
            output: "out.txt"
            shell:
                '''
                other=$(echo $STREAMFLOW_HOSTS | cut -d, -f2)
                if [ -e /tried ]; then echo $other > {{output}}; exit; fi
                touch /tried; $STREAMFLOW_LAUNCHER $other "touch /tried; sleep {marker}"
                '''
        """
    companion = BOXES.format(image=busybox_image, address=docker_engine.address)
    work = write_workflow(tmp_path, snakefile, companion)
    run = subprocess.Popen(command(), cwd=work, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: processes(f"sleep\0{marker}") or run.poll() is not None)
        (sleeping,) = processes(f"sleep\0{marker}")
        cgroup = Path(f"/proc/{sleeping}/cgroup").read_text()
        with docker_engine.client() as client:
            (lost,) = (box for box in client.containers.list() if str(box.id) in cgroup)
            lost.kill()
        said = run.communicate(timeout=60)[1]
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0, said
    assert "lost one of its locations" in said
    assert "does not count as a retry" in said
    assert (work / "out.txt").read_text().strip()

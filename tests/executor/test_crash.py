"""Snakemake is killed in the middle of a run, and started again."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.journal import Journal

from ..servers.docker import DockerEngine, debian_image, docker_engine  # noqa: F401
from ..servers.ssh import SshHosts, ssh_hosts  # noqa: F401
from .running import FLOATING, again, command, environment, wait_until, write_workflow

SNAKEFILE = """
    rule all:
        input: "all.txt"
    rule one:
        input: "in.txt"
        output: "mid/{n}.txt"
        shell: "echo {wildcards.n} >>COUNTS; sleep 0.{wildcards.n}; (cat {input}; echo {wildcards.n}) > {output}"
    rule two:
        input: "mid/{n}.txt"
        output: "out/{n}.txt"
        shell: "echo t{wildcards.n} >>COUNTS; sleep 0.3; cat {input} > {output}"
    rule gather:
        input: expand("out/{n}.txt", n=range(1, 9))
        output: "all.txt"
        shell: "echo g >>COUNTS; cat {input} > {output}"
    """


@pytest.fixture
def companion(ssh_hosts: SshHosts) -> str:
    config = f"username: root, sshKey: {ssh_hosts.key}, knownHosts: {ssh_hosts.known_hosts}, configFile: /dev/null"
    sites = "".join(
        f"  s{n}: {{type: ssh, workdir: /root/crash, config: {{nodes: [{host}], {config}}}}}\n"
        for n, host in enumerate(ssh_hosts.hosts[:2])
    )
    return (
        "version: v1.0\nbindings:\n  - {rule: gather, target: {deployment: s0}}\n"
        '  - {rule: "*", target: [{deployment: s0}, {deployment: s1}], policy: spread}\n'
        f"deployments:\n{sites}"
    )


@pytest.mark.parametrize("mode", ["drop-in", "floating"])
def test_a_killed_run_is_gone_on_with(tmp_path: Path, companion: str, mode: str, ssh_hosts: SshHosts) -> None:
    ssh_hosts.run(1, "rm -rf /root/crash /root/counts")
    ssh_hosts.run(2, "rm -rf /root/crash /root/counts")
    work = write_workflow(tmp_path, SNAKEFILE.replace("COUNTS", "/root/counts"), companion)
    (work / "in.txt").write_text("in\n")
    args = FLOATING if mode == "floating" else []
    kills = 0
    for delay in (1.3, 1.6, 1.9):
        with (tmp_path / f"log{kills}").open("wb") as log:
            process = subprocess.Popen(
                command(*args), cwd=work, env=environment(), stdout=log, stderr=log, start_new_session=True
            )
            try:
                process.wait(delay + random.random() / 2)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
        again(tmp_path, "--unlock")
    run = again(tmp_path, *args)
    counts = sorted(word for host in (1, 2) for word in ssh_hosts.run(host, "cat /root/counts").stdout.split())
    expected = sorted(["g", *(f"{n}" for n in range(1, 9)), *(f"t{n}" for n in range(1, 9))])
    assert kills, "no run was killed"
    assert counts == expected, run.text
    assert (work / "all.txt").read_text() == "".join(f"in\n{n}\n" for n in range(1, 9))
    for host in (1, 2):
        left = ssh_hosts.run(host, "cd /root/crash; find . -name '.sf-*'; ls .streamflow/in .streamflow/jobs")
        assert left.stdout.split() == [".streamflow/in:", ".streamflow/jobs:"]


def test_a_job_whose_input_has_changed_since_or_that_was_ended_runs_anew(tmp_path: Path) -> None:
    companion = (
        'version: v1.0\nbindings: [{rule: "*", target: {deployment: box}}]\ndeployments:\n'
        f"  box: {{type: local, workdir: {tmp_path}/box}}\n"
    )
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    snakefile = f"""
    rule all:
        input: "out.txt", "late.txt"
    rule late:
        output: "late.txt"
        shell: "echo $$ >>{ended}; [ $(wc -l <{ended}) -gt 1 ] || sleep 60; echo late >{{output}}"
    rule copy:
        input: "in.txt"
        output: "out.txt"
        shell: "cat {{input}} >{{output}}; echo $$ >>{begun}; [ $(wc -l <{begun}) -gt 1 ] || sleep 60"
    """
    work = write_workflow(tmp_path, snakefile, companion)
    (work / "in.txt").write_text("old\n")
    process = subprocess.Popen(
        command(), cwd=work, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: all(file.exists() and file.read_text().endswith("\n") for file in (begun, ended)))
    finally:
        process.kill()
        process.wait()
    (work / "in.txt").write_text("new\n")
    os.kill(int(ended.read_text()), signal.SIGTERM)
    again(tmp_path, "--unlock")
    run = again(tmp_path)
    assert (work / "out.txt").read_text() == "new\n"
    assert (work / "late.txt").read_text() == "late\n"
    assert "It runs anew: it was started by an earlier run" in run.text
    assert run.text.count("goes on at") == 1
    first = Path("/proc", begun.read_text().split()[0], "stat")
    assert not first.exists() or first.read_text().rpartition(")")[2].split()[0] == "Z"
    # As if Snakemake had been killed after the output had come, before it had accepted it.
    state = work / ".snakemake"
    with Journal(state / "streamflow" / "journal.db", existing=True) as journal:
        tasks = (task for known in journal.runs() for task in journal.tasks(known.id) if task.rule == "copy")
        (job,) = (task.job for task in tasks if task.state == "accounted")
    (state / "incomplete" / base64.urlsafe_b64encode(b"out.txt").decode()).write_text(
        json.dumps({"external_jobid": job})
    )
    assert "1 of 1 steps (100%) done" in again(tmp_path, "out.txt").text
    assert len(begun.read_text().splitlines()) == 2


def test_jobs_at_several_locations_are_found_again(tmp_path: Path) -> None:
    """One that fails may have missed the run that was killed: it runs anew."""
    companion = (
        'version: v1.0\nbindings: [{rule: "*l", target: {deployment: pair, locations: 2}}]\ndeployments:\n'
        f"  pair: {{type: local, workdir: {tmp_path}/sites, config: {{locations: 2, cores: 2}}}}\n"
    )
    job = "printf x >>{log}; sleep 3; echo $STREAMFLOW_LOCATIONS >{{output}}; [ $(cat {log}) != x ] || exit {code}"
    rules = "".join(
        f"""
    rule {name}:
        output: "{name}.txt"
        shell: "{job.format(log=tmp_path / name, code=code)}"
    """
        for name, code in (("well", 0), ("ill", 1))
    )
    work = write_workflow(tmp_path, f"\n    rule all:\n        input: 'well.txt', 'ill.txt'\n{rules}", companion)
    process = subprocess.Popen(
        command(), cwd=work, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: (tmp_path / "well").exists() and (tmp_path / "ill").exists())
    finally:
        process.kill()
        process.wait()
    again(tmp_path, "--unlock")
    run = again(tmp_path)
    assert run.text.count("goes on at pair") == 2
    assert run.text.count("It runs anew") == 1
    assert ((tmp_path / "well").read_text(), (tmp_path / "ill").read_text()) == ("x", "xx")
    assert (work / "well.txt").read_text() == (work / "ill.txt").read_text() == "2\n"


def test_containers_of_a_killed_run_are_taken_down(
    tmp_path: Path,
    docker_engine: DockerEngine,
    debian_image: str,
) -> None:
    companion = (
        'version: v1.0\nbindings: [{rule: "*", target: {deployment: box}}]\ndeployments:\n'
        f"  box: {{type: docker, config: {{image: '{debian_image}', dockerHost: '{docker_engine.address}', "
        f"pull: never, volume: ['{tmp_path}:{tmp_path}']}}}}\n"
    )
    snakefile = """
    rule one:
        output: "a.txt"
        shell: "sleep 2; echo done > {output}"
    """
    work = write_workflow(tmp_path, snakefile, companion)
    process = subprocess.Popen(
        command(), cwd=work, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: containers(docker_engine, tmp_path))
    finally:
        process.kill()
        process.wait()
    again(tmp_path, "--unlock")
    again(tmp_path)
    assert not containers(docker_engine, tmp_path)


def containers(engine: DockerEngine, folder: Path) -> list[str]:
    """The containers of an engine that mount a folder."""
    asked = ["docker", "--host", engine.address, "ps", "--all", "--quiet", "--filter", f"volume={folder}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()

"""Slurm for real: from `snakemake --executor streamflow` to the nodes and back."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ..executor.running import again, command, environment, run_workflow, wait_until, write_workflow
from ..servers import slurm as servers
from ..servers.slurm import Slurm

slurm = servers.slurm

THREE_RULES = """
rule all:
    input: "results/report.txt"
rule count:
    input: "data/{s}.txt"
    output: "results/{s}.count"
    threads: 2
    resources: mem_mb=100, runtime=5
    shell: "echo $SLURM_CPUS_PER_TASK $SLURM_MEM_PER_NODE $(wc -w <{input}) >{output}"
rule join:
    input: expand("results/{s}.count", s=["a", "b", "c"])
    output: "results/join.txt"
    shell: "hostname >results/host; cat {input} >{output}"
rule report:
    input: "results/join.txt"
    output: "results/report.txt"
    shell: "cat {input} >{output}"
"""
CLUSTER = """\
version: v1.0
bindings:
  - {rule: "[cj]*", target: {deployment: cluster, service: main}}
deployments:
  cluster:
    type: slurm
    config: {services: {main: {partition: main}}}
"""


def inputs(work: Path) -> None:
    """Make the inputs."""
    (work / "data").mkdir()
    for name in "abc":
        (work / f"data/{name}.txt").write_text(f"one two {name}\n")


def test_a_workflow_runs_through_the_queue_with_the_resources_of_its_rules(tmp_path: Path, slurm: Slurm) -> None:
    run = run_workflow(tmp_path, THREE_RULES, CLUSTER, prepare=inputs)
    assert (run.work / "results/report.txt").read_text() == "2 100 3\n" * 3
    assert (run.work / "results/host").read_text().strip() in ("n1", "n2", "n3")
    assert run.jobs("cluster/main") == 4
    assert run.sent_mb("cluster/main") == 0


def test_several_locations_are_nodes_of_one_allocation(tmp_path: Path, slurm: Slurm) -> None:
    snakefile = """
    rule count:
        output: "out.txt"
        threads: 2
        shell: "srun hostname | sort > {output}; echo $STREAMFLOW_HOSTS $STREAMFLOW_LOCATIONS $STREAMFLOW_RANKS >> {output};"
               " cat $STREAMFLOW_HOSTFILE $STREAMFLOW_MACHINEFILE >> {output}"
    """  # noqa: E501
    companion = CLUSTER.replace("service: main}", "service: main, locations: 2}")
    run = run_workflow(tmp_path, snakefile, companion)
    one, two, *said = (run.work / "out.txt").read_text().splitlines()
    assert one != two
    assert said == [
        f"{one},{two} 2 4",
        *(f"{node} slots=2" for node in (one, two)),
        *(f"{node}:2" for node in (one, two)),
    ]


def test_a_site_of_its_own_gets_inputs_and_gives_outputs_back(tmp_path: Path, slurm: Slurm) -> None:
    companion = CLUSTER.replace("type: slurm", "type: slurm\n    workdir: SITES/cluster")
    run = run_workflow(tmp_path, THREE_RULES.replace("hostname >results/host; ", ""), companion, prepare=inputs)
    assert (run.work / "results/report.txt").read_text() == "2 100 3\n" * 3
    assert (run.sites / "cluster/results/a.count").exists()


def test_a_job_of_a_run_that_was_killed_goes_on_in_the_queue(tmp_path: Path, slurm: Slurm) -> None:
    snakefile = """
    rule count:
        output: "a.txt"
        shell: "echo x >>SITES/ran; sleep 4; echo done > {output}"
    """
    companion = CLUSTER.replace("type: slurm", "type: slurm\n    workdir: SITES/cluster")
    work = write_workflow(tmp_path, snakefile, companion)
    (tmp_path / "sites").mkdir(exist_ok=True)
    process = subprocess.Popen(
        command(), cwd=work, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until((tmp_path / "sites" / "ran").exists)
    finally:
        process.kill()
        process.wait()
    again(tmp_path, "--unlock")
    run = again(tmp_path)
    assert "goes on" in run.text
    assert (work / "a.txt").read_text() == "done\n"
    assert (tmp_path / "sites" / "ran").read_text() == "x\n"

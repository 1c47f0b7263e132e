"""Allocations that are held, on a real Slurm: nodes are locations like any other."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from ..executor.running import command, environment, run_workflow, wait_until, write_workflow
from ..servers import slurm as servers
from ..servers.slurm import Slurm
from .test_queue_slurm import THREE_RULES, inputs

slurm = servers.slurm

PACKED = """\
version: v1.0
bindings:
  - {rule: "[cj]*", policy: spread, target: {deployment: cluster}}
deployments:
  cluster:
    type: slurm
    WORKDIR
    config:
      services:
        main:
          partition: main
          pack: {nodes: 2, cores: 4, memory: 1GB, walltime: 10, idle: IDLE, shared: SHARED}
"""


def packed(*, workdir: str = "", idle: int = 60, shared: bool = True) -> str:
    """The companion file."""
    return (
        PACKED.replace("    WORKDIR\n", f"    workdir: {workdir}\n" if workdir else "")
        .replace("IDLE", str(idle))
        .replace("SHARED", str(shared).lower())
    )


RULES = THREE_RULES.replace("$SLURM_CPUS_PER_TASK $SLURM_MEM_PER_NODE", "2 100").replace("hostname >results/host; ", "")


def test_jobs_run_on_the_nodes_of_one_allocation_which_is_given_back(tmp_path: Path, slurm: Slurm) -> None:
    run = run_workflow(tmp_path, RULES, packed(), prepare=inputs)
    assert (run.work / "results/report.txt").read_text() == "2 100 3\n" * 3
    nodes = [node for node in ("n1", "n2", "n3") if run.jobs(f"cluster/main/{node}")]
    assert len(nodes) == 2
    assert sum(run.jobs(f"cluster/main/{node}") for node in nodes) == 4
    wait_until(lambda: not slurm.said("squeue -h"), 10)


def test_nodes_without_a_shared_filesystem_are_sites_of_their_own(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    with Slurm(2, private=[private]):
        run = run_workflow(tmp_path, RULES, packed(workdir=str(private / "w"), shared=False), prepare=inputs)
    assert (run.work / "results/report.txt").read_text() == "2 100 3\n" * 3
    assert run.sent_mb("cluster/main/n1") >= 0
    assert not list(private.rglob("*.count"))


def test_an_allocation_without_work_is_given_back_and_asked_for_anew(tmp_path: Path, slurm: Slurm) -> None:
    snakefile = """
    rule all:
        input: "late.txt"
    rule count:
        output: "early.txt"
        shell: "echo $SLURM_JOB_ID >{output}"
    rule wait:
        input: "early.txt"
        output: "waited.txt"
        shell: "while squeue -h | grep -q .; do sleep 0.5; done; cp {input} {output}"
    rule join:
        input: "waited.txt"
        output: "late.txt"
        shell: "echo $SLURM_JOB_ID >{output}"
    """
    started = time.monotonic()
    run = run_workflow(tmp_path, snakefile, packed(idle=4))
    assert time.monotonic() - started < 60
    early, late = ((run.work / name).read_text().strip() for name in ("early.txt", "late.txt"))
    assert early.isdigit()
    assert late.isdigit()
    assert early != late


def test_an_allocation_that_ends_before_it_is_used_is_asked_for_anew(tmp_path: Path, slurm: Slurm) -> None:
    blocker = slurm.said("sbatch --parsable -N3 --exclusive --wrap 'sleep 60'").strip()
    wait_until(lambda: slurm.said("squeue -h -t RUNNING"))
    work = write_workflow(tmp_path, RULES, packed())
    inputs(work)
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command(), cwd=work, env=environment(), stdout=said, stderr=said)
    try:
        wait_until(lambda: slurm.said("squeue -h -o %i").split() != [blocker])
        slurm.said("scancel " + " ".join(slurm.said("squeue -h -o %i").split()))
        assert process.wait(60) == 0, (tmp_path / "said").read_text()
    finally:
        process.kill()
    assert (work / "results/report.txt").read_text() == "2 100 3\n" * 3

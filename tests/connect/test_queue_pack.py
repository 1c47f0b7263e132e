"""Allocations that are held, on a real Slurm: nodes are locations like any other."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.connect.slurm import SlurmConnector
from snakemake_executor_plugin_streamflow.errors import DeployError
from snakemake_executor_plugin_streamflow.model import Deployment, SlurmOptions
from snakemake_executor_plugin_streamflow.model.queue_options import Pack, SlurmService

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
    blocker = slurm.said("sbatch --parsable -o /dev/null -N3 --exclusive --wrap 'sleep 60'").strip()
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


TOOLS = {
    "sbatch": "touch {0}/asked; sleep 0.5; cat {0}/next; echo 8 >{0}/next",
    "scancel": "echo $* >>{0}/cancelled; [ ! -e {0}/refuse ] || [ $1 != 7 ]",
    "squeue": "exit 0",
}


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *services: str) -> SlurmConnector:
    """Make commands that answer as Slurm's do, and a deployment of services that hold allocations; the first is 7."""
    (tmp_path / "next").write_text("7\n")
    for name, text in TOOLS.items():
        (tmp_path / name).write_text("#!/bin/sh\n" + text.format(tmp_path) + "\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    options = SlurmOptions(services={name: SlurmService(pack=Pack()) for name in services})
    return SlurmConnector(Deployment("d", "slurm", options), run="r", inner=None, log=logging.getLogger())


def test_an_allocation_is_given_back_that_the_queue_grants_when_nobody_wants_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = fake(tmp_path, monkeypatch, "one")

    async def check() -> None:
        deploying = asyncio.create_task(connector.deploy())
        while not (tmp_path / "asked").exists():
            await asyncio.sleep(0.02)
        deploying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deploying

    asyncio.run(check())
    assert (tmp_path / "cancelled").read_text() == "7\n"


def test_one_allocation_that_cannot_be_given_back_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = fake(tmp_path, monkeypatch, "one", "two")
    (tmp_path / "squeue").write_text("#!/bin/sh\necho '4|1000M|n1'\n")
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho n1\n")
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "refuse").touch()

    async def check() -> None:
        await connector.deploy()
        with pytest.raises(DeployError, match=r"d/one: its allocation could not be given back(.|\n)*scancel 7"):
            await connector.undeploy()
        assert (tmp_path / "cancelled").read_text() == "7\n8\n"
        (tmp_path / "refuse").unlink()
        await connector.undeploy()
        assert (tmp_path / "cancelled").read_text() == "7\n8\n7\n"

    asyncio.run(check())

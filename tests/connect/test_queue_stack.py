"""A container on a node that Slurm gives, through a login host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..executor.running import run_workflow, wait_until
from ..servers import slurm as servers
from ..servers.apptainer import apptainer_image  # noqa: F401 - fixture
from ..servers.login import Login
from ..servers.slurm import Slurm
from .test_queue_slurm import THREE_RULES, inputs

slurm = servers.slurm

EXAMPLE = Path(__file__).parents[2] / "examples/slurm/streamflow-container.yml"


@pytest.fixture
def login(slurm: Slurm) -> Iterator[Login]:
    """A login host of the cluster."""
    with Login(slurm.env) as host:
        yield host


def test_the_example_runs_a_workflow_in_a_container_on_a_held_node(
    tmp_path: Path,
    login: Login,
    slurm: Slurm,
    apptainer_image: Path,
) -> None:
    here = {
        "[align, sort, merge, index, call, depth]": '"[cj]*"',
        "login.example.org": f'"{login.address}"',
        "username: me": "username: root",
        "~/.ssh/id_ed25519": f"{login.key}, knownHosts: {login.known_hosts}",
        "/scratch/me/variants": "SITES/cluster",
        "normal, account: me": "main",
        "cores: 16, memory: 32GB, walltime: 120": "cores: 2, memory: 500MB, walltime: 10",
        "/scratch/me/tools.sif": str(apptainer_image),
    }
    companion = EXAMPLE.read_text()
    for example, own in here.items():
        assert example in companion
        companion = companion.replace(example, own)
    rules = THREE_RULES.replace("$SLURM_CPUS_PER_TASK $SLURM_MEM_PER_NODE", "$(ls -d /.singularity.d) $SLURMD_NODENAME")
    run = run_workflow(tmp_path, rules.replace("hostname >results/host; ", ""), companion, prepare=inputs)
    words = (run.work / "results/report.txt").read_text().split()
    assert words[0] == "/.singularity.d"
    assert words[1] in ("n1", "n2", "n3")
    assert words[2] == "3"
    assert run.jobs("tools/1") == 4
    wait_until(lambda: not slurm.said("squeue -h"), 10)

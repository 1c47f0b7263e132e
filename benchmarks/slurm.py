"""Many short jobs through a queue: 200 of 0.1 s on a real Slurm of three nodes.

    python benchmarks/slurm.py [direct|packed|plugin ...] [--jobs N]

direct: each job is one job of the queue; each prints the time of its end into its output, which is compared with the
moment at which Snakemake is told. Status calls are counted by a wrapper around squeue.
packed: the same jobs on the nodes of one allocation that is held, and on local sites with as many cores, in turn.
plugin: direct, and the same by snakemake-executor-plugin-slurm, in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import rig

from tests.servers.slurm import Slurm

JOBS = """
rule all:
    input: expand("out/{{i}}.txt", i=range({jobs}))

rule one:
    output: "out/{{i}}.txt"
    resources: mem_mb=300, runtime=5
    shell: "sleep 0.1; date +%s.%N > {{output}}"
"""
PARALLEL = 12
"""Cores of the three nodes."""
SLURM_PLUGIN = "snakemake-executor-plugin-slurm"


def service(**more: object) -> dict[str, object]:
    """A companion file for the cluster."""
    return rig.companion(
        ("cluster", {"type": "slurm", "config": {"services": {"main": {"partition": "main", **more}}}}), policy="spread"
    )


def told(record: str, args: list[str]) -> None:
    """Run Snakemake in this process, and note when it is told of the end of each job."""
    from snakemake.cli import main as run_snakemake
    from snakemake_interface_executor_plugins.executors.base import AbstractExecutor, SubmittedJobInfo

    lines: list[str] = []
    lock = threading.Lock()
    success = AbstractExecutor.report_job_success

    def note(self: AbstractExecutor, info: SubmittedJobInfo) -> None:
        now = time.time()
        with lock:
            lines.extend(f"{f} {now:.6f}\n" for f in info.job.output)
        success(self, info)

    AbstractExecutor.report_job_success = note
    try:
        run_snakemake(args)
    finally:
        Path(record).write_text("".join(lines))


def once(jobs: int, companion: dict[str, object] | None, args: list[str], python: str | None = None) -> float:
    """Run the jobs and return the seconds that the whole run took."""
    with rig.workflow(JOBS.format(jobs=jobs), companion) as folder:
        command = rig.snakemake(*args, "--jobs", str(jobs), "--quiet", "all", python=python or sys.executable)
        done = rig.run(command, folder)
        assert len(list(folder.glob("out/*.txt"))) == jobs, done.output[-2000:]
    return done.seconds


def direct(jobs: int) -> None:
    """Measure the delay of reports, and count status calls."""
    tools = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    real = shutil.which("squeue")
    (tools / "squeue").write_text(f'#!/bin/sh\necho "$(date +%s.%N)" >>{tools}/calls\nexec {real} "$@"\n')
    (tools / "squeue").chmod(0o755)
    with rig.workflow(JOBS.format(jobs=jobs), service()) as folder:
        args = ["--executor", "streamflow", "--jobs", str(jobs), "--quiet", "all"]
        started = time.time()
        env = {"PATH": f"{tools}:{os.environ['PATH']}"}
        done = rig.run([sys.executable, __file__, "--told", "record", "--", *args], folder, env)
        delays = []
        for line in (folder / "record").read_text().splitlines():
            path, reported = line.split()
            if path.startswith("out/"):
                delays.append(float(reported) - float((folder / path).read_text()))
    assert len(delays) == jobs, len(delays)
    calls = [float(line) for line in (tools / "calls").read_text().split()]
    shutil.rmtree(tools)
    gaps = [later - earlier for earlier, later in itertools.pairwise(calls)]
    more = f"(slowest {max(delays):.2f} s; the run took {done.seconds:.1f} s)"
    rig.say(
        f"slurm, {jobs} jobs: end of a job told to Snakemake, median", rig.median(delays), 1.5, unit=" s", more=more
    )
    shortest = min(gaps, default=float("inf"))
    more = f"({len(calls)} calls in {time.time() - started:.1f} s)"
    rig.say("slurm: shortest time between two status calls", shortest, 0.5, unit=" s", at_least=True, more=more)


def packed(jobs: int, rounds: int) -> None:
    """Compare held nodes with local sites."""
    pack = service(pack={"nodes": 3, "cores": 4, "memory": "1GB", "walltime": 10})
    with rig.workflow("") as below:
        sites = rig.companion(
            *(
                (n, {"type": "local", "workdir": str(below / n), "config": {"cores": 4, "memory": "1GB"}})
                for n in "abc"
            ),
            policy="spread",
        )
        ours = ["--executor", "streamflow"]
        times = rig.alternate(
            rounds, {"packed": lambda: once(jobs, pack, ours), "sites": lambda: once(jobs, sites, ours)}
        )
    best = {name: min(found) for name, found in times.items()}
    more = f"({best['packed']:.1f} s and {best['sites']:.1f} s)"
    rig.say(
        f"slurm, {jobs} jobs, packed / three local sites, wall time", best["packed"] / best["sites"], 1.3, more=more
    )


@contextlib.contextmanager
def configured_for_all() -> Iterator[None]:
    """Put the cluster's configuration where Slurm looks for it: jobs of the other plugin have no SLURM_CONF."""
    usual = Path("/etc/slurm/slurm.conf")
    usual.parent.mkdir(exist_ok=True)
    usual.symlink_to(os.environ["SLURM_CONF"])  # a machine that has one of its own is left alone
    try:
        yield
    finally:
        usual.unlink()


def plugin(jobs: int, rounds: int) -> None:
    """Compare with Snakemake's own executor for Slurm."""
    python = rig.environment("slurm", rig.SNAKEMAKE, SLURM_PLUGIN)
    # the cluster has no accounting; the plugin's shortest times are given
    theirs = ["--executor", "slurm", "--default-resources", "slurm_partition=main", "--slurm-no-account"]
    theirs += ["--slurm-status-command", "squeue", "--seconds-between-status-checks", "1"]
    theirs += ["--slurm-init-seconds-before-status-checks", "1"]
    ways = {
        "ours": lambda: once(jobs, service(), ["--executor", "streamflow"]),
        "theirs": lambda: once(jobs, None, theirs, python),
    }
    with configured_for_all():
        times = rig.alternate(rounds, ways)
    best = {name: min(found) for name, found in times.items()}
    more = f"({best['theirs']:.1f} s and {best['ours']:.1f} s)"
    rig.say(f"slurm, {jobs} jobs, {SLURM_PLUGIN} / ours", best["theirs"] / best["ours"], 5, at_least=True, more=more)


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["--told"]:
        return told(sys.argv[2], sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["direct", "packed", "plugin"])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with Slurm(3):
        for what in args.what:
            if what == "direct":
                direct(args.jobs)
            else:
                {"packed": packed, "plugin": plugin}[what](args.jobs, args.rounds)
    return None


if __name__ == "__main__":
    main()

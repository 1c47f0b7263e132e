"""What the journal costs: per job, and to read back.

    python benchmarks/journal.py [--jobs N] [--replicas N] [--rounds N]

A job is written as the engine writes it: five states, two outputs at a location and at home, one transfer; two flushes
that must survive (before it starts, before it is forgotten at its location).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from snakemake_executor_plugin_streamflow.journal import Journal, State
from snakemake_executor_plugin_streamflow.plan import Ledger, Replica


def jobs(path: Path, count: int) -> float:
    """Return the seconds that `count` jobs cost, one after another."""
    with Journal(path) as journal:
        journal.start_run("r", time.time())
        started = time.perf_counter()
        for number in range(count):
            one(journal, f"r-{number}-align-1", number)
        journal.flush()
        return time.perf_counter() - started


def one(journal: Journal, task: str, number: int) -> None:
    """Write the life of one job."""
    outputs = [f"results/sample{number}.bam", f"results/sample{number}.bam.bai"]
    journal.add_task(task, run="r", job=task, rule="align", outputs=outputs)
    journal.change_task(task, State.STAGING, location="cluster/node1")
    journal.record_transfer("controller", "cluster/node1", outputs[0], 1 << 20, 0.5, "stream")
    journal.change_task(task, State.RUNNING, directory=f"/scratch/me/.streamflow/jobs/{task}")
    journal.flush()
    journal.change_task(task, State.ENDED)
    places = ("cluster/node1", "controller")
    replicas = [Replica(p, fs, f"o-{task}", 1 << 20, 1, None, False, 1) for p in outputs for fs in places]
    journal.change_task(task, State.ACCOUNTED)
    journal.apply(replicas)


def written(path: Path, count: int) -> None:
    """Make a journal with so many replicas."""
    with Journal(path) as journal:
        journal.apply([Replica(f"results/sample{n}/part.bam", "cluster/node1", f"o-{n}", n, n) for n in range(count)])


def read(path: Path) -> Callable[[], object]:
    """Open a journal and rebuild the ledger from it."""

    def once() -> object:
        with Journal(path) as journal:
            return Ledger(journal.replicas())

    return once


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--replicas", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = [jobs(folder / f"jobs{number}", given.jobs) / given.jobs for number in range(given.rounds)]
        written(folder / "replicas", given.replicas)
        opens = [seconds(read(folder / "replicas")) for _ in range(given.rounds)]
        size = (folder / "jobs0").stat().st_size / given.jobs
    load = f"load {os.getloadavg()[0]:.0f}"
    print(f"one of {given.jobs} jobs: {min(costs) * 1e3:.2f} to {max(costs) * 1e3:.2f} ms, {size:.0f} bytes; {load}")
    print(
        f"{given.replicas} replicas opened, checked and made a ledger: {min(opens):.2f} to {max(opens):.2f} s; {load}"
    )


if __name__ == "__main__":
    main()

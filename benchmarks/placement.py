"""Measure placement: the memory and time of a long queue, and one decision among many locations.

Run as `python benchmarks/placement.py`. Times are of the processor, so that other work on the machine counts less.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Sequence

from snakemake_executor_plugin_streamflow.model import Location, Policy, Request, Target
from snakemake_executor_plugin_streamflow.plan import Capacity, Decision, Ledger, Placement, Replica, Wanted

LOCATIONS = 1000
INPUTS = 100
HOLDERS = 100
MB = 1_000_000


def sites(core: Placement, count: int, cores: float = 1) -> None:
    for number in range(count):
        name = f"d/n{number:04}"
        core.add(Location(name, "d", "", name, name), Capacity(cores))


def task(name: str, paths: Sequence[str], cores: float = 1) -> Wanted:
    return Wanted(name, Request(cores), (Target("d"),), Policy.LOCALITY, tuple((path, 10 * MB) for path in paths))


def queue(distinct: bool) -> None:
    """Run 10,000 queued tasks through 50 slots, one release at a time."""
    count = 10_000
    tracemalloc.start()
    core = Placement(Ledger())
    sites(core, 50)
    for number in range(count):
        cores = 1 - number / (10 * count) if distinct else 1
        core.submit(task(f"t{number}", [f"in/{number}/{each}" for each in range(3)], cores))
    running = [each.id for each in core.place(0)]
    _, peak_b = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    start = time.process_time()
    done = 0
    while running:
        core.release(running.pop(0), 1.0)
        done += 1
        running += [each.id for each in core.place(float(done))]
    seconds = time.process_time() - start
    kind = "10,000 classes" if distinct else "one class"
    print(
        f"{count} tasks with 3 inputs each, 50 slots, {kind}: {peak_b / MB:.0f} MB at most;"
        f" {seconds:.1f} s, {1000 * seconds / done:.3f} ms per freed slot"
    )


def decisions(kind: str, replicas: int, steady: bool, observed: bool, depth: int = 1, everywhere: bool = False) -> None:
    """Place tasks of 100 inputs among 1,000 locations, each with a filesystem of its own."""
    draw = random.Random(1)
    names = [f"d/n{number:04}" for number in range(LOCATIONS)]
    ledger = Ledger()
    files = [f"file{number}" for number in range(5000)]
    for path in files:
        for name in ["controller", *draw.sample(names[:HOLDERS] if everywhere else names, replicas)]:
            ledger.put(Replica(path, name, "1", 10 * MB, 0))
    core = Placement(ledger)
    sites(core, LOCATIONS)
    if observed:
        for name in names:
            core.observe("controller", name, 10 * MB, draw.uniform(0.05, 0.5))
    if everywhere:
        for source in names[:HOLDERS]:
            for name in names:
                core.observe(source, name, 10 * MB, draw.uniform(0.05, 0.5))
    submitted = 0

    def submit() -> None:
        nonlocal submitted
        submitted += 1
        core.submit(task(f"t{submitted}", draw.sample(files, INPUTS)))

    made: list[Decision] = []
    spent = 0.0
    if steady:
        for _ in range(LOCATIONS + depth):
            submit()
        running = [each.id for each in core.place(0)]
        since = dict.fromkeys(running, -1000 * draw.random())
        for now in range(500):
            submit()
            ended = min(running[:20], key=lambda name: since[name])
            running.remove(ended)
            start = time.process_time()
            core.release(ended, now - since[ended])
            placed = core.place(float(now))
            spent += time.process_time() - start
            made += placed
            running += [each.id for each in placed]
            since |= {each.id: float(now) for each in placed}
            ledger.put(Replica(f"out{now}", names[now], "1", 1, 0))
    elif depth > 1:
        for _ in range(depth):
            submit()
        start = time.process_time()
        made += core.place(0)
        spent = time.process_time() - start
    else:
        for _ in range(500):
            submit()
            start = time.process_time()
            made += core.place(0)
            spent += time.process_time() - start
    print(f"{kind}: {1000 * spent / max(len(made), 1):.3f} ms per decision ({len(made)} decisions)")


if __name__ == "__main__":
    queue(distinct=False)
    queue(distinct=True)
    where = f"{LOCATIONS} locations, {INPUTS} inputs"
    decisions(f"{where} at the controller, all locations free", 0, steady=False, observed=False)
    decisions(f"{where} with 3 replicas each, all locations free", 2, steady=False, observed=False)
    decisions(f"{where} with 3 replicas each, all routes observed, all locations free", 2, steady=False, observed=True)
    decisions(f"{where} with 3 replicas each, all routes observed, 1,000 tasks at once", 2, False, True, 1000)
    decisions(f"{where} with 3 replicas each, routes between sites observed too", 2, False, True, 1, True)
    decisions(f"{where} with 3 replicas each, one location freed at a time", 2, steady=True, observed=True)
    decisions(f"{where} with 3 replicas each, one location freed at a time, 1,000 queued", 2, True, True, 1000)

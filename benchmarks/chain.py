"""A chain of four steps over samples that lie at two ssh hosts: what moves, and how long it takes, in several ways.

    python benchmarks/chain.py [--samples 20] [--mb 50] [--jobs 4] [--memory] [way ...]

Ways: floating (files stay, jobs follow them), random (the same, jobs anywhere), one (the same, all at one host),
drop-in (every output comes home). The least that has to move is the last step's output, to the controller.
The hosts' files are on the disk that temporary folders are on; with --memory they are in memory, 3 GB in all. Bytes are
those of the journal's transfers.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3

import rig

from tests.executor.running import FLOATING
from tests.servers.ssh import SshHosts

SNAKEFILE = """
N, SITES = {samples}, ["h0", "h1"]
site = lambda w: storage(f"streamflow://{{SITES[int(w.i) % 2]}}/data/{{w.i}}.bin")
rule all:
    input: expand("d/{{i}}.bin", i=range(N))
rule a:
    input: site
    output: "a/{{i}}.bin"
    shell: "cat {{input}} > {{output}}"
rule b:
    input: "a/{{i}}.bin"
    output: "b/{{i}}.bin"
    shell: "cat {{input}} > {{output}}"
rule c:
    input: "b/{{i}}.bin"
    output: "c/{{i}}.bin"
    shell: "cat {{input}} > {{output}}"
rule d:
    input: "c/{{i}}.bin"
    output: "d/{{i}}.bin"
    shell: "head -c {last} {{input}} > {{output}}"
"""


def main() -> None:
    """Run each way once and print what it moved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", default=["floating", "random", "one", "drop-in"])
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--mb", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    last = 1_200_000  # the journal leaves smaller transfers out
    least_mb = given.samples * last / 1e6
    moved: dict[str, float] = {}
    took: dict[str, float] = {}
    with SshHosts(2, on_disk=not given.memory) as hosts:
        for host in (1, 2):
            hosts.run(host, "mkdir -p /data")
            for i in range(host - 1, given.samples, 2):
                hosts.run(host, f"head -c {given.mb * 1_000_000} /dev/urandom > /data/{i}.bin")
        for way in given.ways:
            moved[way], took[way] = measure(way, hosts, given, last)
            rig.say(f"{way}: moved", moved[way], 1.05 * least_mb, unit=" MB", more=f"in {took[way]:.1f} s")
    if "floating" in moved and "drop-in" in moved:
        rig.say("drop-in moves / floating moves", moved["drop-in"] / moved["floating"], 10, at_least=True)
    for way in set(took) - {"floating"} if "floating" in took else ():
        rig.say(f"floating / {way}, makespan", took["floating"] / took[way], 1)


def measure(way: str, hosts: SshHosts, given: argparse.Namespace, last: int) -> tuple[float, float]:
    """Run one way; return megabytes that moved, and seconds."""
    workdir = f"/root/chain-{way}"
    options = {
        "username": "root",
        "sshKey": str(hosts.key),
        "knownHosts": str(hosts.known_hosts),
        "configFile": "/dev/null",
    }
    names = ["h0", "h1"]
    targets = [{"deployment": name} for name in (names[:1] if way == "one" else names)]
    companion = {
        "version": "v1.0",
        "bindings": [{"rule": "*", "target": targets, "policy": "random" if way == "random" else "locality"}],
        "deployments": {
            name: {"type": "ssh", "workdir": workdir, "config": {**options, "nodes": [host]}}
            for name, host in zip(names, hosts.hosts, strict=False)
        },
    }
    with rig.workflow(SNAKEFILE.format(samples=given.samples, last=last), companion) as folder:
        args = ["--executor", "streamflow", "--jobs", str(given.jobs), "--quiet", "progress"]
        if way != "drop-in":
            args += FLOATING
        run = rig.run(rig.snakemake(*args), folder)
        with contextlib.closing(sqlite3.connect(folder / ".snakemake/streamflow/journal.db")) as journal:
            (bytes_moved,) = journal.execute("SELECT coalesce(sum(size_b), 0) FROM transfers").fetchone()
        result = sum(path.stat().st_size for path in (folder / "d").glob("*.bin"))
        assert result == given.samples * last, "the final targets are at home"
    for host in (1, 2):
        hosts.run(host, f"rm -rf {workdir}")
    return bytes_moved / 1e6, run.seconds


if __name__ == "__main__":
    main()

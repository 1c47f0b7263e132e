"""One run over two ssh hosts whose Snakemake process is killed again and again (`kill -9`) at random moments.

    python benchmarks/kills.py [drop-in|floating ...] [--kills N] [--samples N] [--seed N]

After each kill the same command is given again, after `snakemake --unlock`; files that Snakemake asks about are said to
be complete, which they are. Checked at the end: the result; that each job did what it does exactly once; that nothing
is left at the hosts: no process, no job directory, no partial file.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import rig

from tests.executor.running import FLOATING
from tests.servers.ssh import SshHosts

WORKDIR = "/root/kills"
SNAKEFILE = """
samples = range({samples})
rule all:
    input: "all.txt"
rule one:
    input: "in.bin"
    output: "mid/{{n}}.bin"
    shell: "echo one{{wildcards.n}} >>/root/counts; sleep 3; (cat {{input}}; echo {{wildcards.n}}) > {{output}}"
rule two:
    input: "mid/{{n}}.bin"
    output: "out/{{n}}.txt"
    shell: "echo two{{wildcards.n}} >>/root/counts; sleep 1; (wc -c < {{input}}; tail -n 1 {{input}}) > {{output}}"
rule gather:
    input: expand("out/{{n}}.txt", n=samples)
    output: "all.txt"
    shell: "echo gather >>/root/counts; cat {{input}} > {{output}}"
"""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="*", default=["drop-in", "floating"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=3_000_000, help="bytes of each file that travels")
    given = parser.parse_args()
    with SshHosts(2) as hosts:
        for mode in given.modes:
            run(mode, hosts, given)


def run(mode: str, hosts: SshHosts, given: argparse.Namespace) -> None:
    """Kill one run, let it end, and look at what it has made and left."""
    options = {
        "username": "root",
        "sshKey": str(hosts.key),
        "knownHosts": str(hosts.known_hosts),
        "configFile": "/dev/null",
    }
    sites = [
        (f"h{n}", {"type": "ssh", "workdir": WORKDIR, "config": {**options, "nodes": [host]}})
        for n, host in enumerate(hosts.hosts[:2])
    ]
    for host in (1, 2):
        hosts.run(host, f"rm -rf {WORKDIR} /root/counts")
    words = ["--executor", "streamflow", "--jobs", "4", "--quiet", "progress"]
    if mode == "floating":
        words += FLOATING
    chance = random.Random(given.seed)
    with rig.workflow(SNAKEFILE.format(samples=given.samples), rig.companion(*sites, policy="spread")) as folder:
        (folder / "in.bin").write_bytes(os.urandom(given.size) + b"\n")
        kills = asked = 0
        ended = False
        while not ended:
            delay_s = chance.uniform(1.2, 6) if kills < given.kills else None
            said = start(words, folder, delay_s)
            if said is None:
                kills += 1
                rig.run(rig.snakemake("--unlock"), folder)
            elif ASKS in said:
                asked += 1
                rig.run(rig.snakemake("--cleanup-metadata", *said.partition(ASKS)[2].split()), folder)
            else:
                ended = True
        result = (folder / "all.txt").read_text()
        partial = [path for path in folder.rglob(".sf-*")]
    expected = "".join(f"{given.size + 1 + len(f'{n}') + 1}\n{n}\n" for n in range(given.samples))
    assert result == expected, f"the result is wrong:\n{result}"
    assert not partial, partial
    counts = Counter(word for host in (1, 2) for word in hosts.run(host, "cat /root/counts").stdout.split())
    left = [word for host in (1, 2) for word in hosts.run(host, LEFT).stdout.split()]
    assert len(counts) == 2 * given.samples + 1, counts
    rig.say(f"{mode}: kills of one run", kills, given.kills, at_least=True)
    rig.say(f"{mode}: jobs that did what they do more than once", sum(n > 1 for n in counts.values()), 0)
    rig.say(f"{mode}: files and processes left at the hosts", len(left), 0, more=" ".join(left[:5]))
    rig.say(f"{mode}: runs in which Snakemake asked whether files are complete", asked, 0)


LEFT = f"""cd {WORKDIR}; find . -name '.sf-*'; find .streamflow/in .streamflow/jobs -mindepth 1 -maxdepth 1
grep -la STREAMFLOW_JOB= /proc/[0-9]*/environ 2>/dev/null"""


ASKS = "Incomplete files:\n"


def start(words: list[str], folder: Path, delay_s: float | None) -> str | None:
    """Start Snakemake and kill it after a while; return what it said when it had ended by then."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            rig.snakemake(*words), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(delay_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
        output.seek(0)
        text = output.read().decode(errors="replace")
        if code and ASKS not in text:
            raise RuntimeError(f"Snakemake ended by itself:\n{text[-3000:]}")
        return text


if __name__ == "__main__":
    main()

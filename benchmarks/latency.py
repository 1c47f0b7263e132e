"""How soon the controller knows that a job has ended; and whether a warm second run moves input bytes.

    python benchmarks/latency.py [end|warm ...]

end: each job prints the time of its end into its output; that is compared with the moment at which Snakemake is told,
which is after the output has come home. The sites share this machine's clock.
warm: 200 jobs, two steps; outputs are removed at the controller only, and the workflow runs again.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import threading
import time
from pathlib import Path

import rig

ENDS = """
rule all:
    input: expand("out/{i}.txt", i=range(40))

rule one:
    output: "out/{i}.txt"
    shell: "sleep 0.{wildcards.i}; sleep 0.3; date +%s.%N > {output}"
"""
PAIRS = """
rule all:
    input: expand("b/{i}.txt", i=range(100))

rule one:
    input: "in/{i}.dat"
    output: "a/{i}.txt"
    shell: "cat {input} {input} > {output}"

rule two:
    input: "a/{i}.txt"
    output: "b/{i}.txt"
    shell: "wc -c < {input} > {output}"
"""
INPUT_B = 100_000


def told(record: str, args: list[str]) -> None:
    """Run Snakemake in this process, and note when it is told of the end of each job."""
    from snakemake.cli import main as run_snakemake
    from snakemake_interface_executor_plugins.executors.base import AbstractExecutor, SubmittedJobInfo

    from snakemake_executor_plugin_streamflow.remote.session import Running, Session

    known: dict[str, float] = {}
    lines: list[str] = []
    lock = threading.Lock()
    ended, success = Session._ended, AbstractExecutor.report_job_success

    def note_end(self: Session, job: Running) -> None:
        known[job.spec.id] = time.time()
        ended(self, job)

    def note_success(self: AbstractExecutor, info: SubmittedJobInfo) -> None:
        now = time.time()
        with lock:
            for f in info.job.output:
                lines.append(f"{f} {known.get(info.external_jobid or '', now):.6f} {now:.6f}\n")
        success(self, info)

    Session._ended, AbstractExecutor.report_job_success = note_end, note_success  # type: ignore[method-assign]
    try:
        run_snakemake(args)
    finally:
        Path(record).write_text("".join(lines))


def end(kind: str, options: dict[str, object]) -> None:
    """Measure the delay at one kind of site."""
    deployment = {"type": kind, "config": {**options, "cores": 8}}
    with rig.workflow(ENDS, rig.companion(("bench", deployment))) as folder:
        args = ["--executor", "streamflow", "--jobs", "4", "--quiet", "all"]
        rig.run([sys.executable, __file__, "--told", "record", "--", *args], folder)
        events, reports = [], []
        for line in (folder / "record").read_text().splitlines():
            path, known, reported = line.split()
            if path.startswith("out/"):
                ended = float((folder / path).read_text())
                events.append(float(known) - ended)
                reports.append(float(reported) - ended)
    assert len(events) == 40, len(events)
    for name, delays in (("at the controller", events), ("to Snakemake, with its output", reports)):
        more = f"(median {rig.median(delays):.3f} s)"
        rig.say(f"{kind}: end of a job known {name}, slowest of 40", max(delays), 0.1, unit=" s", more=more)


def warm(kind: str, options: dict[str, object]) -> None:
    """Run a workflow twice, the second time without the outputs at the controller."""
    deployment = {"type": kind, "config": {**options, "cores": 8}}
    with rig.workflow(PAIRS, rig.companion(("bench", deployment))) as folder:
        (folder / "in").mkdir()
        for i in range(100):
            (folder / f"in/{i}.dat").write_bytes(b"%d" % (i % 10) * INPUT_B)
        command = rig.snakemake("--executor", "streamflow", "--jobs", "8")
        sent = []
        for _ in range(2):
            for i in range(100):
                for step in "ab":
                    (folder / f"{step}/{i}.txt").unlink(missing_ok=True)
            done = rig.run(command, folder)
            lines = re.findall(r"streamflow: \S+: (\d+) jobs, ([\d.]+) MB sent there", done.output)
            assert sum(int(jobs) for jobs, _ in lines) == 200, done.output[-2000:]
            sent.append(sum(float(size) for _, size in lines))
            print(f"  {kind}: {done.seconds:.2f} s, {sent[-1]:.2f} MB sent", flush=True)
    rig.say(
        f"{kind}: input sent by a warm second run of 200 jobs",
        sent[1],
        0,
        unit=" MB",
        more=f"(first: {sent[0]:.2f} MB)",
    )


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["--told"]:
        return told(sys.argv[2], sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["end", "warm"])
    parser.add_argument("--where", nargs="*", default=["ssh", "docker"])
    args = parser.parse_args()
    for where in args.where:
        with contextlib.ExitStack() as stack:
            options = stack.enter_context(rig.ssh_options() if where == "ssh" else rig.docker_options())
            for what in args.what:
                if what == "warm" and where == "docker":
                    continue  # the containers of the first run are gone, and their files with them
                {"end": end, "warm": warm}[what](where, options)
    return None


if __name__ == "__main__":
    main()

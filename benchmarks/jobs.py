"""Many trivial jobs: wall time and memory compared with `--executor local`; time per job with `cluster-generic`.

    python benchmarks/jobs.py [WHERE ...] [--jobs N] [--rounds N]

WHERE: sites, ssh, docker, apptainer, generic, kubernetes; default: all but the last, which needs KUBECONFIG.
Each way runs once a round, in turn; the best of each are compared. `apptainer` and `kubernetes` are compared with
`docker`: two instances, or pods, with two containers.
"""

from __future__ import annotations

import argparse
import contextlib
from functools import partial
from pathlib import Path

import rig

SNAKEFILE = """
rule all:
    input: expand("out/{{i}}.txt", i=range({count}))

rule one:
    output: "out/{{i}}.txt"
    shell: "echo {{wildcards.i}} > {{output}}"
"""
PARALLEL = 8
GENERIC_JOBS = 32
LOCAL = ["--executor", "local", "--cores", str(PARALLEL)]
OURS = ["--executor", "streamflow", "--jobs", str(PARALLEL)]


def once(args: list[str], count: int, companion: dict[str, object] | None, python: str | None = None) -> rig.Run:
    """Run the workflow in a fresh folder and check what came out."""
    with rig.workflow(SNAKEFILE.format(count=count), companion) as folder:
        command = rig.snakemake(*args, python=python) if python else rig.snakemake(*args)
        done = rig.run([*command, "--quiet", "rules", "progress"], folder)
        missing = [i for i in range(count) if (folder / f"out/{i}.txt").read_text() != f"{i}\n"]
        assert not missing, missing
    return done


def against_local(name: str, companion: dict[str, object], count: int, rounds: int) -> None:
    """Compare one kind of site with the local executor."""
    runs: dict[str, list[rig.Run]] = {"local": [], name: []}

    def measure(which: str) -> float:
        done = once(LOCAL if which == "local" else OURS, count, None if which == "local" else companion)
        runs[which].append(done)
        print(f"  {which}: {done.seconds:.2f} s, processor {done.cpu_s:.2f} s, {done.peak_mib:.0f} MiB", flush=True)
        return done.seconds

    times = rig.alternate(rounds, {"local": lambda: measure("local"), name: lambda: measure(name)})
    ratio = min(times[name]) / min(times["local"])
    rig.say(f"{count} jobs, {name} / local executor, wall time", ratio, 1.15)
    cpu = min(run.cpu_s for run in runs[name]) / min(run.cpu_s for run in runs["local"])
    rig.say(f"{count} jobs, {name} / local executor, processor time of Snakemake and its children", cpu, 1.15)
    more = rig.median([r.peak_mib for r in runs[name]]) - rig.median([r.peak_mib for r in runs["local"]])
    rig.say(f"{count} jobs, {name}, memory above the local executor", more, 40, unit=" MB")


def against_generic(below: Path, count: int, rounds: int) -> None:
    """Compare time per job with an executor that starts Snakemake once per job."""
    python = rig.environment("generic", rig.SNAKEMAKE, "snakemake-executor-plugin-cluster-generic")
    submit = below / "submit.sh"
    # the run waits for its job, as a queue with free slots would do at best: status comes with the end of the command
    submit.write_text('#!/bin/sh\nsetsid sh "$1" </dev/null >/dev/null 2>&1 &\necho $!\n')
    submit.chmod(0o755)
    generic = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", str(submit), "--jobs", str(PARALLEL)]
    generic += ["--latency-wait", "30", "--seconds-between-status-checks", "1"]
    sites = rig.local_sites(below, PARALLEL)

    def per_job(args: list[str], jobs: int, companion: dict[str, object] | None, python: str | None) -> float:
        done = once(args, jobs, companion, python).seconds / jobs
        print(f"  {args[1]}: {1000 * done:.1f} ms per job", flush=True)
        return done

    times = rig.alternate(
        rounds,
        {
            "ours": lambda: per_job(OURS, count, sites, None),
            "generic": lambda: per_job(generic, GENERIC_JOBS, None, python),
        },
    )
    ratio = min(times["generic"]) / min(times["ours"])
    rig.say("cluster-generic / sites, time per job", ratio, 30, at_least=True)


def against_docker(kind: str, below: Path, count: int, rounds: int) -> None:
    """Compare instances or pods with containers: wall time, and the processor time of Snakemake and what it starts."""
    runs: dict[str, list[rig.Run]] = {"docker": [], kind: []}
    with rig.docker_options() as docker, rig.pods_or_instances(kind) as others:
        config = {
            "docker": {"type": "docker", "config": {**docker, "cores": PARALLEL}},
            kind: {"type": kind, "workdir": str(below / "work"), "config": {**others, "cores": PARALLEL}},
        }

        def measure(which: str) -> float:
            done = once(OURS, count, rig.companion(("bench", config[which]), policy="spread"))
            runs[which].append(done)
            print(f"  {which}: {done.seconds:.2f} s, processor {done.cpu_s:.2f} s", flush=True)
            return done.seconds

        times = rig.alternate(rounds, {which: partial(measure, which) for which in runs})
    ratio = min(times[kind]) / min(times["docker"])
    rig.say(f"{count} jobs, {kind} / docker, wall time", ratio, 1.2)
    cpu = min(run.cpu_s for run in runs[kind]) / min(run.cpu_s for run in runs["docker"])
    rig.say(f"{count} jobs, {kind} / docker, processor time of Snakemake and its children", cpu, 1.2)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", nargs="*", default=["sites", "ssh", "docker", "apptainer", "generic"])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for where in args.where:
        with contextlib.ExitStack() as stack:
            below = stack.enter_context(rig.workflow(""))
            if where == "sites":
                against_local("sites", rig.local_sites(below, PARALLEL), args.jobs, args.rounds)
            elif where in ("apptainer", "kubernetes"):
                against_docker(where, below, args.jobs, args.rounds)
            elif where == "generic":
                against_generic(below, args.jobs, args.rounds)
            else:
                options = stack.enter_context(rig.ssh_options() if where == "ssh" else rig.docker_options())
                deployment = {"type": where, "config": {**options, "cores": PARALLEL}}
                against_local(where, rig.companion(("bench", deployment), policy="spread"), args.jobs, args.rounds)


if __name__ == "__main__":
    main()

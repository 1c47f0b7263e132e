"""Many trivial jobs that need Snakemake at a site: time and processor time of each kind.

    python benchmarks/nested.py [KIND ...] [--jobs N] [--rounds N] [--generic N]

KIND: shell, run, script; default: all. All jobs run at one local site, two at a time. `--generic N`: so many jobs of
each kind with `cluster-generic`; 0 leaves it out.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
from dataclasses import replace
from pathlib import Path

import rig

ALL = 'rule all:\n    input: expand("out/{{i}}.txt", i=range({count}))\n'
RULE = 'rule one:\n    output: "out/{{i}}.txt"\n    {directive}\n'
KINDS = {
    "shell": 'shell: "echo {{wildcards.i}} > {{output}}"',
    "run": 'run: open(output[0], "w").write(f"{{wildcards.i}}\\n")',
    "script": 'script: "write.py"',
}
SCRIPT = 'with open(snakemake.output[0], "w") as out:\n    print(snakemake.wildcards.i, file=out)\n'
_PR_SET_CHILD_SUBREAPER = 36
OURS = ["--executor", "streamflow", "--jobs", "2", "--quiet", "rules", "progress"]


def once(kind: str, args: list[str], count: int, companion: dict[str, object] | None, python: str | None) -> rig.Run:
    """Run the workflow in a fresh folder and check what came out; its processor time is that of all its processes."""
    text = (ALL + RULE.replace("{directive}", KINDS[kind])).format(count=count)
    with rig.workflow(text, companion) as folder:
        (folder / "write.py").write_text(SCRIPT)
        command = rig.snakemake(*args, python=python) if python else rig.snakemake(*args)
        before = os.times()
        done = rig.run(command, folder)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()  # for those that it left: jobs of a queue, the warm process
        after = os.times()
        cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
        missing = [i for i in range(count) if (folder / f"out/{i}.txt").read_text() != f"{i}\n"]
        assert not missing, missing
    return replace(done, cpu_s=cpu_s)


def generic(below: Path) -> tuple[list[str], str]:
    """Return the arguments of `cluster-generic` for a queue that starts jobs at once, and the Python that has it."""
    submit = below / "submit.sh"
    submit.write_text('#!/bin/sh\nsetsid sh "$1" </dev/null >/dev/null 2>&1 &\necho $!\n')
    submit.chmod(0o755)
    args = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", str(submit), "--jobs", "2"]
    args += ["--latency-wait", "30", "--seconds-between-status-checks", "1", "--quiet", "rules", "progress"]
    return args, rig.environment("generic", rig.SNAKEMAKE, "snakemake-executor-plugin-cluster-generic")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--generic", type=int, default=8)
    args = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become this process's, and are counted
    kinds = list(dict.fromkeys(["shell", *args.kinds]))
    with rig.workflow("") as below:
        best: dict[str, rig.Run] = {}
        for number in range(args.rounds):
            site = {"type": "local", "workdir": str(below / str(number)), "config": {"cores": 2}}
            for kind in kinds:
                done = once(kind, OURS, args.jobs, rig.companion(("site", site)), None)
                print(f"  {kind}: {done.seconds:.2f} s, processor {done.cpu_s:.2f} s", flush=True)
                if kind not in best or done.seconds < best[kind].seconds:
                    best[kind] = done
        for kind in kinds[1:]:
            rig.say(f"{args.jobs} jobs of kind {kind}", best[kind].seconds, 20, unit=" s")
            more = 2 * (best[kind].seconds - best["shell"].seconds) / args.jobs
            rig.say(f"a job of kind {kind}, more than a plain command", more, 0.25, unit=" s")
            if args.generic:
                options, python = generic(below)
                theirs = once(kind, options, args.generic, None, python).cpu_s / args.generic
                ours = best[kind].cpu_s / args.jobs
                figures = f"({theirs:.2f} and {ours:.2f} s per job)"
                rig.say(f"cluster-generic / ours, processor, {kind}", theirs / ours, 5, at_least=True, more=figures)


if __name__ == "__main__":
    main()

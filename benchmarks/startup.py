"""What the installed plugin costs every Snakemake: `--version`, and a local run, with and without it.

    python benchmarks/startup.py [ROUNDS]

Two virtual environments with the same Snakemake are made once and kept: one bare, one with this package.
"""

from __future__ import annotations

import subprocess
import sys

import rig

SNAKEFILE = """
rule all:
    output: "out.txt"
    shell: "echo 1 > {output}"
"""


def main(rounds: int) -> None:
    """Measure both environments in turn."""
    bare = rig.environment("bare", rig.SNAKEMAKE)
    ours = rig.environment("ours", rig.SNAKEMAKE, str(rig.ROOT))
    # the package changes from run to run; what it needs does not
    again = [ours, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", str(rig.ROOT)]
    subprocess.run(again, check=True)
    for name, args in {
        "--version": ["--version"],
        "a local run": ["--cores", "1", "--force", "--quiet", "all"],
    }.items():
        cpu: dict[str, list[float]] = {bare: [], ours: []}

        def once(python: str, args: list[str] = args, cpu: dict[str, list[float]] = cpu) -> float:
            with rig.workflow(SNAKEFILE) as folder:
                done = rig.run(rig.snakemake(*args, python=python), folder)
            cpu[python].append(done.cpu_s)
            return done.seconds

        for python in (bare, ours):
            once(python)  # bytecode and disk cache
        times = rig.alternate(rounds, {"bare": lambda: once(bare), "ours": lambda: once(ours)})
        bests = f"(best {min(times['bare']):.3f} and {min(times['ours']):.3f} s)"
        more = 1000 * (rig.median(times["ours"]) - rig.median(times["bare"]))
        rig.say(f"{name}, plugin installed: slower by", more, 50, unit=" ms", more=bests)
        more = 1000 * (rig.median(cpu[ours]) - rig.median(cpu[bare]))
        rig.say(f"{name}, plugin installed: more processor time by", more, 50, unit=" ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)

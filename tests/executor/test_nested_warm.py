"""Jobs that a warm process forks are what fresh processes would have been, and end when they have to."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from .running import TWO_SITES, command, environment, processes, run_workflow, wait_until, write_workflow

LOOK = """
import os, sys
rule all:
    input: expand("{i}.txt", i=range(6))
rule look:
    input: lambda w: [] if w.i == "0" else "0.txt"
    output: "{i}.txt"
    run:
        parent = open(f"/proc/{os.getppid()}/cmdline").read().split("\\0")
        facts = [os.getsid(0) == os.getpid(), os.environ["STREAMFLOW_JOB"], os.getcwd(), "left" in globals()]
        globals()["left"] = True
        open(output[0], "w").write(repr([any("warm.py" in word for word in parent), *facts]))
"""


def test_jobs_are_forked_and_see_nothing_of_each_other(tmp_path: Path) -> None:
    run = run_workflow(tmp_path, LOOK, TWO_SITES)
    told = [eval((run.work / f"{i}.txt").read_text()) for i in range(6)]
    assert any(warm for warm, *_ in told), "none was forked by the warm process"
    for warm, leads, job, folder, left in told:
        assert leads or not warm
        assert "look" in job
        assert folder == str(run.sites / "one")
        assert not left
    assert len({job for _, _, job, *_ in told}) == 6
    wait_until(lambda: not processes(str(run.sites / "one")), 10)


def test_a_forked_job_ends_with_the_run(tmp_path: Path) -> None:
    snakefile = """
rule all:
    input: "second.txt"
rule first:
    output: "first.txt"
    run:
        import pathlib, time, glob
        while not glob.glob(".streamflow/runtime/launch-*/warm-*.pid"):
            time.sleep(0.05)
        pathlib.Path(output[0]).touch()
rule second:
    input: "first.txt"
    output: "second.txt"
    run:
        open("SITES/started", "w").write(str(os.getpid()))
        shell("exec -a MARKER sleep 300")
"""
    marker = f"marker-{os.getpid()}-of-a-test"
    work = write_workflow(tmp_path, "import os\n" + snakefile.replace("MARKER", marker), TWO_SITES)
    run = subprocess.Popen(
        command(), cwd=work, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_until(lambda: processes(f"{marker}\x00300"), 60)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=30)
    assert run.returncode, said
    wait_until(lambda: not processes(f"{marker}\x00300"), 10)
    wait_until(lambda: not processes(str(tmp_path / "sites" / "one")), 10)

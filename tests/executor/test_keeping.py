"""Replicas that survive the loss of a site, and sites with little room."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.engine import Engine
from snakemake_executor_plugin_streamflow.jobs import Task
from snakemake_executor_plugin_streamflow.keeping import Keeping
from snakemake_executor_plugin_streamflow.model import Companion, Deployment, LocalOptions, Request, Target

from ..servers.ssh import SshHosts, ssh_hosts  # noqa: F401
from .running import FLOATING, Run, again, ran, run_workflow

COMPANION = """\
version: v1.0
bindings:
  - {rule: "*_two", target: {deployment: two}}
  - {rule: "*", target: TARGET, policy: order, keep: KEEP}
deployments:
  one: {type: local, workdir: SITES/one}
  two: {type: local, workdir: SITES/two}
  three: {type: local, workdir: SITES/three}
"""
SNAKEFILE = """
    rule all:
        input: "end.txt"
    rule first:
        input: "in.txt"
        output: temp("t.txt")
        shell: "echo first >>SITES/ran; cat {input} > {output}"
    rule second:
        input: "t.txt"
        output: "a.txt", directory("d")
        log: "second.log"
        shell: "echo second >>SITES/ran; cat {input} > {output[0]}; mkdir {output[1]}; cp {input} {output[1]}/x"
    rule end_two:
        input: "a.txt", "d"
        output: "end.txt"
        shell: "echo end >>SITES/ran; cat {input[0]} {input[1]}/x > {output}"
    """


def write_input(work: Path) -> None:
    (work / "in.txt").write_text("in\n")
    (work.parent / "sites").mkdir()


def first_run(tmp_path: Path, keep: str, target: str = "{deployment: one}", *args: str) -> Run:
    companion = COMPANION.replace("KEEP", keep).replace("TARGET", target)
    goals = ["a.txt", "--streamflow-leave-targets", *FLOATING]
    run = run_workflow(tmp_path, SNAKEFILE, companion, *goals, *args, prepare=write_input)
    assert ran(run.sites) == {"first": 1, "second": 1}
    assert not list(tmp_path.rglob("t.txt")), "a temporary file is gone from everywhere"
    return run


@pytest.mark.parametrize(
    ("keep", "target", "where"),
    [
        ("2", "[{deployment: one}, {deployment: three}]", "sites/three"),
        ("2", "{deployment: one}", "work"),
        ("on two", "{deployment: one}", "sites/two"),
        ("on controller", "[{deployment: one}, {deployment: three}]", "work"),
    ],
)
def test_a_site_that_is_lost_takes_nothing_with_it(tmp_path: Path, keep: str, target: str, where: str) -> None:
    run = first_run(tmp_path, keep, target)
    assert {path.name for path in tmp_path.rglob("a.txt")} == {"a.txt"}
    assert {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("a.txt")} == {"sites/one", where}
    assert (tmp_path / where / "d/x").read_text() == "in\n"
    assert len(list(tmp_path.rglob("second.log"))) == 1
    shutil.rmtree(run.sites / "one")
    again(tmp_path, *FLOATING)
    assert ran(run.sites) == {"end": 1}
    assert (run.work / "end.txt").read_text() == "in\nin\n"


def test_more_replicas_than_there_are_filesystems_is_told_once(tmp_path: Path) -> None:
    run = first_run(tmp_path, "5")
    assert run.text.count("there are only 2 filesystems that last") == 1
    assert (run.work / "a.txt").read_text() == "in\n"


def test_a_copy_that_cannot_be_made_is_told_once_and_fails_nothing(tmp_path: Path) -> None:
    companion = COMPANION.replace("KEEP", "on two").replace("TARGET", "{deployment: one}")
    companion = companion.replace("SITES/two", "/proc/no/such")
    goals = ["a.txt", "--streamflow-leave-targets", *FLOATING]
    run = run_workflow(tmp_path, SNAKEFILE, companion, *goals, prepare=write_input)
    assert ran(run.sites) == {"first": 1, "second": 1}
    assert run.text.count("Not all replicas of a.txt, d could be made") == 1


def test_in_drop_in_mode_the_controller_has_it_anyway(tmp_path: Path) -> None:
    companion = COMPANION.replace("KEEP", "[2, on controller]").replace(
        "TARGET", "[{deployment: one}, {deployment: three}]"
    )
    run = run_workflow(tmp_path, SNAKEFILE, companion, prepare=write_input)
    assert (run.work / "a.txt").read_text() == "in\n"
    assert {path.parent.name for path in tmp_path.rglob("a.txt")} == {"work", "one", "two"}


def test_a_host_that_is_lost(tmp_path: Path, ssh_hosts: SshHosts) -> None:
    config = f"username: root, sshKey: {ssh_hosts.key}, knownHosts: {ssh_hosts.known_hosts}, configFile: /dev/null"
    one, two = ssh_hosts.hosts[:2]
    companion = (
        "version: v1.0\nbindings:\n"
        '  - {rule: "*", target: [{deployment: one}, {deployment: two}], policy: order, keep: 2}\ndeployments:\n'
        f"  one: {{type: ssh, workdir: /root/keep, config: {{nodes: [{one}], {config}}}}}\n"
        f"  two: {{type: ssh, workdir: /root/keep, config: {{nodes: [{two}], {config}}}}}\n"
    )
    goals = ["a.txt", "--streamflow-leave-targets", *FLOATING]
    run = run_workflow(tmp_path, SNAKEFILE.replace("SITES/ran", "/dev/null"), companion, *goals, prepare=write_input)
    assert ssh_hosts.run(2, "cat /root/keep/a.txt").stdout == "in\n"
    assert not (run.work / "a.txt").exists()
    ssh_hosts.stop(1)
    try:
        second = again(tmp_path, *FLOATING)
    finally:
        ssh_hosts.start(1)
    assert (run.work / "end.txt").read_text() == "in\nin\n"
    assert second.jobs(f"two/{two}") == 1
    assert "again" not in second.text


# Limits

LIMITED = """\
version: v1.0
bindings:
  - {rule: "*", target: {deployment: one}, KEEP}
deployments:
  one: {type: local, workdir: SITES/one, limit: LIMIT}
"""
CHAIN = """
    rule all:
        input: expand("out/{n}.txt", n=range(4))
    rule first:
        input: "in/{n}.bin"
        output: "a/{n}.bin"
        shell: "cp {input} {output}; du -sb --exclude=.streamflow SITES/one >>SITES/used"
    rule second:
        input: "a/{n}.bin"
        output: directory("b/{n}")
        shell: "mkdir {output}; cp {input} {output}; du -sb --exclude=.streamflow SITES/one >>SITES/used"
    rule third:
        input: "b/{n}"
        output: "out/{n}.txt"
        shell: "wc -c <{input}/{wildcards.n}.bin >{output}; du -sb --exclude=.streamflow SITES/one >>SITES/used"
    """
MB = 1_000_000


def write_inputs(work: Path) -> None:
    (work / "in").mkdir()
    (work.parent / "sites").mkdir()
    for n in range(4):
        (work / "in" / f"{n}.bin").write_bytes(bytes(MB))


def most_mb(sites: Path) -> float:
    """The most that was there when a job ended, in MB."""
    return max(int(line.split()[0]) for line in (sites / "used").read_text().splitlines()) / MB


@pytest.mark.parametrize("mode", ["floating", "drop-in"])
def test_a_site_holds_no_more_than_its_limit_and_what_runs_needs(tmp_path: Path, mode: str) -> None:
    args = FLOATING if mode == "floating" else []
    companion = LIMITED.replace(", KEEP", "").replace("LIMIT", "4MB")
    run = run_workflow(tmp_path, CHAIN, companion, *args, "--jobs", "1", prepare=write_inputs)
    assert [(run.work / f"out/{n}.txt").read_text() for n in range(4)] == [f"{MB}\n"] * 4
    assert most_mb(run.sites) < 5.2, "the limit, and the output of the job that runs"
    assert run.jobs("one") == 12, "nothing was made twice"
    assert "more than its limit" not in run.text
    assert "Nothing to be done" in again(tmp_path, *args).text


def test_a_limit_that_is_too_low_for_what_runs_is_told_once(tmp_path: Path) -> None:
    companion = LIMITED.replace(", KEEP", "").replace("LIMIT", "100KB")
    run = run_workflow(tmp_path, CHAIN, companion, *FLOATING, prepare=write_inputs)
    assert [(run.work / f"out/{n}.txt").read_text() for n in range(4)] == [f"{MB}\n"] * 4
    assert run.text.count("more than its limit of 0.1 MB") == 1
    assert run.jobs("one") == 12


def test_a_target_that_has_come_home_need_not_stay_at_a_site_that_is_full(tmp_path: Path) -> None:
    snakefile = """
    rule big:
        output: "big.bin"
        shell: "head -c 1000000 /dev/zero >{output}"
    """
    run = run_workflow(tmp_path, snakefile, LIMITED.replace(", KEEP", "").replace("LIMIT", "900KB"), *FLOATING)
    assert (run.work / "big.bin").stat().st_size == MB
    assert "more than its limit" not in run.text
    assert not (run.sites / "one/big.bin").exists()


def test_what_another_job_will_read_is_not_given_up(tmp_path: Path) -> None:
    snakefile = """
    rule all:
        input: "end.txt"
    rule part:
        input: "in/{n}.bin"
        output: "a/{n}.bin"
        shell: "cp {input} {output}"
    rule gather:
        input: expand("a/{n}.bin", n=range(4))
        output: "end.txt"
        shell: "cat {input} | wc -c >{output}"
    """
    companion = LIMITED.replace(", KEEP", "").replace("LIMIT", "2MB")
    run = run_workflow(tmp_path, snakefile, companion, *FLOATING, "--jobs", "1", prepare=write_inputs)
    assert (run.work / "end.txt").read_text() == f"{4 * MB}\n"
    assert run.jobs("one") == 5, "nothing was made twice"


def test_replicas_that_were_asked_for_are_no_spare_ones(tmp_path: Path) -> None:
    companion = LIMITED.replace("KEEP", "keep: 2").replace("LIMIT", "2MB")
    run = run_workflow(tmp_path, CHAIN, companion, *FLOATING, "--jobs", "1", prepare=write_inputs)
    assert run.jobs("one") == 12
    for path in (f"a/{n}.bin" for n in range(4)):
        assert (run.work / path).stat().st_size == (run.sites / "one" / path).stat().st_size == MB
    assert not list((run.sites / "one" / "in").iterdir())[2:], "sources are given up instead"


def test_whoever_needs_a_file_has_it_while_others_make_room(tmp_path: Path) -> None:
    """Tasks come and go at a site that has room for two of five files; none may be taken from one that uses it."""
    names = [f"{n}.bin" for n in range(5)]
    for name in names:
        (tmp_path / name).write_bytes(bytes(1000))
    deployment = Deployment("one", "local", LocalOptions(), workdir=PurePosixPath(tmp_path / "one"), limit_b=2500)
    engine = Engine(Companion(tmp_path / "c", (), {"one": deployment}), tmp_path, log=logging.getLogger("test"))
    keeping = Keeping(engine, Counter(), Counter(), tuple)
    chance = random.Random(1)
    most = 0

    async def use(number: int, wanted: tuple[str, ...]) -> None:
        nonlocal most
        (site,) = (site for site in engine.sites if site.location.deployment == "one")
        await asyncio.sleep(0.005 * chance.randrange(12))
        with keeping.needing(Task(f"t{number}", "t", "t", None, Request(), wanted, (), {})):
            async with keeping.room(site, wanted):
                await engine.staging.stage_in(site, wanted)
            for _ in range(4):
                for path in wanted:
                    assert (tmp_path / "one" / path).stat().st_size == 1000
                    assert engine.ledger.get(path, site.location.filesystem)
                await asyncio.sleep(0.005 * chance.randrange(4))
        most = max(most, engine.ledger.size_b(site.location.filesystem))

    async def all_of_them() -> None:
        await engine.sites.open([Target("one")])
        for _ in range(25):
            await asyncio.gather(*(use(number, tuple(chance.sample(names, 2))) for number in range(4)))
        await engine.removals.settled()
        on_disk = {path.name for path in (tmp_path / "one").glob("*.bin")}
        assert on_disk == {replica.path for replica in engine.ledger.on("one")}

    engine.launch()
    try:
        engine.wait(all_of_them(), 60)
        assert 2000 <= most <= 5000
    finally:
        engine.stop()

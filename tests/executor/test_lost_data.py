"""Files vanish from sites: what is needed is made again, and no more."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ..cli.commands import cli
from ..servers.ssh import SshHosts, ssh_hosts  # noqa: F401
from .running import FLOATING, again, ran, run_workflow

COMPANION = """\
version: v1.0
bindings:
  - {rule: "*_two", target: {deployment: two}}
  - {rule: ["[!s]*", "se*"], target: {deployment: one}}
  - {group: "of_side", target: {deployment: one}}
deployments:
  one: {type: local, workdir: SITES/one}
  two: {type: local, workdir: SITES/two}
"""

SNAKEFILE = """
    rule all:
        input: "end.txt"
    rule first:
        input: "in.txt"
        output: temp("a.txt")
        shell: "echo first >>SITES/ran; cat {input} > {output}"
    rule second:
        input: "a.txt"
        output: "b.txt", "b2.txt"
        shell: "echo second >>SITES/ran; cat {input} > {output[0]}; echo 2 > {output[1]}"
    rule side:
        input: "in.txt"
        output: "s.txt"
        group: "of_side"
        shell: "echo side >>SITES/ran; cat {input} > {output}"
    rule third_two:
        input: "b.txt", "s.txt"
        output: "end.txt"
        shell: "echo third >>SITES/ran; cat {input} > {output}"
    """


@pytest.fixture
def first(tmp_path: Path) -> Path:
    (tmp_path / "sites").mkdir()
    run = run_workflow(
        tmp_path, SNAKEFILE, COMPANION, "b.txt", "s.txt", "--streamflow-leave-targets", *FLOATING,
        prepare=lambda work: (work / "in.txt").write_text("in\n"),
    )  # fmt: skip
    assert ran(run.sites) == {"first": 1, "second": 1, "side": 1}
    return run.sites


def test_a_file_that_was_deleted_is_made_again_with_what_that_needs(tmp_path: Path, first: Path) -> None:
    (first / "one" / "b.txt").unlink()
    run = again(tmp_path, *FLOATING)
    assert ran(first) == {"first": 1, "second": 1, "third": 1}
    assert (run.work / "end.txt").read_text() == "in\nin\n"
    assert not (first / "one" / "a.txt").exists(), "a temporary file that was made again is removed again"
    assert "Nothing to be done" in again(tmp_path, *FLOATING).text


def test_a_file_that_was_changed_is_not_used(tmp_path: Path, first: Path) -> None:
    (first / "one" / "s.txt").write_text("something else\n")
    run = again(tmp_path, *FLOATING)
    assert ran(first) == {"side": 1, "third": 1}
    assert (first / "one" / "s.txt").read_text() == "in\n", "where its group is bound to"
    assert (run.work / "end.txt").read_text() == "in\nin\n"


@pytest.mark.parametrize("spoil", ["rm x/y/deep", "echo more >>x/y/deep", "mv x/y/deep x/y/other", "rmdir x/empty"])
def test_a_directory_that_changed_deep_inside_is_made_again(tmp_path: Path, spoil: str) -> None:
    (tmp_path / "sites").mkdir()
    snakefile = """
    rule all:
        input: "end.txt"
    rule first:
        output: directory("d")
        shell: "echo first >>SITES/ran; mkdir -p {output}/x/y {output}/x/empty; echo a > {output}/x/y/deep"
    rule second_two:
        input: "d"
        output: "end.txt"
        shell: "echo second >>SITES/ran; cat {input}/x/y/deep > {output}; [ -d {input}/x/empty ]"
    """
    run = run_workflow(tmp_path, snakefile, COMPANION, *FLOATING)
    assert ran(run.sites) == {"first": 1, "second": 1}
    again(tmp_path, *FLOATING, "--force", "end.txt")
    assert ran(run.sites) == {"second": 1}, "a directory that nobody touched is used as it is"
    for site in ("one", "two"):
        subprocess.run(spoil, shell=True, check=True, cwd=run.sites / site / "d")
    again(tmp_path, *FLOATING, "--force", "end.txt")
    assert ran(run.sites) == {"first": 1, "second": 1}
    assert (run.work / "end.txt").read_text() == "a\n"


def test_a_site_that_was_emptied_loses_nothing_for_good(tmp_path: Path, first: Path) -> None:
    shutil.rmtree(first / "one")
    run = again(tmp_path, *FLOATING)
    assert ran(first) == {"first": 1, "second": 1, "side": 1, "third": 1}
    assert (run.work / "end.txt").read_text() == "in\nin\n"


def test_a_workflow_that_was_moved_finds_its_files(tmp_path: Path, first: Path) -> None:
    (tmp_path / "work").rename(tmp_path / "elsewhere")
    (tmp_path / "new").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "new" / "work")
    companion = tmp_path / "new" / "work" / "streamflow.yml"
    assert str(first) in companion.read_text()
    run = again(tmp_path / "new", *FLOATING)
    assert ran(first) == {"third": 1}
    assert (run.work / "end.txt").read_text() == "in\nin\n"


def test_a_source_that_nobody_has_is_named(tmp_path: Path, first: Path) -> None:
    (first / "one" / "b.txt").unlink()
    (tmp_path / "work" / "in.txt").unlink()
    (first / "one" / "in.txt").unlink()
    run = again(tmp_path, *FLOATING, code=None)
    assert "in.txt" in run.text
    assert ran(first)["second"] == 0


def test_a_file_that_vanishes_while_its_consumer_runs_at_the_same_site_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    snakefile = """
    rule all:
        input: "end.txt"
    rule first:
        output: "a.txt"
        shell: "echo first >>SITES/ran; echo a > {output}"
    rule second:
        input: "a.txt"
        output: "end.txt"
        shell: "echo second >>SITES/ran; [ -e SITES/once ] || rm {input}; touch SITES/once; cat {input} > {output}"
    """
    run = run_workflow(tmp_path, snakefile, COMPANION, *FLOATING)
    assert ran(run.sites) == {"first": 2, "second": 2}
    assert (run.work / "end.txt").read_text() == "a\n"


TWO_HOSTS = """
    rule all:
        input: "end.txt"
    rule first:
        output: "a.txt"
        shell: "echo first >>RAN; echo a > {output}"
    rule second_two:
        input: "a.txt"
        output: "end.txt"
        shell: "cat {input} > {output}"
    """


def two_hosts(hosts: SshHosts) -> str:
    """A companion file for two hosts; `second_two` runs at the second one."""
    config = f"username: root, sshKey: {hosts.key}, knownHosts: {hosts.known_hosts}, configFile: /dev/null"
    one, two = hosts.hosts[:2]
    return (
        "version: v1.0\nbindings:\n  - {rule: second_two, target: {deployment: two}}\n"
        '  - {rule: "*", target: [{deployment: one}, {deployment: two}], policy: order}\ndeployments:\n'
        f"  one: {{type: ssh, workdir: /root/lost, config: {{nodes: [{one}], {config}}}}}\n"
        f"  two: {{type: ssh, workdir: /root/lost, config: {{nodes: [{two}], {config}}}}}\n"
    )


def test_a_file_of_other_content_is_not_delivered_though_its_size_and_time_fit(
    tmp_path: Path, ssh_hosts: SshHosts
) -> None:
    for host in (1, 2):
        ssh_hosts.run(host, "rm -rf /root/lost")
    snakefile = TWO_HOSTS.replace("RAN", "/root/lost/ran")
    run_workflow(tmp_path, snakefile, two_hosts(ssh_hosts), *FLOATING)
    ssh_hosts.run(2, "rm /root/lost/a.txt")
    ssh_hosts.run(1, "cd /root/lost; touch -r a.txt then; echo b > a.txt; touch -r then a.txt")
    wrong = cli(tmp_path / "work", "data", "verify", "--json", code=1).data["replicas"]
    assert {(r["filesystem"].split("/")[0], r["state"]) for r in wrong if r["path"] == "a.txt"} == {
        ("one", "changed"),
        ("two", "gone"),
    }
    run = again(tmp_path, *FLOATING, "--force", "end.txt")
    assert "its digest is not what it was" in run.text
    assert ssh_hosts.run(1, "cat /root/lost/ran").stdout == "first\nfirst\n"
    assert (run.work / "end.txt").read_text() == "a\n"


def test_a_host_that_is_lost_between_runs(tmp_path: Path, ssh_hosts: SshHosts) -> None:
    snakefile, companion = TWO_HOSTS.replace("echo first >>RAN; ", ""), two_hosts(ssh_hosts)
    run_workflow(tmp_path, snakefile, companion, "a.txt", "--streamflow-leave-targets", *FLOATING)
    assert ssh_hosts.run(1, "cat /root/lost/a.txt").stdout == "a\n"
    ssh_hosts.stop(1)
    try:
        run = again(tmp_path, *FLOATING)
    finally:
        ssh_hosts.start(1)
    assert (run.work / "end.txt").read_text() == "a\n"
    assert run.jobs(f"two/{ssh_hosts.hosts[1]}") == 2

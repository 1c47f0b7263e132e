"""`data` after runs at two sites of this machine."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.journal.identity import workflow_key
from snakemake_executor_plugin_streamflow.plan import Dropped

from ..executor.running import TWO_SITES, Run, again, run_workflow
from .commands import cli, journal_of

SNAKEFILE = """
    rule all:
        input: "results/all.txt"
    rule part:
        input: "in.txt"
        output: "results/part {n}.txt"
        shell: "cat {input} > {output:q}; echo {wildcards.n} >> {output:q}"
    rule folder:
        output: directory("results/folder")
        shell: "mkdir -p {output}/sub; echo x > {output}/sub/x"
    rule gather_two:
        input: expand("results/part {n}.txt", n=range(2)), "results/folder"
        output: "results/all.txt"
        shell: "cat results/part* > {output}"
    """
PARTS = [f"results/part {n}.txt" for n in range(2)]


def prepare(work: Path) -> None:
    (work / "in.txt").write_text("in\n" * 1000)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nobody changes."""
    return run_workflow(tmp_path_factory.mktemp("finished"), SNAKEFILE, TWO_SITES, prepare=prepare)


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A copy of it, with sites of its own: to be changed."""
    here = Path(shutil.copytree(finished.work.parent, tmp_path, symlinks=True, dirs_exist_ok=True))
    run = replace(finished, work=here / "work", sites=here / "sites")
    (run.work / "streamflow.yml").write_text(TWO_SITES.replace("SITES", str(run.sites)))
    for site in run.sites.iterdir():
        (site / ".streamflow" / "owner").write_text(f"{workflow_key(run.work)}\n")
    return run


def where(work: Path, path: str) -> list[str]:
    """The filesystems of a path."""
    return [replica["filesystem"] for replica in cli(work, "data", "where", path, "--json").data["replicas"]]


def test_ls_lists_what_is_where(finished: Run) -> None:
    paths = {path["path"]: path for path in cli(finished.work, "data", "ls", "--json").data["paths"]}
    assert set(paths) == {"in.txt", *PARTS, "results/folder", "results/all.txt"}
    assert paths["in.txt"]["size_b"] == 3000
    assert [r["filesystem"] for r in paths[PARTS[0]]["replicas"]] == ["controller", "one", "two"]
    text = cli(finished.work, "data", "ls", "results").text
    assert "in.txt" not in text
    assert "results/folder/" in text
    assert "4 paths" in text
    assert "2 paths" in cli(finished.work, "data", "ls", "results/part*").text


def test_where_tells_each_replica(finished: Run) -> None:
    assert where(finished.work, "results/all.txt") == ["controller", "two"]
    assert where(finished.work, str(finished.work / "results/../results/all.txt")) == ["controller", "two"]
    said = cli(finished.work, "data", "where", "results/folder/sub/x")
    assert "is part of results/folder" in said.text


def test_where_can_go_there_and_look(finished: Run) -> None:
    said = cli(finished.work, "data", "where", "in.txt", "--look", "--json")
    places = {replica["filesystem"]: replica["place"] for replica in said.data["replicas"]}
    assert places == {"controller": str(finished.work / "in.txt"), "one": f"one:{finished.sites / 'one/in.txt'}"}
    assert {replica["state"] for replica in said.data["replicas"]} == {"ok"}


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("results/al.txt", "did you mean 'results/all.txt'?"),
        ("other/all.txt", "there is results/all.txt"),
        ("zzz*", "is not in the journal"),
        ("results", "is a folder that no rule made as a whole"),
    ],
)
def test_a_path_nobody_knows_is_refused_with_the_nearest_name(finished: Run, path: str, hint: str) -> None:
    assert hint in cli(finished.work, "data", "where", path, code=2).errors


def test_verify_finds_what_is_gone_and_what_has_changed(run: Run) -> None:
    assert cli(run.work, "data", "verify").text.count("ok") == 1
    (run.sites / "one" / PARTS[0]).unlink()
    (run.sites / "two" / "results" / "all.txt").write_text("longer than it was" * 1000)
    shutil.rmtree(run.sites / "one" / "results" / "folder")
    said = cli(run.work, "data", "verify", "--json", code=1)
    wrong = {(r["filesystem"], r["path"]): r["state"] for r in said.data["replicas"] if r["state"] != "ok"}
    assert wrong == {
        ("one", PARTS[0]): "gone",
        ("one", "results/folder"): "gone",
        ("two", "results/all.txt"): "changed",
    }
    assert "--repair" in cli(run.work, "data", "verify", code=1).text
    assert cli(run.work, "data", "verify", PARTS[1], "--json").data["replicas"][0]["state"] == "ok"
    assert "has forgotten" in cli(run.work, "data", "verify", "--repair").text
    assert where(run.work, PARTS[0]) == ["controller", "two"]
    assert where(run.work, "results/all.txt") == ["controller"]
    cli(run.work, "data", "verify")


def test_get_brings_what_is_not_here_from_a_site(run: Run) -> None:
    before = {path: (run.work / path).read_bytes() for path in PARTS}
    stamp = (run.work / PARTS[0]).stat().st_mtime
    for path in PARTS:
        (run.work / path).unlink()
    shutil.rmtree(run.work / "results" / "folder")
    said = cli(run.work, "data", "get", "results/part*", "results/folder", "in.txt", "--json")
    assert {one["path"]: one["from"] for one in said.data["brought"]}.keys() == {*PARTS, "results/folder"}
    assert said.data["here"] == ["in.txt"]
    assert {path: (run.work / path).read_bytes() for path in PARTS} == before
    assert (run.work / "results/folder/sub/x").read_text() == "x\n"
    assert abs((run.work / PARTS[0]).stat().st_mtime - stamp) < 1.1, "no younger than it was: nothing is made again"
    assert "controller" in where(run.work, PARTS[0])
    rerun = again(run.work.parent, "--dry-run")
    assert "Nothing to be done" in rerun.text


def test_get_into_another_folder(run: Run, tmp_path: Path) -> None:
    (run.work / PARTS[0]).unlink()
    cli(run.work, "data", "get", *PARTS, "--to", "there", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "there" / "results").iterdir()) == ["part 0.txt", "part 1.txt"]
    assert not (run.work / PARTS[0]).exists()
    assert "is there" in cli(run.work, "data", "get", PARTS[1], "--to", "there", cwd=tmp_path, code=1).text


def test_get_writes_over_nothing_that_the_journal_does_not_know(run: Run) -> None:
    (run.work / PARTS[0]).write_text("mine")
    said = cli(run.work, "data", "get", *PARTS, code=1)
    assert "move it away" in said.text
    assert (run.work / PARTS[0]).read_text() == "mine"


def test_get_uses_no_replica_that_has_changed(run: Run) -> None:
    for top in (run.work, run.sites / "one", run.sites / "two"):
        (top / PARTS[0]).unlink()
    (run.sites / "one" / PARTS[0]).write_text("cut")
    said = cli(run.work, "data", "get", PARTS[0], code=1)
    assert "no usable replica is left" in said.text
    assert "one: changed" in said.text
    assert not (run.work / PARTS[0]).exists()


def test_rm_removes_at_sites_and_leaves_the_controllers_files(run: Run) -> None:
    said = cli(run.work, "data", "rm", "results/part*", "in.txt", code=2)
    assert "--yes" in said.errors
    assert (run.sites / "one" / "in.txt").exists()
    cli(run.work, "data", "rm", "results/part*", "in.txt", "--yes")
    for path in ("in.txt", *PARTS):
        assert not (run.sites / "one" / path).exists()
        assert not (run.sites / "two" / path).exists()
        assert (run.work / path).exists()
        assert where(run.work, path) == ["controller"]
    assert "Nothing to remove" in cli(run.work, "data", "rm", "in.txt", "--yes").text


def test_rm_at_one_filesystem(run: Run) -> None:
    cli(run.work, "data", "rm", PARTS[0], "--at", "two", "--yes")
    assert where(run.work, PARTS[0]) == ["controller", "one"]
    assert (run.sites / "one" / PARTS[0]).exists()
    assert "did you mean 'one'" in cli(run.work, "data", "rm", PARTS[0], "--at", "ones", "--yes", code=2).errors
    cli(run.work, "data", "rm", PARTS[0], "--at", "controller", "--yes")
    assert not (run.work / PARTS[0]).exists()


def test_rm_at_a_deployment_with_one_filesystem(run: Run) -> None:
    with journal_of(run.work) as journal:
        two = next(one for one in journal.replicas() if (one.path, one.filesystem) == (PARTS[0], "two"))
        journal.apply([Dropped(two.path, "two"), *(replace(two, filesystem=f"two/{host}") for host in "ab")])
    said = cli(run.work, "data", "rm", PARTS[0], "--at", "two", "--yes", code=2)
    assert "say --at two/a or --at two/b" in said.errors
    cli(run.work, "data", "rm", PARTS[0], "--at", "two/a", "--yes")
    assert where(run.work, PARTS[0]) == ["controller", "one", "two/b"]
    cli(run.work, "data", "rm", PARTS[0], "--at", "two", "--yes")
    assert where(run.work, PARTS[0]) == ["controller", "one"]


def test_rm_asks_and_warns_of_the_last_replica(run: Run) -> None:
    cli(run.work, "data", "rm", PARTS[0], "--yes")
    for answer, there in (("n\n", True), ("y\n", False)):
        said = ask(run.work, answer, "data", "rm", PARTS[0], "--at", "controller")
        assert f"No replica is left then of {PARTS[0]}" in said
        assert (run.work / PARTS[0]).exists() is there


def test_nothing_is_removed_under_a_run_that_goes_on(run: Run) -> None:
    with journal_of(run.work) as journal:
        journal.start_run("now", time.time())  # this process is that run
        for command in (("data", "rm", "in.txt", "--yes"), ("data", "verify", "--repair"), ("cleanup",)):
            said = cli(run.work, *command, code=2)
            assert f"process {os.getpid()}" in said.errors
            assert "Nothing was changed" in said.errors
        cli(run.work, "data", "verify")
        cli(run.work, "data", "get", "in.txt")
    assert (run.sites / "one" / "in.txt").exists()


def test_a_deployment_that_left_the_companion_file_is_gone(run: Run) -> None:
    file = run.work / "streamflow.yml"
    file.write_text(file.read_text().replace("two", "three"))
    said = cli(run.work, "data", "verify", code=1)
    assert "no deployment of" in said.text
    assert "Only forgotten: two" in cli(run.work, "data", "rm", "results/all.txt", "--yes").text


def test_without_a_companion_file_an_example_is_shown(run: Run) -> None:
    (run.work / "streamflow.yml").rename(run.work / "other.yml")
    assert "there is no companion file" in cli(run.work, "data", "verify", code=2).errors
    cli(run.work, "data", "verify", "--file", "other.yml")
    cli(run.work, "data", "ls")


def test_it_starts_fast() -> None:
    """It loads neither ssh nor docker, and no asyncio, to show what the journal has."""
    code = (
        "import sys; from snakemake_executor_plugin_streamflow.cli import main\n"
        "assert main(['status', '-d', '/nonexistent']) == 2\n"
        "print(sorted(m for m in ('asyncssh', 'docker', 'yaml', 'asyncio', 'snakemake') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def ask(work: Path, answer: str, *args: str) -> str:
    """Run a command at a terminal, and answer its question."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "snakemake_executor_plugin_streamflow.cli", "--directory", str(work), *args]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        os.write(ours, answer.encode())
        text, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return text.decode()


def test_files_that_float_come_home_with_the_times_that_snakemake_knows(tmp_path: Path) -> None:
    floating = ("--default-storage-provider", "streamflow", "--default-storage-prefix", "streamflow://")
    shared = ("persistence", "software-deployment", "sources", "source-cache", "software-deployment-cache")
    options = (*floating, "--shared-fs-usage", *shared)
    run = run_workflow(tmp_path, SNAKEFILE, TWO_SITES, *options, prepare=prepare)
    assert not (run.work / PARTS[0]).exists()
    assert where(run.work, PARTS[0]) == ["one", "two"]
    cli(run.work, "data", "get", "results")
    assert (run.work / "results/folder/sub/x").read_text() == "x\n"
    assert where(run.work, "results/folder") == ["controller", "one", "two"]
    cli(run.work, "data", "verify")
    assert "Nothing to be done" in again(tmp_path, *options, "--dry-run").text
    cli(run.work, "data", "rm", "results", "--yes")
    assert "Nothing to be done" in again(tmp_path, *options, "--dry-run").text, "the controller has all of it"

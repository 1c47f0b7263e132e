"""Workflows that read and write files at sites."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ..executor.running import again, run_workflow

COMPANION = """\
version: v1.0
deployments:
  one: {type: local, workdir: SITES/one}
  two: {type: local, workdir: SITES/two}
"""

SNAKEFILE = """
    names = glob_wildcards(storage("streamflow://oneSITES/data/{name}.in")).name
    assert sorted(names) == ["a", "b"], names

    rule all:
        input: expand("{name}.txt", name=names), storage("streamflow://oneSITES/results/folder")
    rule upper:
        input: storage("streamflow://oneSITES/data/{name}.in")
        output: storage("streamflow://twoSITES/results/{name}.up")
        shell: "tr a-z A-Z < {input} > {output}"
    rule twice:
        input: storage("streamflow://twoSITES/results/{name}.up")
        output: "{name}.txt"
        shell: "cat {input} {input} > {output}"
    rule folder:
        input: expand("{name}.txt", name=names)
        output: storage(directory("streamflow://oneSITES/results/folder"))
        shell: "mkdir {output}; cp {input} {output}"
    """


@pytest.mark.parametrize("args", [["--executor", "local", "--cores", "2"], ["--executor", "streamflow", "--jobs", "2"]])
def test_files_at_sites_are_read_and_written(tmp_path: Path, args: list[str]) -> None:
    sites = tmp_path / "sites"
    (sites / "data").mkdir(parents=True)
    for name in ("a", "b"):
        (sites / "data" / f"{name}.in").write_text(f"{name}\n")
    run = run_workflow(tmp_path, SNAKEFILE, COMPANION, *args)
    assert (run.work / "a.txt").read_text() == "A\nA\n"
    assert (sites / "results" / "b.up").read_text() == "B\n"
    assert (sites / "results" / "folder" / "b.txt").read_text() == "B\nB\n"
    assert not [*(run.work / ".snakemake" / "storage").rglob("*.in")], "local copies are removed at the end"
    assert not [*sites.rglob(".sf-*")]
    assert "Nothing to be done" in again(tmp_path, *args).text
    time.sleep(0.01)
    (sites / "data" / "a.in").write_text("c\n")
    assert "Nothing to be done" not in again(tmp_path, *args).text
    assert (run.work / "a.txt").read_text() == "C\nC\n"
    (sites / "results" / "b.up").unlink()
    again(tmp_path, *args, "--forceall")
    assert (sites / "results" / "b.up").read_text() == "B\n"


def test_the_companion_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "x").write_text("x")
    (tmp_path / "other.yml").write_text(COMPANION.replace("SITES", str(tmp_path / "sites")))
    snakefile = """
    rule all:
        input: storage("streamflow://oneSITES/x")
        output: storage("streamflow://twoSITES/y")
        run:
            with open(input[0]) as source, open(output[0], "w") as target:
                target.write(source.read() * 2)
    """
    args = ["--executor", "local", "--cores", "1", "--storage-streamflow-file", str(tmp_path / "other.yml")]
    run_workflow(tmp_path, snakefile, None, *args)
    assert (tmp_path / "sites" / "y").read_text() == "xx"


def test_an_unknown_deployment_ends_the_run_with_the_nearest_name(tmp_path: Path) -> None:
    snakefile = """
    rule all:
        input: storage("streamflow://onne/data/x")
        output: "y"
        shell: "cp {input} {output}"
    """
    run = run_workflow(tmp_path, snakefile, COMPANION, "--executor", "local", "--cores", "1", code=1)
    assert "streamflow.yml:2:1" in run.text
    assert "did you mean 'one'?" in run.text
    assert "Traceback" not in run.text

"""What Snakefiles do with names of files that float."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.exceptions import WorkflowError
from snakemake.io import expand, flag, glob_wildcards, temp

from snakemake_storage_plugin_streamflow.snakefile import Functions

from .floating import files, floating

SNAKEFILE = """
rule all:
    input: "all"
rule number_one:
    output: "numbers/{n}.txt"
    shell: "echo {wildcards.n} > {output}"
checkpoint letters_one:
    input: expand(rules.number_one.output, n=[1, 2]), collect(rules.number_one.output[0], n=lambda wildcards: [3])
    output: directory("letters")
    shell: "mkdir {output}; cat {input} > {output}/of; touch {output}/a.txt {output}/b.txt"
rule copy_two:
    input: "letters/{x}.txt"
    output: "copies/{x}.txt"
    shell: "echo {wildcards.x} > {output}"
def found(wildcards):
    folder = checkpoints.letters_one.get().output[0]
    return [
        f"{folder}/of",
        *expand(rules.copy_two.output, x=glob_wildcards("letters/{x}.txt").x),
        *(f"{folder}/{x}.txt" for x in sorted(glob_wildcards(os.path.join(folder, "{x}.txt")).x)),
    ]
rule all_one:
    input: found
    output: "all"
    shell: "cat {input} > {output}"
"""


def test_functions_of_snakemake_take_names_of_files_that_float(tmp_path: Path) -> None:
    run = floating(tmp_path, SNAKEFILE)
    text = (run.work / "all").read_text().split()
    assert (text[:3], sorted(text[3:])) == (["1", "2", "3"], ["a", "b"])
    assert files(run.work) == {"Snakefile", "streamflow.yml", "all"}
    assert (run.jobs("one"), run.jobs("two")) == (5, 2)


def names(tmp_path: Path, *known: str) -> Functions:
    """Functions of files of which some are elsewhere."""
    ledger = SimpleNamespace(paths=lambda: [*known, "removed/x.txt"])
    engine = SimpleNamespace(files=SimpleNamespace(ledger=ledger, state=lambda path: path if path in known else None))
    return Functions(SimpleNamespace(local_prefix=tmp_path / "copies", engine=engine))


def test_a_glob_finds_each_file_once_wherever_it_is(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.txt", "copies/a/1.txt", "copies/a/2.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = names(Path(), "a/1.txt", "b/3.txt").globbing(glob_wildcards)("{folder}/{x}.txt")
    assert set(zip(found.folder, found.x, strict=True)) == {("a", "1"), ("a", "2"), ("b", "3"), ("copies/a", "1")} | {
        ("copies/a", "2")
    }
    assert len(found.x) == 5
    assert names(Path()).globbing(glob_wildcards)("none/{x}.txt").x == []


def test_patterns_without_a_mark_of_ours_are_left_to_snakemake(tmp_path: Path) -> None:
    ours = names(tmp_path).expanding(expand)
    assert ours("{x}.txt", x=[1, 2]) == ["1.txt", "2.txt"]
    assert ours([Path("a/{x}"), "b/{x}"], x="c") == ["a/c", "b/c"]
    marked = flag("{x}.txt", "storage_object", SimpleNamespace(query="streamflow://host/{x}.txt"))
    for refused in (marked, temp("{x}.txt")):
        with pytest.raises(WorkflowError, match="given to expand"):
            ours(refused, x=1)

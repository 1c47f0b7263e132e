"""Groups, pipes, services and temporary files at sites."""

from __future__ import annotations

from pathlib import Path

import pytest

from .running import TWO_SITES, run_workflow, same_as_local


def test_pipes_and_services_run_together_at_one_site(tmp_path: Path) -> None:
    snakefile = """
        rule all:
            input: "counted.txt", "served.txt"
        rule produce:
            output: pipe("numbers.fifo")
            shell: "seq 1000 >{output}"
        rule consume:
            input: "numbers.fifo"
            output: "counted.txt"
            shell: "wc -l <{input} >{output}"
        rule serve:
            output: service("there.socket")
            shell: "echo ready >{output}; exec sleep 60"
        rule ask:
            input: "there.socket"
            output: "served.txt"
            shell: "cat {input} >{output}"
        """
    run = run_workflow(tmp_path, snakefile, TWO_SITES, timeout_s=60)
    assert (run.work / "counted.txt").read_text().strip() == "1000"
    assert (run.work / "served.txt").read_text() == "ready\n"
    assert run.jobs("one") == 2


@pytest.mark.parametrize("directive", ["shell: 'echo why >&2; exit 3'", "run: shell('echo why >&2; exit 3')"])
def test_the_failure_of_a_group_names_the_member(tmp_path: Path, directive: str) -> None:
    snakefile = f"""
rule first:
    output: "first.txt"
    group: "g"
    shell: "echo >{{output}}"
rule culprit:
    input: "first.txt"
    output: "last.txt"
    group: "g"
    {directive}
"""
    run = run_workflow(tmp_path, snakefile, TWO_SITES, "last.txt", code=1)
    said = run.text.partition("ended with code")[2].partition("The whole of it")[0]
    assert "why" in said
    assert "ule culprit" in said
    assert "ule first" not in said


def test_temporary_files_are_removed_at_sites_too(tmp_path: Path) -> None:
    snakefile = """
        rule all:
            input: "b.txt"
        rule a:
            output: temp("a.txt")
            shell: "echo a >{output}"
        rule b:
            input: "a.txt"
            output: "b.txt"
            shell: "cp {input} {output}"
        """
    run = same_as_local(tmp_path, snakefile)
    assert (run.sites / "one" / "b.txt").exists()
    assert not (run.sites / "one" / "a.txt").exists()


def test_the_cache_between_workflows(tmp_path: Path) -> None:
    snakefile = """
        rule a:
            output: "a.txt"
            cache: True
            shell: "date +%N >{output}"
        """
    cache = tmp_path / "cache"
    cache.mkdir()
    env = {"SNAKEMAKE_OUTPUT_CACHE": str(cache)}
    first = run_workflow(tmp_path, snakefile, TWO_SITES, "--cache", env=env)
    second = run_workflow(tmp_path, snakefile, TWO_SITES, "--cache", env=env, name="other")
    assert (first.jobs("one"), second.jobs("one")) == (1, 0)
    assert (first.work / "a.txt").read_text() == (second.work / "a.txt").read_text()


def test_scripts_that_a_command_names_come_along(tmp_path: Path) -> None:
    snakefile = """
        rule a:
            input: "in.txt"
            output: "a.txt"
            shell: "python3 scripts/count.py {input} >{output}"
        """

    def prepare(work: Path) -> None:
        (work / "scripts").mkdir()
        (work / "in.txt").write_text("1\n2\n")
        (work / "scripts/count.py").write_text("import sys, other; print(other.count(sys.argv[1]))\n")
        (work / "scripts/other.py").write_text("def count(path): return len(open(path).readlines())\n")

    assert same_as_local(tmp_path, snakefile, prepare=prepare).jobs("one") == 1


def test_whole_paths_of_the_workflow_are_those_of_the_site(tmp_path: Path) -> None:
    snakefile = """
        rule a:
            output: "a.txt"
            params: script=f"{workflow.basedir}/scripts/say.sh", word=workflow.source_path("word.txt")
            shell: "sh {params.script} {params.word} >{output}"
        """

    def prepare(work: Path) -> None:
        (work / "scripts").mkdir()
        (work / "word.txt").write_text("a word\n")
        (work / "scripts/say.sh").write_text('echo "$0" "$1" >&2; cat "$1"; rm "$0" "$1"\n')

    run = run_workflow(tmp_path, snakefile, TWO_SITES, prepare=prepare)
    assert (run.work / "a.txt").read_text() == "a word\n"
    assert (run.work / "scripts/say.sh").exists(), "it was run at the site, not here"


def test_a_command_sees_the_names_of_its_module(tmp_path: Path) -> None:
    snakefile = """
        module other:
            snakefile: "other.smk"
            config: {"word": "inner"}
        use rule * from other as other_*
        config["word"] = "outer"
        rule all:
            default_target: True
            input: "said.txt"
        """

    def prepare(work: Path) -> None:
        (work / "other.smk").write_text(
            'rule say:\n    output: "said.txt"\n    shell: "echo {config[word]} >{output}"\n'
        )

    run = same_as_local(tmp_path, snakefile, prepare=prepare)
    assert (run.work / "said.txt").read_text() == "inner\n"

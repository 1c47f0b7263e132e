"""What Snakemake decides while a workflow runs: retries, checkpoints, groups, and its options."""

# ruff: noqa: E501 - a shell command of a rule is one line

from __future__ import annotations

from pathlib import Path

import pytest

from .running import TWO_SITES, again, run_workflow, same_as_local


def test_retries_see_the_attempt(tmp_path: Path) -> None:
    run = same_as_local(
        tmp_path,
        """
        rule a:
            output: "a.txt"
            retries: 2
            resources: mem_mb=lambda w, attempt: 100 * attempt
            shell: "echo {resources.mem_mb} > {output}; test {resources.mem_mb} = 300"
        """,
    )
    assert (run.work / "a.txt").read_text() == "300\n"
    assert run.jobs("one") == 3


def test_a_rule_without_retries_fails_once(tmp_path: Path) -> None:
    run = run_workflow(
        tmp_path, 'rule a:\n    output: "a"\n    shell: "echo x >> SITES/count; false"\n', TWO_SITES, code=1
    )
    assert (run.sites / "count").read_text() == "x\n"
    assert run.jobs("one") == 1


SOME_FAIL = """
    rule all:
        input: "good3", "bad_after"
    rule bad:
        output: "bad"
        shell: "touch {output}; exit 1"
    rule bad_after:
        input: "bad"
        output: "bad_after"
        shell: "touch {output}"
    rule good:
        output: "good{n,1}"
        shell: "sleep 1; touch {output}"
    rule good_again_two:
        input: "good1"
        output: "good3"
        shell: "cp {input} {output}"
    """


def test_keep_going(tmp_path: Path) -> None:
    run = same_as_local(tmp_path, SOME_FAIL, "--keep-going", code=1)
    assert (run.work / "good3").exists()
    assert not (run.work / "bad_after").exists()


def test_without_keep_going_nothing_new_is_started(tmp_path: Path) -> None:
    run = run_workflow(tmp_path, SOME_FAIL, TWO_SITES, code=1)
    assert not (run.work / "good3").exists()
    assert (run.work / "good1").exists(), "what runs already comes to its end"


@pytest.mark.parametrize("keep", [True, False])
def test_keep_incomplete(tmp_path: Path, keep: bool) -> None:
    run = same_as_local(
        tmp_path,
        'rule a:\n    output: "a.txt", directory("d")\n    shell: "echo part > a.txt; mkdir -p d; echo x > d/x; exit 1"\n',
        *(["--keep-incomplete"] if keep else []),
        code=1,
    )
    assert (run.work / "a.txt").exists() == keep
    local = again(tmp_path, "--executor", "local", "-c1", "--dry-run", name="local")
    assert ("Nothing to be done" in again(tmp_path, "--dry-run").text) == ("Nothing to be done" in local.text)


def test_touch_and_dry_run_start_nothing(tmp_path: Path) -> None:
    snakefile = 'rule a:\n    output: "a.txt"\n    shell: "echo a > {output}"\n'
    run = run_workflow(tmp_path, snakefile, TWO_SITES, "--dry-run")
    assert not run.sites.exists()
    assert "a.txt" in run.text
    (run.work / "a.txt").write_text("mine\n")
    run = again(tmp_path, "--touch", "--forceall")
    assert not run.sites.exists()
    assert (run.work / "a.txt").read_text() == "mine\n"
    assert "Nothing to be done" in again(tmp_path).text


def test_local_rules_and_unbound_rules_run_here(tmp_path: Path) -> None:
    companion = TWO_SITES.replace('rule: "*",', "rule: bound,")
    run = run_workflow(
        tmp_path,
        """
        localrules: here
        rule all:
            input: "bound.txt", "here.txt", "unbound.txt", "script.txt", "run.txt"
        rule bound:
            output: "bound.txt"
            shell: "pwd > {output}"
        rule here:
            input: "bound.txt"
            output: "here.txt"
            shell: "pwd > {output}"
        rule unbound:
            input: "here.txt"
            output: "unbound.txt"
            shell: "pwd > {output}"
        rule script:
            input: "unbound.txt"
            output: "script.txt"
            script: "script.py"
        rule run:
            input: "bound.txt"
            output: "run.txt"
            benchmark: "bench.txt"
            run:
                import os
                with open(output[0], "w") as f:
                    print(os.getcwd(), file=f)
        """,
        companion,
        prepare=_script,
    )
    assert (run.work / "bound.txt").read_text() == f"{run.sites}/one\n"
    for name in ("here", "unbound", "script", "run"):
        assert (run.work / f"{name}.txt").read_text() == f"{run.work}\n"
    assert (run.work / "bench.txt").exists()
    assert run.jobs("controller") == 3


def _script(work: Path) -> None:
    (work / "script.py").write_text(
        "import os\nwith open(snakemake.output[0], 'w') as f:\n    print(os.getcwd(), file=f)\n"
    )


def test_checkpoints_and_input_functions(tmp_path: Path) -> None:
    run = same_as_local(
        tmp_path,
        """
        def parts(wildcards):
            folder = checkpoints.split.get().output[0]
            return expand("done/{n}.txt", n=glob_wildcards(folder + "/{n}.txt").n)
        rule all:
            input: "all.txt"
        checkpoint split:
            output: directory("parts")
            shell: "mkdir -p {output}; for n in 1 2 3; do echo $n > {output}/$n.txt; done"
        rule work_two:
            input: "parts/{n}.txt"
            output: "done/{n}.txt"
            shell: "cat {input} {input} > {output}"
        rule gather:
            input: parts
            output: "all.txt"
            shell: "cat {input} > {output}"
        """,
    )
    assert sorted((run.work / "all.txt").read_text().split()) == list("112233")


GROUP = """
    rule all:
        input: expand("last.{n}", n=[1, 2]), "g.done"
    rule first:
        output: temp("big.{n}")
        group: "g"
        shell: "head -c 2000000 /dev/zero > {output}"
    rule mark:
        input: "big.{n}"
        output: touch("marked.{n}")
        group: "g"
        shell: "test -s {input}"
    rule last:
        input: "big.{n}", "marked.{n}", "in.txt"
        output: "last.{n}"
        log: "logs/{n}.log"
        group: "g"
        threads: 2
        shell: "wc -c < big.{wildcards.n} > {output}; cat in.txt >> {output}; pwd > {log}; test -e marked.{wildcards.n}"
    rule after:
        input: expand("last.{n}", n=[1, 2])
        output: touch("g.done")
        shell: "cat {input}"
    """


def _input(work: Path) -> None:
    (work / "in.txt").write_text("in\n")


def test_a_groups_intermediates_stay_where_it_runs(tmp_path: Path) -> None:
    run = run_workflow(tmp_path, GROUP, TWO_SITES, prepare=_input, code=0)
    for n in (1, 2):
        assert (run.work / f"last.{n}").read_text() == "2000000\nin\n"
        assert not (run.work / f"big.{n}").exists()
        assert (run.work / f"marked.{n}").exists()
    assert run.fetched_mb("one") < 0.01, "temp files that only the group needs do not travel"
    assert run.jobs("one") == 3
    assert "Nothing to be done" in again(tmp_path).text


def test_a_group_binding(tmp_path: Path) -> None:
    companion = TWO_SITES.replace('rule: "*_two"', 'group: "g"')
    run = run_workflow(tmp_path, GROUP, companion, "--notemp", prepare=_input)
    assert (run.work / "logs/1.log").read_text() == f"{run.sites}/two\n"
    assert (run.work / "big.1").stat().st_size == 2_000_000, "as with the local executor"
    assert run.jobs("one") == 1


def test_a_group_whose_member_fails(tmp_path: Path) -> None:
    run = run_workflow(
        tmp_path,
        """
        rule all:
            input: "c"
        rule a:
            output: "a"
            log: "a.log"
            group: "g"
            shell: "echo a > {output}; echo la > {log}"
        rule b:
            input: "a"
            output: "b"
            log: "b.log"
            group: "g"
            shell: "echo b > {output}; echo lb > {log}; echo why not >&2; exit 4"
        rule c:
            input: "b"
            output: "c"
            group: "g"
            shell: "touch {output} SITES/ran_c"
        """,
        TWO_SITES,
        code=1,
    )
    assert not (run.sites / "ran_c").exists()
    assert not (run.work / "b").exists()
    assert not (run.work / "c").exists()
    assert (run.work / "b.log").read_text() == "lb\n"
    assert "why not" in run.text
    run = again(tmp_path, code=1)
    assert "why not" in run.text, "a second run tries again"


def test_groups_compare_with_the_local_executor(tmp_path: Path) -> None:
    snakefile = GROUP.replace("; pwd > {log}", "; echo > {log}")
    same_as_local(tmp_path, snakefile, prepare=_input)

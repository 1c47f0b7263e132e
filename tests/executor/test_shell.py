"""What Snakemake puts around a shell command holds at a site too."""

# ruff: noqa: E501 - a shell command of a rule is one line

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.jobs import added_variables

from .running import TWO_SITES, command, environment, run_workflow, same_as_local, wait_until, write_workflow


@pytest.mark.parametrize(
    "line", ["false | true; touch {output}", "echo $NOT_SET_AT_ALL; touch {output}", "false; touch {output}"]
)
def test_bash_is_strict(tmp_path: Path, line: str) -> None:
    run = same_as_local(tmp_path, f'rule a:\n    output: "a.txt"\n    shell: "{line}"\n', code=1)
    assert "rule a" in run.text
    assert not (run.work / "a.txt").exists()


def test_a_command_sees_prefix_suffix_threads_and_temporary_directory_as_it_would_here(tmp_path: Path) -> None:
    same_as_local(
        tmp_path,
        r"""
        shell.prefix("set -e; PRE=fix; ")
        shell.suffix("; echo suffix >> a.txt")
        rule all:
            input: "a.txt", "b.txt", "c.txt"
        rule a:
            output: "a.txt"
            threads: 2
            shell: 'false | true; echo "$PRE {threads} $OMP_NUM_THREADS $GOTO_NUM_THREADS $OPENBLAS_NUM_THREADS '
                   '$MKL_NUM_THREADS $VECLIB_MAXIMUM_THREADS $NUMEXPR_NUM_THREADS ${{BASH_VERSION:+bash}}" > {output}'
        rule b:
            output: "b.txt"
            resources: tmpdir="/var/tmp"
            shell: 'echo "$TMPDIR $TMP $TEMPDIR $TEMP {resources.tmpdir}" > {output}; cp {output} a.txt.tmp; rm a.txt.tmp #'
        rule c_two:
            output: "c.txt"
            resources: shell_exec="sh"
            shell: 'case "${{BASH_VERSION:-}}" in ?*) echo "sh is bash";; *) echo sh;; esac > {output} #'
        """,
    )


def test_the_temporary_directory_is_one_that_exists_where_the_job_runs(tmp_path: Path) -> None:
    run = run_workflow(
        tmp_path,
        """
        rule a:
            output: "a.txt"
            shell: 'test -d "$TMPDIR" && test "$TMPDIR" = "{resources.tmpdir}" && echo "$TMPDIR" > {output}'
        """,
        TWO_SITES,
    )
    assert os.path.isdir((run.work / "a.txt").read_text().strip())
    assert not list(run.work.glob("*TBD*"))


def test_what_a_snakefile_sets_is_what_was_not_there() -> None:
    assert added_variables({"PATH": "/x", "NEW": "1", "BASH_FUNC_a%%": "()"}, {"PATH"}) == {"NEW": "1"}


def test_another_shell_for_all_rules(tmp_path: Path) -> None:
    run = same_as_local(
        tmp_path,
        """
        shell.executable("sh")
        rule a:
            output: "a.txt"
            shell: "false | true; echo $0 > {output}"
        """,
    )
    assert "bash" not in (run.work / "a.txt").read_text()


@pytest.mark.parametrize("quotes", ["", "'"])
def test_a_command_of_200_kb(tmp_path: Path, quotes: str) -> None:
    run = same_as_local(
        tmp_path,
        """
        rule a:
            output: "a.txt"
            params: long="x" * 200_000
            shell: "printf %s QUOTE{params.long}QUOTE > {output}; echo end >> {output}"
        """.replace("QUOTE", quotes),
    )
    assert (run.work / "a.txt").stat().st_size == 200_004


def test_a_long_command_is_strict_too(tmp_path: Path) -> None:
    same_as_local(
        tmp_path,
        """
        rule a:
            output: "a.txt"
            params: long="x" * 100_000
            shell: "false | true; : {params.long}; touch {output}"
        """,
        code=1,
    )


SECRET = "s3cr3t-va'lue $x"


def test_envvars_reach_the_job_and_nothing_else(tmp_path: Path) -> None:
    work = write_workflow(
        tmp_path,
        """
        envvars: "MY_TOKEN"
        rule a:
            output: "a.txt"
            shell: 'test "$MY_TOKEN"; touch SITES/started; while [ ! -e SITES/go ]; do sleep 0.1; done; '
                   'printf %s "$MY_TOKEN" | sha1sum > {output}'
        """,
        TWO_SITES,
    )
    sites = tmp_path / "sites"
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command("--verbose", "--printshellcmds"),
            cwd=work,
            env=environment({"MY_TOKEN": SECRET}),
            stdout=stream,
            stderr=stream,
        )
    try:
        wait_until(lambda: (sites / "started").exists() or process.poll() is not None)
        seen = 0
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes()
            except OSError:
                continue
            seen += str(sites).encode() in line
            assert b"s3cr3t" not in line, path
        assert seen, "the job's own process was not seen: the test looks at the wrong place"
        _nowhere(work, sites)
        (sites / "go").touch()
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    _nowhere(work, sites)
    assert "s3cr3t" not in log.read_text(errors="replace")
    digest = subprocess.run(["sha1sum"], input=SECRET.encode(), capture_output=True).stdout
    assert (work / "a.txt").read_bytes() == digest


def _nowhere(*tops: Path) -> None:
    looked = 0
    for top in tops:
        for path in top.rglob("*"):
            if path.is_file():
                looked += 1
                assert b"s3cr3t" not in path.read_bytes(), path
    assert looked > 3


def test_an_envvar_that_is_not_set_is_an_error_at_once(tmp_path: Path) -> None:
    run = run_workflow(
        tmp_path, 'envvars: "NOT_SET_AT_ALL"\nrule a:\n    output: "a"\n    shell: "touch a"\n', TWO_SITES, code=None
    )
    assert "NOT_SET_AT_ALL" in run.text
    assert not run.sites.exists()


def test_a_job_that_removes_its_job_directory_ends_as_it_would_here(tmp_path: Path) -> None:
    run = run_workflow(
        tmp_path,
        """
        rule all:
            input: "good.txt", "bad.txt"
        rule good:
            output: "good.txt"
            shell: "rm -rf .streamflow/jobs/*-good-*; echo made > {output}"
        rule bad:
            output: "bad.txt"
            shell: "rm -rf .streamflow/jobs/*-bad-*; exit 7"
        """,
        TWO_SITES,
        "--keep-going",
        code=1,
    )
    assert (run.work / "good.txt").read_text() == "made\n"
    assert "ended with code 7" in run.text

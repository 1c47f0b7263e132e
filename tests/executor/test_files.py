"""Inputs reach the site, outputs and logs come home, and Snakemake's flags mean what they mean here."""

# ruff: noqa: E501 - a shell command of a rule is one line

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .running import FLOATING, TWO_SITES, again, run_workflow, same_as_local


def test_wildcards_params_lists_names_and_input_functions(tmp_path: Path) -> None:
    def prepare(work: Path) -> None:
        (work / "in").mkdir()
        for name in "xyz":
            (work / "in" / f"{name}.txt").write_text(f"{name}\n" * 10)

    run = same_as_local(
        tmp_path,
        r"""
        NAMES = ["x", "y", "z"]
        rule all:
            input: "all.txt"
        rule copy:
            input: lambda w: f"in/{w.name}.txt"
            output: "out/{name}.{part,[0-9]+}.txt"
            params:
                head=lambda w, input: f"{input[0]} {w.name}",
                where=lambda w, output: output[0] + ".tmp",
                numbers=[1, 2, 3],
                table={"a": 1},
            shell: "echo {params.head} {params.where} {params.numbers} {params.table[a]} {wildcards.part} "
                   "{wildcards} {rule} > {output}; cat {input} >> {output}"
        rule multi_two:
            input: many=expand("out/{name}.{part}.txt", name=NAMES, part=[1, 2]), one="in/x.txt"
            output: multiext("multi/m", ".a", ".b"), third="multi/third"
            shell: "cat {input.many} > {output[0]}; cat {input.one} > {output[1]}; echo {input} {output} > {output.third}"
        rule all_txt:
            input: rules.multi_two.output
            output: "all.txt"
            shell: "cat {input} > {output}"
        """,
        prepare=prepare,
    )
    assert run.jobs("one") == 7
    assert run.jobs("two") == 1
    assert (run.sites / "one" / "out" / "x.1.txt").exists()


def test_outputs_with_flags(tmp_path: Path) -> None:
    def prepare(work: Path) -> None:
        (work / "old.txt").write_text("old\n")
        (work / "log.txt").write_text("before\n")

    run = same_as_local(
        tmp_path,
        """
        rule all:
            input: "copy_of_d.txt", "t.done", "p.txt", "e.txt", "u.done", "used.txt", "anc.txt", "quiet/t.done"
        rule d:
            output: directory("d")
            shell: "mkdir -p {output}/sub/empty; echo 1 > {output}/one; echo 2 > {output}/sub/.two; ln -s one {output}/link; chmod +x {output}/one"
        rule of_d_two:
            input: "d"
            output: "copy_of_d.txt"
            shell: "test -d {input}/sub/empty; test -L {input}/link; test -x {input}/one; cat {input}/link {input}/sub/.two > {output}"
        rule t:
            output: touch("t.done"), touch("quiet/t.done")
            shell: "true"
        rule p:
            output: protected("p.txt")
            shell: "echo p > {output}"
        rule e:
            output: ensure("e.txt", non_empty=True, sha256="2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
            shell: "printf hello > {output}"
        rule u:
            output: update("log.txt"), touch("u.done")
            shell: "echo after >> log.txt"
        rule tmp:
            output: temp("tmp.txt"), temp(directory("tmpd"))
            shell: "echo t > tmp.txt; mkdir tmpd; echo td > tmpd/f"
        rule used_two:
            input: "tmp.txt", "tmpd"
            output: "used.txt"
            shell: "cat tmp.txt tmpd/f > {output}"
        rule anc:
            input: ancient("old.txt")
            output: "anc.txt"
            shell: "cat {input} > {output}"
        """,
        prepare=prepare,
    )
    assert not os.access(run.work / "p.txt", os.W_OK) or os.stat(run.work / "p.txt").st_mode & 0o222 == 0
    assert (run.work / "log.txt").read_text() == "before\nafter\n"
    assert not (run.work / "tmp.txt").exists()
    assert not (run.work / "tmpd").exists()
    os.utime(run.work / "old.txt")
    assert "Nothing to be done" in again(tmp_path).text


def test_ensure_refuses_an_empty_file(tmp_path: Path) -> None:
    run = same_as_local(
        tmp_path, 'rule e:\n    output: ensure("e.txt", non_empty=True)\n    shell: "touch {output}"\n', code=1
    )
    assert "e.txt" in run.text


def test_a_protected_output_is_not_overwritten(tmp_path: Path) -> None:
    snakefile = 'rule p:\n    output: protected("p.txt")\n    shell: "date +%N > {output}"\n'
    run = run_workflow(tmp_path, snakefile, TWO_SITES)
    before = (run.work / "p.txt").read_text()
    if os.access(run.work / "p.txt", os.W_OK):
        pytest.skip("for root no file is write-protected, and Snakemake asks the system")
    assert "p.txt" in again(tmp_path, "--forceall", code=None).text
    assert (run.work / "p.txt").read_text() == before


def test_an_updated_output_is_the_controllers_each_time(tmp_path: Path) -> None:
    snakefile = 'rule u:\n    output: update("u.txt")\n    shell: "echo more >> {output}"\n'
    run_workflow(tmp_path, snakefile, TWO_SITES)
    run = again(tmp_path, "--forceall")
    assert (run.work / "u.txt").read_text() == "more\nmore\n"
    (run.work / "u.txt").write_text("mine\n")
    again(tmp_path, "--forceall")
    assert (run.work / "u.txt").read_text() == "mine\nmore\n"


@pytest.mark.parametrize("mode", [[], FLOATING], ids=["drop-in", "floating"])
def test_an_update_of_what_was_not_there_begins_anew_after_a_failure(tmp_path: Path, mode: list[str]) -> None:
    failed = tmp_path / "failed"
    shell = f"echo more >> {{output}}; [ -e {failed} ] || {{{{ touch {failed}; exit 1; }}}}"
    snakefile = f'rule u:\n    output: update("u.txt")\n    retries: 1\n    shell: "{shell}"\n'
    run = run_workflow(tmp_path, snakefile, TWO_SITES, *mode)
    assert (run.work / "u.txt").read_text() == "more\n"
    if not mode:  # what an earlier run has left at the site is not the controller's
        (run.work / "u.txt").unlink()
        again(tmp_path)
        assert (run.work / "u.txt").read_text() == "more\n"


def test_logs_come_home_also_from_failed_jobs_and_may_be_missing(tmp_path: Path) -> None:
    run = run_workflow(
        tmp_path,
        """
        rule all:
            input: "good", "bad", "none"
        rule good:
            output: "good"
            log: "logs/good.log"
            shell: "echo fine > {log}; touch {output}"
        rule bad:
            output: "bad"
            log: a="logs/bad.log", b="logs/never.log"
            shell: "echo it broke > {log.a}; echo half > {output}; echo on stderr >&2; exit 3"
        rule none:
            output: "none"
            log: "logs/none.log"
            shell: "touch {output}"
        """,
        TWO_SITES,
        "--keep-going",
        "--show-failed-logs",
        code=1,
    )
    assert (run.work / "logs/good.log").read_text() == "fine\n"
    assert (run.work / "logs/bad.log").read_text() == "it broke\n"
    assert not (run.work / "bad").exists()
    assert (run.work / "none").exists()
    assert "on stderr" in run.text, "the remote stderr is shown"
    assert "it broke" in run.text, "--show-failed-logs shows the log"
    assert "ended with code 3" in run.text
    where = next(line for line in run.text.splitlines() if "The whole of it: " in line).split("one:")[-1].strip()
    assert "on stderr" in Path(where, "stderr").read_text()


ODD = [
    "two words",
    "quo'te",
    'dou"ble',
    "do$HOME",
    "ünï",
    "-dash",
    "semi;colon",
    "star*",
    "back\\slash",
    "amp&ersand",
    "ha#sh",
    "~tilde",
    "line\nbreak",
]


ODD_RULES = """
    N = NAME
    rule all:
        input: "last"
    rule a:
        input: N
        output: "out/" + N, directory("dir " + N)
        log: "logs/" + N + ".log"
        shell: "cat ./{input:q} > {output[0]:q}; mkdir -p -- {output[1]:q}; cp ./{input:q} {output[1]:q}/f; echo l > {log:q}"
    rule b_two:
        input: "out/" + N, "dir " + N
        output: "last"
        shell: "cat {input[0]:q} {input[1]:q}/f > {output}"
    """


@pytest.mark.parametrize("name", ODD)
def test_odd_file_names(tmp_path: Path, name: str) -> None:
    def prepare(work: Path) -> None:
        (work / name).write_text("in\n")

    run = same_as_local(tmp_path, ODD_RULES.replace("NAME", repr(name)), prepare=prepare)
    assert (run.work / "last").read_text() == "in\nin\n"


def test_symlinks_empty_files_and_executables_as_inputs(tmp_path: Path) -> None:
    def prepare(work: Path) -> None:
        (work / "real").mkdir()
        (work / "real" / "file").write_text("content\n")
        (work / "link").symlink_to("real/file")
        (work / "linkdir").symlink_to("real")
        (work.parent / "elsewhere").write_text("content\n")
        (work / "abslink").symlink_to(work.parent / "elsewhere")
        (work / "empty").touch()
        (work / "tool").write_text("#!/bin/sh\necho tool $1\n")
        (work / "tool").chmod(0o755)

    run = same_as_local(
        tmp_path,
        """
        rule a:
            input: "link", "linkdir/file", "abslink", empty="empty", tool="tool", d="linkdir"
            output: "a.txt", "none", "runs"
            shell: "cat {input[0]} {input[1]} {input[2]} {input.d}/file > a.txt; ./{input.tool} me >> a.txt; cp {input.empty} none; "
                   "cp -p tool runs; test ! -s {input.empty}"
        """,
        prepare=prepare,
    )
    assert (run.work / "a.txt").read_text() == "content\n" * 4 + "tool me\n"
    assert os.access(run.work / "runs", os.X_OK)
    assert (run.work / "none").stat().st_size == 0


def test_files_outside_of_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "out side").mkdir()
    (tmp_path / "out side" / "abs.txt").write_text("absolute\n")
    (tmp_path / "up.txt").write_text("up\n")
    outside = tmp_path / "out side"
    snakefile = f"""
        rule all:
            input: "{outside}/made.txt", "../made_up.txt", "last.txt"
        rule a:
            input: "{outside}/abs.txt", up="../up.txt"
            output: "{outside}/made.txt", "../made_up.txt"
            log: "{outside}/a.log"
            params: same=lambda w, input: input[0], opt=lambda w, input: "--in=" + input.up, other="{outside}/absent"
            shell: "cat {{input[0]:q}} {{input.up}} > {{output[0]:q}}; cat {{params.same:q}} > {{output[1]}}; echo {{params.opt}} {{params.other:q}} > {{log:q}}; "
                   "f={{params.opt}}; cat ${{{{f#--in=}}}} >> {{log:q}}; echo {{input[0]:q}} >> {{log:q}}"
        rule b_two:
            input: "{outside}/made.txt", "../made_up.txt"
            output: "last.txt"
            shell: "cat {{input[0]:q}} {{input[1]}} > {{output}}"
        """
    run = run_workflow(tmp_path, snakefile, TWO_SITES)
    assert (outside / "made.txt").read_text() == "absolute\nup\n"
    assert (tmp_path / "made_up.txt").read_text() == "absolute\n"
    assert (run.work / "last.txt").read_text() == "absolute\nup\nabsolute\n"
    log = (outside / "a.log").read_text().splitlines()
    assert log[0].endswith(f" {outside}/absent"), "a parameter that is no file of the job stays as it is"
    assert log[1] == "up", "a parameter that holds an input's path changes with it"
    assert "abs.txt" in log[2]
    assert log[2] != f"{outside}/abs.txt", "the job read the controller's file, not a staged one"
    assert run.sent_mb("one") >= 0
    assert list(run.sites.glob("one/.streamflow/abs/**/abs.txt"))


def test_an_absolute_path_into_the_working_directory_is_the_same_file(tmp_path: Path) -> None:
    run = run_workflow(
        tmp_path,
        """
        rule all:
            input: workflow.basedir + "/b.txt"
        rule a:
            input: workflow.basedir + "/in.txt"
            output: workflow.basedir + "/a.txt"
            shell: "cat {input} > {output}; pwd >> {output}"
        rule b_two:
            input: workflow.basedir + "/a.txt"
            output: workflow.basedir + "/b.txt"
            shell: "cat {input} > {output}"
        """,
        TWO_SITES,
        prepare=_input,
    )
    assert (run.work / "b.txt").read_text() == f"in\n{run.sites}/one\n"
    assert (run.sites / "two" / "a.txt").exists()


def _input(work: Path) -> None:
    (work / "in.txt").write_text("in\n")


def test_sizes_of_inputs_made_at_a_site_are_known(tmp_path: Path) -> None:
    run = same_as_local(
        tmp_path,
        """
        rule all:
            input: "b.txt"
        rule a:
            output: "a.bin"
            shell: "head -c 3000000 /dev/zero > {output}"
        rule b_two:
            input: "a.bin"
            output: "b.txt"
            resources: mem_mb=lambda w, input: int(100 * input.size_mb)
            shell: "echo {resources.mem_mb} > {output}"
        """,
    )
    assert 200 < int((run.work / "b.txt").read_text()) < 400
    assert run.sent_mb("two") == pytest.approx(3.0, abs=0.01)


def test_an_output_that_a_job_does_not_make_is_named(tmp_path: Path) -> None:
    run = run_workflow(tmp_path, 'rule a:\n    output: "a", "never-made"\n    shell: "touch a"\n', TWO_SITES, code=1)
    assert "did not make: never-made" in run.text
    assert not (run.work / "a").exists()


def test_a_location_is_not_set_aside_for_what_jobs_make_that_cannot_travel(tmp_path: Path) -> None:
    snakefile = """
    rule all:
        input: "good", expand("pipe{i}", i=range(3))
    rule pipe_one:
        output: directory("pipe{i}")
        priority: 1
        shell: "mkdir {output} && mkfifo {output}/in"
    rule good_one:
        output: "good"
        shell: "touch {output}"
    """
    run = run_workflow(tmp_path, snakefile, TWO_SITES, "--keep-going", "--jobs", "1", code=1)
    assert run.text.count("in is a pipe, socket or device: it cannot travel") >= 3
    assert (run.work / "good").exists()


def test_a_job_that_changes_its_input_at_a_site_is_told_of_and_others_read_what_was_there(tmp_path: Path) -> None:
    snakefile = """
    rule all:
        input: "c", "d"
    rule b_one:
        input: "a", "other"
        output: "b"
        shell: "cat {input} > {output}; echo two >> a; touch -d '+2 seconds' other"
    rule c_one:
        input: "a", "b"
        output: "c"
        shell: "cat {input} > {output}"
    rule d_one:
        input: "c"
        output: "d"
        shell: "cp {input} {output}"
    """

    def prepare(work: Path) -> None:
        (work / "a").write_text("one\n")
        (work / "other").write_text("more\n")

    run = run_workflow(tmp_path, snakefile, TWO_SITES, prepare=prepare)
    assert run.text.count("has changed inputs of its own at one: a. Other jobs read what was there before") == 1
    assert (run.work / "c").read_text() == "one\none\nmore\n"
    assert (run.work / "a").read_text() == "one\n"

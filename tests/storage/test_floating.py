"""Files of the workflow stay where they are made."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from .floating import files, floating, no_copies, once_more

CHAIN = """
    rule all:
        input: "out/a.txt", "out/b.txt"
    rule start_one:
        input: "in/{x}.txt"
        output: "mid/{x}.txt"
        log: "logs/{x}.log"
        shell: "for i in 1 2 3 4; do cat {input}; done > {output}; echo said > {log}"
    rule go_one:
        input: "mid/{x}.txt"
        output: "more/{x}.txt"
        shell: "cp {input} {output}"
    rule end_two:
        input: "more/{x}.txt"
        output: "out/{x}.txt"
        shell: "wc -c < {input} > {output}"
    """


def sources(work: Path) -> None:
    (work / "in").mkdir(exist_ok=True)
    for name in "ab":
        (work / "in" / f"{name}.txt").write_text(name * 100_000)


def test_outputs_stay_and_final_targets_come_home(tmp_path: Path) -> None:
    run = floating(tmp_path, CHAIN, prepare=sources)
    one, two = run.sites / "one", run.sites / "two"
    assert files(run.work) == {"Snakefile", "streamflow.yml", "in/a.txt", "in/b.txt", "out/a.txt", "out/b.txt"}
    made = {f"{folder}/{name}.txt" for folder in ("in", "mid", "more") for name in "ab"}
    assert files(one) == made | {"logs/a.log", "logs/b.log"}
    assert files(two) == {f"{folder}/{name}.txt" for folder in ("more", "out") for name in "ab"}
    assert (run.work / "out/a.txt").read_text().strip() == "400000"
    assert run.sent_mb("one") == pytest.approx(0.2, abs=0.01)
    assert run.sent_mb("two") == pytest.approx(0.8, abs=0.01)
    assert run.fetched_mb("one") == 0
    assert no_copies(run.work)
    assert "Nothing to be done" in once_more(tmp_path).text

    time.sleep(0.01)
    (run.work / "in/a.txt").write_text("c")
    changed = once_more(tmp_path)
    assert (changed.jobs("one"), changed.jobs("two")) == (2, 1)
    assert (run.work / "out/a.txt").read_text().strip() == "4"
    assert (one / "mid/a.txt").read_text() == "cccc"

    (run.work / "out/a.txt").unlink()
    assert "Nothing to be done" in once_more(tmp_path).text, "it is still where it was made"
    assert (run.work / "out/a.txt").read_text().strip() == "4", "and comes home again"


def test_what_a_target_rule_makes_comes_home_and_what_a_forced_rule_makes_does_not(tmp_path: Path) -> None:
    snakefile = """
        rule a_one:
            output: "a", temp("t")
            shell: "echo a | tee a t"
        rule b_two:
            input: "a"
            output: "b", directory("d")
            shell: "cp a b; mkdir d; cp a d"
        rule c_two:
            input: "b"
            output: "c"
            shell: "cp b c"
        """
    own = {"Snakefile", "streamflow.yml"}
    run = floating(tmp_path, snakefile)
    assert files(run.work) == own | {"a"}, "the first rule is the target"
    (run.work / "a").unlink()
    assert files(once_more(tmp_path, "b_two").work) == own | {"b", "d/a"}
    assert files(once_more(tmp_path, "c_two", "--forcerun", "a_one").work) == own | {"c"}


def test_final_targets_may_be_left_where_they_are(tmp_path: Path) -> None:
    run = floating(tmp_path, CHAIN, "--streamflow-leave-targets", prepare=sources)
    assert files(run.work) == {"Snakefile", "streamflow.yml", "in/a.txt", "in/b.txt"}
    assert run.fetched_mb("two") == 0
    assert "Nothing to be done" in once_more(tmp_path, "--streamflow-leave-targets").text
    assert not (run.work / "out").exists()
    once_more(tmp_path)
    assert (run.work / "out/b.txt").read_text().strip() == "400000"


def test_final_targets_that_are_lost_are_told_and_made_anew(tmp_path: Path) -> None:
    run = floating(tmp_path, CHAIN, "--streamflow-leave-targets", prepare=sources)
    shutil.rmtree(run.sites / "two/out")
    told = once_more(tmp_path, code=1)
    assert "out/a.txt" in told.text
    assert "Run again" in told.text
    assert "Traceback" not in told.text
    assert once_more(tmp_path).jobs("one") == 0
    assert (run.work / "out/a.txt").read_text().strip() == "400000"


def test_a_directory_of_which_something_was_removed_at_its_site_is_made_anew(tmp_path: Path) -> None:
    run = floating(
        tmp_path,
        """
    rule all:
        input: "out"
    rule a_one:
        output: directory("d")
        shell: "mkdir {output}; echo x > {output}/x; echo y > {output}/y"
    rule b_two:
        input: "d"
        output: "out"
        shell: "cat {input}/* > {output}"
    """,
    )
    time.sleep(1)  # sites tell times in whole seconds
    shutil.rmtree(run.sites / "two")
    (run.sites / "one/d/x").unlink()
    assert once_more(tmp_path, "-R", "b_two").jobs("one") == 1
    assert (run.work / "out").read_text() == "x\ny\n"


def test_what_marks_on_outputs_ask_for_happens_where_they_are(tmp_path: Path) -> None:
    digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"  # of "hello\n"
    run = floating(
        tmp_path,
        f"""
    rule all:
        input: "result"
    rule passing_one:
        output: temp("passing")
        shell: "echo x > {{output}}"
    rule kept_one:
        input: "passing"
        output: protected("kept"), directory("folder"), touch("touched")
        shell: "cp {{input}} {{output[0]}}; mkdir {{output[1]}}; cp {{input}} {{output[1]}}/x"
    rule sure_one:
        output: ensure("sure", non_empty=True, sha256="{digest}")
        shell: "echo hello > {{output}}"
    rule end_two:
        input: "passing", "kept", "folder", ancient("touched"), "sure"
        output: "result"
        shell: "cat {{input[0]}} {{input[1]}} {{input[2]}}/x {{input[3]}} {{input[4]}} > {{output}}"
    """,
    )
    assert (run.work / "result").read_text() == "x\nx\nx\nhello\n"
    one, two = run.sites / "one", run.sites / "two"
    assert files(one) == {"kept", "folder/x", "touched", "sure"}, "temp files are removed everywhere"
    assert files(two) == {"kept", "folder/x", "touched", "sure", "result"}
    assert not (one / "kept").stat().st_mode & 0o222
    assert "Nothing to be done" in once_more(tmp_path).text
    refused = once_more(tmp_path, "--forceall", code=1)
    assert "ProtectedOutputException" in refused.text
    assert (one / "kept").read_text() == "x\n"


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("non_empty=True", "", "empty"),
        ("sha256='5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03'", "bye", "sha256 checksum"),
    ],
)
def test_an_output_that_is_not_what_ensure_says_fails_its_job(
    tmp_path: Path, flag: str, text: str, message: str
) -> None:
    run = floating(
        tmp_path,
        f"""
    rule one_one:
        output: ensure("x", {flag})
        shell: "printf '{text}' > {{output}}"
    """,
        code=1,
    )
    assert message in run.text
    assert not (run.work / "x").exists()
    assert "1 of 1 steps" not in once_more(tmp_path, code=1).text


def test_checkpoints_and_input_functions_see_what_lies_at_sites(tmp_path: Path) -> None:
    run = floating(
        tmp_path,
        """
    rule all:
        input: "all"
    checkpoint names_one:
        input: "in"
        output: "names", directory("parts")
        shell: "cp {input} {output[0]}; mkdir {output[1]}; touch {output[1]}/c {output[1]}/$(wc -l < {input})"
    rule make_two:
        output: "made/{name}"
        shell: "printf {wildcards.name} > {output}"
    def made(wildcards):
        done = checkpoints.names_one.get()
        with done.output[0].open() as names:
            found = names.read().split()
        with open(done.output[0]) as names:
            assert names.read().split() == found
        found += glob_wildcards(done.output[1] + "/{name}").name
        return [f"made/{name}" for name in sorted(found) if not name.startswith(".")]
    rule sizes_one:
        input: made
        output: "all"
        resources: bytes=lambda wildcards, input: 10 + round(input.size_mb * 10**6), mem_mb=100
        shell: "echo {resources.bytes} {resources.mem_mb} > {output}; cat {input} >> {output}"
    """,
        prepare=lambda work: (work / "in").write_text("a\nbb\n") and None,
    )
    assert (run.work / "all").read_text() == "15 100\n2abbc"
    assert files(run.work) == {"Snakefile", "streamflow.yml", "in", "all"}
    assert "Nothing to be done" in once_more(tmp_path).text
    shutil.rmtree(run.work / ".snakemake" / "storage")
    assert "Nothing to be done" in once_more(tmp_path).text, "what input functions list is there again"
    (run.work / "in").write_text("a\nbbb\nd\n")
    changed = once_more(tmp_path)
    assert (changed.jobs("one"), changed.jobs("two")) == (2, 3)
    assert (run.work / "all").read_text() == "17 100\n3abbbcd"


def test_files_in_the_directory_of_a_checkpoint_are_inputs(tmp_path: Path) -> None:
    run = floating(
        tmp_path,
        """
    rule all:
        input: "all"
    checkpoint split_one:
        input: "in"
        output: directory("parts")
        shell: "mkdir {output}; split -l 1 {input} {output}/x"
    rule each_two:
        input: "parts/{name}"
        output: "made/{name}"
        shell: "test ! -e ../stop; cat {input} {input} > {output}"
    def made(wildcards):
        folder = checkpoints.split_one.get().output[0]
        return expand("made/{name}", name=sorted(glob_wildcards(folder + "/{name,x.*}").name))
    rule gather_one:
        input: made
        output: "all"
        shell: "cat {input} > {output}"
    """,
        prepare=lambda work: (work / "in").write_text("a\nb\n") and None,
    )
    assert (run.work / "all").read_text() == "a\na\nb\nb\n"
    assert (run.jobs("one"), run.jobs("two")) == (2, 2)
    assert "Nothing to be done" in once_more(tmp_path).text
    (run.work / "in").write_text("a\nc\n")
    (run.sites / "stop").touch()
    for _ in range(2):
        once_more(tmp_path, code=1)
    copies = run.work / ".snakemake/storage/streamflow/parts"
    assert {file.name for file in copies.iterdir()} >= {"xaa", "xab"}, "what was listed is listed again"
    (run.sites / "stop").unlink()
    changed = once_more(tmp_path)
    assert (run.work / "all").read_text() == "a\na\nc\nc\n", changed.text


def test_rules_that_run_here_read_and_write_floating_files(tmp_path: Path) -> None:
    def prepare(work: Path) -> None:
        (work / "in").write_text("in\n")
        (work / "script.py").write_text(
            "with open(snakemake.input[0]) as f, open(snakemake.output[0], 'w') as g: g.write(f.read() + 'script\\n')"
        )

    run = floating(
        tmp_path,
        """
    localrules: all, here, python
    rule all:
        input: "end", "python", "script"
    rule far_one:
        input: "in"
        output: "far"
        shell: "cp {input} {output}; echo far >> {output}"
    rule here:
        input: "far", "in"
        output: "here", protected("folder/safe")
        log: "here.log"
        shell: "cat {input} > {output[0]}; cp {input[1]} {output[1]}; echo said > {log}"
    rule python:
        input: "far"
        output: "python"
        run:
            with open(input[0]) as f, open(output[0], "w") as g:
                g.write(f.read() + "python\\n")
    rule unbound:
        input: "here"
        output: "unbound"
        shell: "cat {input} {input} > {output}"
    rule script:
        input: "far"
        output: "script"
        script: "script.py"
    rule end_two:
        input: "unbound", "folder/safe"
        output: "end"
        shell: "cat {input} > {output}"
    """,
        prepare=prepare,
    )
    assert (run.work / "end").read_text() == 2 * "in\nfar\nin\n" + "in\n"
    assert (run.work / "python").read_text() == "in\nfar\npython\n"
    assert (run.work / "script").read_text() == "in\nfar\nscript\n"
    assert not (run.work / "folder/safe").stat().st_mode & 0o222
    assert (run.work / "here.log").read_text() == "said\n"
    assert no_copies(run.work)
    assert files(run.sites / "one") == {"in", "far"}
    assert files(run.sites / "two") == {"unbound", "folder/safe", "end"}
    assert "Nothing to be done" in once_more(tmp_path).text


def test_update_changes_what_is_there_and_a_failure_restores_it(tmp_path: Path) -> None:
    run = floating(
        tmp_path,
        """
    rule all:
        input: "done"
    rule first_one:
        output: "state", directory("states")
        shell: "echo first > {output[0]}; mkdir -p {output[1]}; echo first > {output[1]}/x"
    rule second_one:
        input: "state"
        output: update("other"), "done"
        shell: "cat {input} >> {output[0]}; echo $(cat {output[0]}) > {output[1]}; [ ! -e SITES/fail ]"
    rule here:
        output: update("mine")
        shell: "echo here >> {output}; [ ! -e SITES/fail ]"
    """,
        "all",
        prepare=lambda work: [(work / name).write_text("zero\n") for name in ("other", "mine")] and None,
    )
    assert (run.work / "done").read_text() == "zero first\n"
    assert (run.sites / "one/other").read_text() == "zero\nfirst\n"
    once_more(tmp_path, "--force", "done")
    assert (run.work / "done").read_text() == "zero first first\n"
    (run.sites / "fail").touch()
    failed = once_more(tmp_path, "--force", "done", code=1)
    assert (run.sites / "one/other").read_text() == "zero\nfirst\nfirst\n", failed.text
    (run.sites / "fail").unlink()
    once_more(tmp_path, "--force", "done")
    assert (run.work / "done").read_text() == "zero first first first\n"

    once_more(tmp_path, "--force", "here")
    assert (run.work / "mine").read_text() == "zero\nhere\n"
    (run.sites / "fail").touch()
    once_more(tmp_path, "--force", "here", code=1)
    assert (run.work / "mine").read_text() == "zero\nhere\n"


FAILS = """
    rule all:
        input: "good", "late"
    rule bad_one:
        input: "in"
        output: "bad", directory("folder")
        log: "logs/bad.log"
        retries: 1
        shell:
            "mkdir {output[1]}; date +%N | tee {output[0]} > {output[1]}/x; "
            "echo tried >> SITES/tries; echo sad > {log}; [ -e SITES/ok ]"
    rule good_two:
        output: "good"
        shell: "echo good > {output}"
    rule late_two:
        input: "bad"
        output: "late"
        shell: "cp {input} {output}"
    """


def test_failures_are_told_with_their_logs_and_tried_again(tmp_path: Path) -> None:
    run = floating(
        tmp_path, FAILS, "--keep-going", "--show-failed-logs", prepare=lambda work: (work / "in").touch(), code=1
    )
    assert (run.sites / "tries").read_text() == "tried\n" * 2
    assert "sad" in run.text
    assert (run.work / "logs/bad.log").read_text() == "sad\n"
    assert (run.work / "good").read_text() == "good\n"
    assert files(run.sites / "one") == {"in", "logs/bad.log"}, "what a failed job made is removed"
    assert not (run.work / "late").exists()
    (run.sites / "ok").touch()
    mended = once_more(tmp_path, "--rerun-incomplete")
    assert (mended.jobs("one"), mended.jobs("two")) == (1, 1)
    assert (run.work / "late").read_text() == (run.sites / "one/bad").read_text()
    assert "Nothing to be done" in once_more(tmp_path).text
    everything = once_more(tmp_path, "--forceall")
    assert (everything.jobs("one"), everything.jobs("two")) == (1, 2)
    assert (run.work / "late").read_text() == (run.sites / "one/bad").read_text()


def test_incomplete_outputs_can_be_kept(tmp_path: Path) -> None:
    run = floating(tmp_path, FAILS, "--keep-incomplete", prepare=lambda work: (work / "in").touch(), code=1)
    assert {"bad", "folder/x"} <= files(run.sites / "one")


def test_groups_keep_what_only_they_need(tmp_path: Path) -> None:
    run = floating(
        tmp_path,
        """
    rule all:
        input: "end"
    rule first_one:
        input: "in"
        output: temp("mid"), "side"
        group: "g"
        shell: "cp {input} {output[0]}; cp {input} {output[1]}"
    rule second_one:
        input: "mid"
        output: "end"
        group: "g"
        shell: "cat {input} {input} > {output}"
    """,
        prepare=lambda work: (work / "in").write_text("in\n") and None,
    )
    assert (run.work / "end").read_text() == "in\nin\n"
    assert run.jobs("one") == 1
    assert files(run.sites / "one") == {"in", "side", "end"}
    assert files(run.work) == {"Snakefile", "streamflow.yml", "in", "end"}
    assert "Nothing to be done" in once_more(tmp_path).text


def test_snakemakes_own_commands_work(tmp_path: Path) -> None:
    run = floating(tmp_path, CHAIN, prepare=sources)
    time.sleep(0.01)
    (run.work / "in/a.txt").write_text("c")
    summary = once_more(tmp_path, "--summary").text
    assert "mid/a.txt" in summary
    once_more(tmp_path, "--report", "report.html")
    assert (run.work / "report.html").stat().st_size > 10_000
    once_more(tmp_path, "--touch")
    assert "Nothing to be done" in once_more(tmp_path).text
    once_more(tmp_path, "--delete-all-output")
    assert files(run.work) == {"Snakefile", "streamflow.yml", "in/a.txt", "in/b.txt", "report.html"}
    assert files(run.sites / "one") == {"in/a.txt", "in/b.txt", "logs/a.log", "logs/b.log"}
    assert files(run.sites / "two") == set()


AWKWARD = ["a b", "it's", 'say "x"', "$HOME", "ü-ñ", "-dash", "semi;colon", "star*"]


def test_awkward_names_and_places(tmp_path: Path) -> None:
    def prepare(work: Path) -> None:
        (work / "in").mkdir()
        for name in AWKWARD:
            (work / "in" / name).write_text(name)
        (work / "-dash").write_text("dash")
        (tmp_path / "beside").mkdir()
        (tmp_path / "beside/up").write_text("up")
        (tmp_path / "beside/absolute").write_text("absolute")

    run = floating(
        tmp_path,
        f"""
    names = {AWKWARD!r}
    rule all:
        input: "-end", expand("out/{{name}}", name=names), "../beside/from up", "SITES/../beside/from absolute"
    rule go_one:
        input: "in/{{name}}"
        output: "mid/{{name}}"
        shell: "cat {{input:q}} > {{output:q}}; printf %s {{wildcards.name:q}} >> {{output:q}}"
    rule end_two:
        input: "mid/{{name}}"
        output: "out/{{name}}"
        shell: "cat {{input:q}} {{input:q}} > {{output:q}}"
    rule up_one:
        input: "../beside/up"
        output: "../beside/from up"
        shell: "cat {{input:q}} {{input:q}} > {{output:q}}"
    rule absolute_two:
        input: "SITES/../beside/absolute"
        output: "SITES/../beside/from absolute"
        shell: "cat {{input:q}} {{input:q}} > {{output:q}}"
    rule dash_one:
        input: "-dash"
        output: "-end"
        shell: "cat < {{input:q}} > {{output:q}}"
    """,
        prepare=prepare,
    )
    for name in AWKWARD:
        assert (run.work / "out" / name).read_text() == 4 * name
    assert {f"mid/{name}" for name in AWKWARD} <= files(run.sites / "one")
    assert (tmp_path / "beside/from up").read_text() == "upup"
    assert (tmp_path / "beside/from absolute").read_text() == "absoluteabsolute"
    assert "Nothing to be done" in once_more(tmp_path).text
    assert (run.work / "-end").read_text() == "dash"


def test_a_folder_may_have_the_name_of_a_deployment(tmp_path: Path) -> None:
    run = floating(
        tmp_path,
        """
    rule all:
        input: "one/b", storage("streamflow://oneSITES/kept/one/a")
    rule make_one:
        output: "one/a"
        shell: "echo made > {output}"
    rule next_two:
        input: "{site}/a"
        output: "{site}/b"
        shell: "cat {input} {input} > {output}"
    rule keep_one:
        input: "one/a"
        output: storage("streamflow://oneSITES/kept/one/a")
        shell: "echo kept | cat {input} - > {output}"
    """,
    )
    assert (run.work / "one/b").read_text() == "made\nmade\n"
    assert (run.sites / "kept/one/a").read_text() == "made\nkept\n"
    assert files(run.sites / "one") == {"one/a"}
    assert "Nothing to be done" in once_more(tmp_path).text


def test_local_copies_that_a_killed_run_left_do_not_count(tmp_path: Path) -> None:
    snakefile = """
    localrules: all, count
    rule all:
        input: "out"
    rule count:
        input: "in"
        output: "out"
        shell: "cp {input} {output}"
    """
    run = floating(tmp_path, snakefile, prepare=lambda work: (work / "in").write_text("old") and None)
    left = run.work / ".snakemake/storage/streamflow/in"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text("old")
    past = (run.work / "in").stat().st_mtime_ns
    os.utime(left, ns=(past, past))
    time.sleep(0.01)
    (run.work / "in").write_text("new")
    once_more(tmp_path)
    assert (run.work / "out").read_text() == "new"
    assert no_copies(run.work)


def test_the_local_executor_works_with_floating_files_too(tmp_path: Path) -> None:
    run = floating(tmp_path, CHAIN, "--executor", "local", "--cores", "2", prepare=sources)
    everything = {"Snakefile", "streamflow.yml"} | {
        f"{folder}/{name}" for folder in ("in", "mid", "more", "out", "logs") for name in ("a.txt", "b.txt")
    }
    everything = everything - {"logs/a.txt", "logs/b.txt"} | {"logs/a.log", "logs/b.log"}
    assert files(run.work) == everything
    assert no_copies(run.work)
    assert not run.sites.exists()
    assert "Nothing to be done" in once_more(tmp_path).text
    (run.work / "in/a.txt").write_text("c")
    assert once_more(tmp_path).jobs("one") == 2, "and where files are made can change from run to run"
    time.sleep(0.01)
    (run.work / "in/b.txt").write_text("d")
    once_more(tmp_path, "--executor", "local", "--cores", "2")
    assert (run.work / "out/b.txt").read_text().strip() == "4"


def test_an_output_that_is_no_file_and_no_directory_is_an_error(tmp_path: Path) -> None:
    run = floating(tmp_path, 'rule a_one:\n    output: "a"\n    shell: "mkfifo {output}"\n', code=1)
    assert "a is neither a file nor a directory" in run.text

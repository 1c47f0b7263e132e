"""How a run ends, what the next one finds, and what happens when targets cannot be reached."""

# ruff: noqa: E501

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .running import (
    ONE_OR_TWO,
    TWO_SITES,
    Run,
    again,
    command,
    environment,
    processes,
    run_workflow,
    wait_until,
    write_workflow,
)

CHAIN = """
    rule all:
        input: "b.txt"
    rule a:
        input: "in1", "in2"
        output: "a.txt"
        shell: "cat {input} > {output}; echo x >> SITES/a.count"
    rule b_two:
        input: "a.txt", "in1"
        output: "b.txt"
        shell: "cat {input} > {output}; echo x >> SITES/b.count"
    """
IN1, IN2 = b"1" * 1_000_000, b"2" * 3_000_000


def _inputs(work: Path) -> None:
    (work / "in1").write_bytes(IN1)
    (work / "in2").write_bytes(IN2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_jobs_at_the_sites(tmp_path: Path, number: signal.Signals) -> None:
    marker = f"marker-{os.getpid()}-{number}"
    snakefile = f"""
        rule all:
            input: "a", "b"
        rule a:
            output: "a"
            shell: "touch {{output}} SITES/started_a; sh -c 'trap \\"\\" TERM INT; while :; do sleep 1; done' {marker}; touch SITES/survived"
        rule b_two:
            output: "b"
            shell: "touch SITES/started_b; sh -c 'sleep 300; :' {marker} & wait; touch SITES/survived"
        """
    work = write_workflow(tmp_path, snakefile, TWO_SITES)
    sites = tmp_path / "sites"
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command(), cwd=work, env=environment(), stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        wait_until(lambda: process.poll() is not None or all((sites / f"started_{n}").exists() for n in "ab"))
        assert len(processes(marker)) >= 2, log.read_text()
        began = time.monotonic()
        process.send_signal(number)
        wait_until(lambda: "Terminating" in log.read_text())
        time.sleep(0.2)
        process.send_signal(number)  # somebody is impatient
        code = process.wait(15)
        took = time.monotonic() - began
        assert code != 0
        assert took < 11, f"snakemake itself ends about 1 s late; {took:.1f} s\n{log.read_text()}"
        assert processes(marker) == [], log.read_text()
        assert not (sites / "survived").exists()
        assert "Traceback" not in log.read_text()
        assert not (work / "a").exists()
    finally:
        for pid in (process.pid, *processes(marker)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
    # the directory is not locked, and the next run does the work
    (work / "Snakefile").write_text('rule a:\n    output: "a"\n    shell: "touch {output}"\n')
    again(tmp_path, "--rerun-incomplete")


def _count(run: Run, name: str) -> int:
    return len((run.sites / f"{name}.count").read_text().splitlines())


def test_a_second_run_moves_no_input_again(tmp_path: Path) -> None:
    first = run_workflow(tmp_path, CHAIN, TWO_SITES, prepare=_inputs)
    assert first.sent_mb("one") == pytest.approx(4.0)
    assert first.sent_mb("two") == pytest.approx(5.0)
    for name in ("a.txt", "b.txt"):
        (first.work / name).unlink()
    second = again(tmp_path)
    assert _count(second, "a") == _count(second, "b") == 2
    assert second.sent_mb("one") == 0
    assert second.sent_mb("two") == pytest.approx(4.0), "only a.txt, which was made anew"
    assert (second.work / "b.txt").read_bytes() == IN1 + IN2 + IN1


def test_only_a_changed_input_moves_again(tmp_path: Path) -> None:
    first = run_workflow(tmp_path, CHAIN, TWO_SITES, prepare=_inputs)
    (first.work / "in1").write_bytes(b"3" * len(IN1))
    second = again(tmp_path)
    assert second.sent_mb("one") == pytest.approx(1.0)
    assert (second.work / "b.txt").read_bytes() == b"3" * len(IN1) + IN2 + b"3" * len(IN1)


def test_an_input_that_was_replaced_by_an_older_file_moves(tmp_path: Path) -> None:
    first = run_workflow(tmp_path, CHAIN, TWO_SITES, prepare=_inputs)
    (first.work / "in1").write_bytes(b"3" * len(IN1))
    os.utime(first.work / "in1", (1e9, 1e9))
    second = again(tmp_path, "--forceall")
    assert second.sent_mb("one") == pytest.approx(1.0)
    assert (second.work / "b.txt").read_bytes()[:1] == b"3"


@pytest.mark.parametrize("change", ["content", "time", "gone", "longer"])
def test_a_replica_that_was_changed_at_the_site_is_not_trusted(tmp_path: Path, change: str) -> None:
    first = run_workflow(tmp_path, CHAIN, TWO_SITES, prepare=_inputs)
    time.sleep(1.1)
    replica = first.sites / "one" / "in1"
    if change == "content":
        replica.unlink()
        replica.write_bytes(b"9" * len(IN1))
    elif change == "time":
        os.utime(replica)
    elif change == "gone":
        replica.unlink()
    else:
        with replica.open("ab") as stream:
            stream.write(b"9")
    for name in ("a.txt", "b.txt"):
        (first.work / name).unlink()
    second = again(tmp_path)
    assert second.sent_mb("one") == pytest.approx(1.0)
    assert (second.work / "b.txt").read_bytes() == IN1 + IN2 + IN1


def test_an_output_that_was_changed_at_the_controller_travels(tmp_path: Path) -> None:
    first = run_workflow(tmp_path, CHAIN, TWO_SITES.replace("*_two", "none"), prepare=_inputs)
    time.sleep(0.1)
    (first.work / "a.txt").write_bytes(b"mine\n")
    second = again(tmp_path)
    assert _count(second, "a") == 1
    assert (second.work / "b.txt").read_bytes() == b"mine\n" + IN1


def test_an_output_that_is_only_touched_at_the_controller_gives_the_same_bytes(tmp_path: Path) -> None:
    first = run_workflow(tmp_path, CHAIN, TWO_SITES, prepare=_inputs)
    os.utime(first.work / "a.txt")
    second = again(tmp_path)
    assert _count(second, "b") == 2
    assert (second.work / "b.txt").read_bytes() == IN1 + IN2 + IN1


def test_directories_as_inputs_are_seen_to_change(tmp_path: Path) -> None:
    snakefile = 'rule a:\n    input: "d"\n    output: "a.txt"\n    shell: "cat d/* > {output}; ls d >> {output}"\n'

    def prepare(work: Path) -> None:
        (work / "d").mkdir()
        (work / "d" / "x").write_text("x\n")
        (work / "d" / "y").write_text("y\n")

    first = run_workflow(tmp_path, snakefile, TWO_SITES, prepare=prepare)
    assert again(tmp_path, "--forceall").sent_mb("one") == 0
    (first.work / "d" / "x").write_text("z\n")
    (first.work / "d" / "y").unlink()
    again(tmp_path, "--forceall")
    assert (first.work / "a.txt").read_text() == "z\nx\n"


def test_two_workflows_with_the_same_workdir_at_a_site(tmp_path: Path) -> None:
    snakefile = 'rule a:\n    input: "in"\n    output: "out"\n    shell: "sleep 1; cat {input} > {output}; sleep 1; cat {input} >> {output}"\n'
    running = []
    for name in ("alpha", "gamma"):
        work = write_workflow(tmp_path, snakefile, TWO_SITES, name)
        (work / "in").write_text(f"{name}\n")
        os.utime(work / "in", (1e9, 1e9))
        running.append(
            (
                name,
                work,
                subprocess.Popen(
                    command(), cwd=work, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                ),
            )
        )
    for name, work, process in running:
        text = process.communicate(timeout=60)[0].decode()
        assert process.returncode == 0, text
        assert (work / "out").read_text() == f"{name}\n" * 2, text


def test_two_workflows_one_after_the_other_at_the_same_workdir(tmp_path: Path) -> None:
    snakefile = 'rule a:\n    input: "in"\n    output: "out"\n    shell: "cat {input} > {output}"\n'
    for turn in range(2):
        for name in ("alpha", "gamma"):
            work = write_workflow(tmp_path, snakefile, TWO_SITES, name)
            if not turn:
                (work / "in").write_text(f"{name}\n")
                os.utime(work / "in", (1e9, 1e9))
            again(tmp_path, "--forceall", name=name)
            assert (work / "out").read_text() == f"{name}\n"


def test_a_directory_that_is_in_use_is_locked(tmp_path: Path) -> None:
    snakefile = 'rule a:\n    output: "a"\n    shell: "touch SITES/started; while [ ! -e SITES/go ]; do sleep 0.1; done; touch a"\n'
    work = write_workflow(tmp_path, snakefile, TWO_SITES)
    sites = tmp_path / "sites"
    process = subprocess.Popen(
        command(), cwd=work, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: (sites / "started").exists())
        assert "lock" in again(tmp_path, code=1).text.lower()
        (sites / "go").touch()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


UNREACHABLE = {
    "no folder can be made": "type: local, workdir: /proc/none",
    "nothing listens": "type: ssh, config: {nodes: ['127.0.0.1:9'], hostKeys: any, retries: 1, retryDelay: 0, connectTimeout: 2}",
    "no such name": "type: ssh, config: {nodes: [no-such-host.invalid], hostKeys: any, retries: 1, retryDelay: 0, connectTimeout: 2}",
    "no engine": "type: docker, config: {image: x, dockerHost: 'unix:///nowhere.sock'}",
}
ONE_RULE = 'rule a:\n    output: "a.txt"\n    shell: "pwd > {output}"\n'


@pytest.mark.parametrize("how", UNREACHABLE)
def test_a_target_that_cannot_be_reached_is_passed_over(tmp_path: Path, how: str) -> None:
    companion = ONE_OR_TWO.replace("type: local, workdir: SITES/one, config: {cores: 4, memory: 8GB}", UNREACHABLE[how])
    assert UNREACHABLE[how] in companion
    run = run_workflow(tmp_path, ONE_RULE, companion, timeout_s=60)
    assert (run.work / "a.txt").read_text() == f"{run.sites}/two\n"
    assert "deployment one cannot be used" in run.text


@pytest.mark.parametrize("how", ["no folder can be made", "nothing listens"])
def test_when_no_target_can_be_reached_the_run_fails_and_says_why(tmp_path: Path, how: str) -> None:
    companion = ONE_OR_TWO
    for site in ("one", "two"):
        companion = companion.replace(
            f"type: local, workdir: SITES/{site}, config: {{cores: 4, memory: 8GB}}", UNREACHABLE[how]
        )
    run = run_workflow(tmp_path, ONE_RULE, companion, code=1, timeout_s=60)
    assert "none of one, two could be brought up" in run.text
    assert "Traceback" not in run.text


def test_the_plugin_costs_other_runs_nothing(tmp_path: Path) -> None:
    run = run_workflow(tmp_path, ONE_RULE, "this is no companion file", "--executor", "local", "-c1")
    assert (run.work / "a.txt").exists()
    assert not (run.work / ".snakemake" / "streamflow").exists()


def test_jobs_that_start_together_share_one_copy_of_their_input(tmp_path: Path) -> None:
    run = run_workflow(
        tmp_path,
        """
        rule all:
            input: expand("o{n}", n=range(4))
        rule a:
            input: "in1", "in2"
            output: "o{n}"
            shell: "cat {input} | wc -c > {output}"
        """,
        TWO_SITES,
        prepare=_inputs,
    )
    assert run.jobs("one") == 4
    assert run.sent_mb("one") == pytest.approx(4.0)


AT_ONE = TWO_SITES.replace("*_two", "none")


@pytest.mark.parametrize("how", ["modified", "touched"])
def test_an_output_that_was_changed_at_the_site_between_runs_is_not_trusted(tmp_path: Path, how: str) -> None:
    first = run_workflow(tmp_path, CHAIN, AT_ONE, prepare=_inputs)
    time.sleep(1.1)
    replica = first.sites / "one" / "a.txt"
    if how == "modified":
        replica.write_bytes(b"9" * replica.stat().st_size)
    else:
        os.utime(replica)
    (first.work / "b.txt").unlink()
    second = again(tmp_path)
    assert _count(second, "a") == 1
    assert (second.work / "b.txt").read_bytes() == IN1 + IN2 + IN1
    assert second.sent_mb("one") == pytest.approx(4.0)


def test_an_output_that_was_not_changed_at_the_site_is_used_there_again(tmp_path: Path) -> None:
    first = run_workflow(tmp_path, CHAIN, AT_ONE, prepare=_inputs)
    (first.work / "b.txt").unlink()
    second = again(tmp_path)
    assert second.sent_mb("one") == 0
    assert (second.work / "b.txt").read_bytes() == IN1 + IN2 + IN1


def test_a_file_that_was_changed_in_a_directory_at_the_site_is_not_trusted(tmp_path: Path) -> None:
    snakefile = """
        rule all:
            input: "b.txt"
        rule a:
            output: directory("d")
            shell: "mkdir -p d/sub; echo right > d/sub/f"
        rule b:
            input: "d"
            output: "b.txt"
            shell: "cat d/sub/f > {output}"
        """
    first = run_workflow(tmp_path, snakefile, AT_ONE)
    time.sleep(1.1)
    (first.sites / "one" / "d" / "sub" / "f").write_text("wrong\n")
    (first.work / "b.txt").unlink()
    second = again(tmp_path)
    assert (second.work / "b.txt").read_text() == "right\n"


def test_a_directory_that_was_not_changed_does_not_travel_again(tmp_path: Path) -> None:
    snakefile = """
        rule all:
            input: "b.txt"
        rule a:
            output: directory("d")
            shell: "mkdir -p d/sub/empty; head -c 1000000 /dev/zero > d/sub/f; ln -s sub/f d/link"
        rule b:
            input: "d", "in"
            output: "b.txt"
            shell: "cat d/sub/f in/x > {output}"
        """

    def prepare(work: Path) -> None:
        (work / "in").mkdir()
        (work / "in" / "x").write_bytes(IN1)

    first = run_workflow(tmp_path, snakefile, AT_ONE, prepare=prepare)
    (first.work / "b.txt").unlink()
    second = again(tmp_path)
    assert second.jobs("one") == 1
    assert second.sent_mb("one") == 0

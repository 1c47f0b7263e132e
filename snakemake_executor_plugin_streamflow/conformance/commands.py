"""Running commands: codes, bytes, environment, trees of processes."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time

from ..remote.job import Command
from ..remote.quote import encode, quote, words
from .odd import NASTY
from .place import Place

NO_PROCESS = (
    'for p in $(cat {0}); do case $(cat /proc/$p/stat 2>/dev/null) in ""|*") Z"*) ;; *) echo "$p lives";; esac; done'
)


class RunsCommands:
    """B1 to B10 of the table of behaviours."""

    def test_codes_arrive_unchanged(self, place: Place) -> None:
        async def check() -> None:
            for code in (0, 1, 7, 127, 255):
                assert (await place.run(f"exit {code}")).code == code
            assert (await place.run("no-such-command-anywhere")).code == 127

        place.do(check())

    def test_death_by_a_signal_is_128_and_its_number(self, place: Place) -> None:
        async def check() -> None:
            for number in (9, 10, 15):
                assert (await place.run(f"kill -{number} $$; sleep 5")).code == 128 + number

        place.do(check())

    def test_strict_bash_is_what_snakemake_means(self, place: Place) -> None:
        async def check() -> None:
            async def code(text: str) -> int:
                return (await place.run_job(place.job("", commands=[Command(text)]))).code

            assert await code("false; true") == 1
            assert await code(": ${NO_SUCH_VARIABLE}; true") != 0
            if place.site.facts.bash or place.site.facts.pipefail:
                assert await code("exit 3 | true") == 3

        place.do(check())

    def test_the_first_command_that_fails_ends_the_job(self, place: Place) -> None:
        commands = [Command(text, shell="sh") for text in ("echo 1", "exit 9", "echo 3")]
        ended = place.do(place.run_job(place.job("", commands=commands)))
        assert (ended.code, ended.stdout) == (9, b"1\n")

    def test_output_is_separate_and_byte_exact(self, place: Place) -> None:
        ended = place.do(place.run(r"printf 'a\000\377 \n \t'; printf 'e\000\376\r\n\n' >&2"))
        assert ended.stdout == b"a\0\xff \n \t"
        assert ended.stderr == b"e\0\xfe\r\n\n"

    def test_environment_arrives_byte_equal(self, place: Place) -> None:
        env = {f"V{number}": value for number, value in enumerate(NASTY)}
        text = "; ".join(f"""printf '%s\\0' "$V{number}" """ for number in range(len(NASTY)))
        wanted = b"".join(encode(value) + b"\0" for value in NASTY)
        assert place.do(place.run(text, env=env)).stdout == wanted
        job = place.job("", commands=[Command(text, shell="sh", env=env)])
        assert place.do(place.run_job(job)).stdout == wanted

    def test_environment_of_a_job_is_in_no_file(self, place: Place) -> None:
        secret = secrets.token_hex(16)

        async def check() -> None:
            job = place.job("sleep 0.1", env={"SECRET": secret})
            await place.site.run(job)
            assert (await place.text(f"grep -rls {secret} .streamflow || :")).strip() == ""

        place.do(check())

    def test_arguments_arrive_byte_equal(self, place: Place) -> None:
        ended = place.do(place.run(f"printf '%s\\0' {words(NASTY)}"))
        assert ended.stdout == b"".join(encode(value) + b"\0" for value in NASTY)

    def test_a_channel_is_byte_exact(self, place: Place) -> None:
        names = {f"V{number}": value for number, value in enumerate(NASTY)}
        show = "; ".join(f"""printf '%s\\0' "$V{number}" """ for number in range(len(NASTY)))

        async def check() -> None:
            argv = ["sh", "-c", f"""printf '%s\\0' "$@"; {show}; cat; echo late >&2; exit 5""", "sh", *NASTY]
            async with await place.connector.open(place.site.location, argv, names) as channel:
                await channel.write(b"in\0\xff")
                await channel.close_stdin()
                await channel.close_stdin()
                output = b""
                while data := await channel.read():
                    output += data
                assert await channel.wait() == 5
                assert channel.errors == b"late\n"
                await channel.kill()
                await channel.kill()
            assert output == b"".join(encode(value) + b"\0" for value in NASTY * 2) + b"in\0\xff"

        place.do(check())

    def test_a_working_directory_with_any_name(self, place: Place) -> None:
        async def check() -> None:
            for name in ("with blank", "ünï", "qu'ote$HOME", "-dash"):
                folder = place.workdir / place.fresh() / name
                await place.text(f"mkdir -p -- {quote(folder)}")
                ended = await place.run("pwd", workdir=folder)
                assert (ended.code, ended.stdout) == (0, encode(f"{folder}\n"))

        place.do(check())

    def test_without_its_working_directory_a_command_is_not_run(self, place: Place) -> None:
        async def check() -> None:
            mark = place.workdir / place.fresh()
            ended = await place.run(f"touch {mark}", workdir=place.workdir / "missing", outputs=["o"])
            assert ended.code == 125
            assert ended.stderr
            assert (await place.text(f"ls {mark} 2>/dev/null || :")).strip() == ""

        place.do(check())

    def test_standard_streams_can_be_files(self, place: Place) -> None:
        async def check() -> None:
            name = f"{place.fresh()} '$x"
            await place.text(f"printf 'a\\0b' >{quote(name)}.in")
            ended = await place.run("cat; echo e >&2", stdin=f"{name}.in", stdout=f"{name}.out", stderr=f"{name}.err")
            assert (ended.code, ended.stdout) == (0, b"")
            assert (await place.there.ask(f"cat {quote(name)}.out")).output == b"a\0b"
            assert (await place.there.ask(f"cat {quote(name)}.err")).output == b"e\n"
            assert (await place.run("cat")).stdout == b""
            assert (await place.run("cat", stdin="no-such-file")).code != 0

        place.do(check())

    def test_rude_commands_harm_nobody(self, place: Place) -> None:
        async def check() -> None:
            assert (await place.run("kill -9 $PPID; sleep 1")).code == 137
            assert (await place.run("kill -9 0")).code == 137
            assert (await place.run("exec 3>&1 4>&1; exec >&- 2>&- <&-; exit 4")).code == 4
            assert (await place.run("printf no-newline")).stdout == b"no-newline"
            ended = await place.run("head -c 10000000 /dev/zero")
            assert (ended.code, len(ended.stdout)) == (0, 10_000_000)
            assert (await place.run("echo E fake 0 - >&3; echo R x >&3; echo .")).code in (0, 1, 2)
            assert (await place.run("")).code == 0
            assert (await place.run("echo 'unfinished")).code != 0
            assert (await place.run("echo after")).stdout == b"after\n"

        place.do(check())

    def test_a_daemon_does_not_hold_its_job(self, place: Place) -> None:
        async def check() -> None:
            pids = place.fresh()
            started = time.monotonic()
            text = f"(trap '' HUP; sleep 60 & echo $! >>{pids}); (setsid sleep 60 >/dev/null 2>&1 & echo $! >>{pids})"
            assert (await place.run(f"{text}; echo done")).stdout == b"done\n"
            assert time.monotonic() - started < 10
            await place.text(f"kill $(cat {pids}) 2>/dev/null || :")

        place.do(check())

    def test_cancelling_kills_the_whole_tree(self, place: Place) -> None:
        async def check() -> None:
            pids = place.fresh()
            text = f"""trap '' TERM; echo $$ >{pids}
sh -c 'trap "" TERM HUP; echo $$ >>{pids}; while :; do sleep 1; done' &
setsid sh -c 'trap "" TERM HUP; echo $$ >>{pids}; while :; do sleep 1; done' &
(setsid sh -c 'echo $$ >>{pids}; exec sleep 300' >/dev/null 2>&1 </dev/null &)
while :; do sleep 1; done"""
            job = asyncio.create_task(place.site.run(place.job(text)))
            await place.eventually(f"wc -l <{pids} 2>/dev/null | tr -d ' '", "4")
            job.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await job
            await place.eventually(NO_PROCESS.format(pids), "", timeout_s=15)
            assert (await place.run("echo clean")).stdout == b"clean\n"

        place.do(check())

    def test_a_job_over_its_limit_is_ended_with_its_whole_tree(self, place: Place) -> None:
        async def check() -> None:
            pids = place.fresh()
            text = f"""trap '' TERM; echo $$ >{pids}
setsid sh -c 'trap "" TERM HUP; echo $$ >>{pids}; while :; do sleep 1; done' &
while :; do sleep 1; done"""
            ended = await place.run(text, limit_s=1, outputs=[f"{pids}.out"])
            assert ended.end.over
            assert ended.code == 137
            await place.eventually(NO_PROCESS.format(pids), "", timeout_s=1)
            ended = await place.run("echo clean; exit 3", limit_s=4321)
            assert (ended.code, ended.stdout, ended.end.over) == (3, b"clean\n", False)
            await place.eventually("grep -la '[s]leep.4321' /proc/[0-9]*/cmdline || :", "")

        place.do(check())

    def test_the_limit_of_a_job_holds_while_nobody_is_connected(self, place: Place) -> None:
        async def check() -> None:
            mark = place.fresh()
            job = asyncio.create_task(place.site.run(place.job(f"echo $$ >{mark}; sleep 300", limit_s=2)))
            await place.eventually(f"wc -l <{mark} 2>/dev/null | tr -d ' '", "1")
            for channel in place.connector.control():
                await channel.cut()
            async with asyncio.timeout(30):
                assert (await job).over

        place.do(check())

    def test_signals_of_the_keyboard_are_not_ignored(self, place: Place) -> None:
        async def check() -> None:
            assert (await place.run("kill -INT $$; sleep 5")).code == 130
            assert (await place.run("sh -c 'kill -INT $$; sleep 5'; echo $?")).stdout == b"130\n"

        place.do(check())

    def test_what_the_shell_leaves_behind_may_finish_writing(self, place: Place) -> None:
        async def check() -> None:
            out = place.fresh()
            ended = await place.run(f"(sleep 0.5; echo late >{out}) & echo soon", outputs=[out])
            assert (ended.code, ended.stdout) == (0, b"soon\n")
            assert ended.end.outputs is not None
            assert [(found.kind, found.size_b) for found in ended.end.outputs] == [("file", 5)]

        place.do(check())

    def test_a_hundred_jobs_at_once(self, place: Place) -> None:
        async def check() -> None:
            jobs = [place.job(f"exit {number % 7}") for number in range(100)]
            before = len(place.connector.channels)
            ends = await asyncio.gather(*(place.site.run(job) for job in jobs))
            assert [end.code for end in ends] == [number % 7 for number in range(100)]
            assert len(place.connector.channels) - before <= 1
            for job in jobs:
                place.site.session.forget(job.id)
            await place.eventually(f"ls -d .streamflow/jobs/{jobs[0].id} 2>/dev/null", "")

        place.do(check())

    def test_a_long_job_delays_nobody(self, place: Place) -> None:
        async def check() -> None:
            long = asyncio.create_task(place.site.run(place.job("sleep 60")))
            started = time.monotonic()
            await asyncio.gather(*(place.run("true") for _ in range(5)))
            assert time.monotonic() - started < 10
            assert not long.done()
            long.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await long

        place.do(check())

    def test_outputs_are_cleared_before_and_described_after(self, place: Place) -> None:
        async def check() -> None:
            top = place.fresh()
            await place.text(f"mkdir -p {top}/d; echo old >{top}/gone; echo old >{top}/kept; echo x >{top}/d/x")
            outputs = [f"{top}/{name}" for name in ("gone", "kept", "d", "new", "-n 'x", "p/q")]
            text = f'cd {top}; printf 12345 >new; chmod 750 new; mkdir d; printf 1 >"./-n \'x"; printf 1 >p/q'
            ended = await place.run(text, outputs=outputs, keep=frozenset([f"{top}/kept"]), parents=[f"{top}/p"])
            assert ended.code == 0, ended.stderr
            assert ended.end.outputs is not None
            found = {output.path.removeprefix(f"{top}/"): output for output in ended.end.outputs}
            kinds = {name: output.kind for name, output in found.items()}
            assert kinds == {
                "gone": "missing",
                "kept": "file",
                "d": "directory",
                "new": "file",
                "-n 'x": "file",
                "p/q": "file",
            }
            assert (found["new"].size_b, found["new"].mode) == (5, 0o750)
            assert abs(found["new"].mtime_ns / 1e9 - time.time()) < 3600
            assert (await place.text(f"ls {top}/d")).strip() == ""

        place.do(check())

    def test_a_job_of_300_outputs(self, place: Place) -> None:
        async def check() -> None:
            top = place.fresh()
            outputs = [f"{top}/{'long' * 30}-{number}" for number in range(300)]
            text = f"for i in $(seq 0 298); do echo $i >{top}/{'long' * 30}-$i; done"
            ended = await place.run(text, outputs=outputs, parents=[top])
            assert ended.code == 0, ended.stderr
            assert ended.end.outputs is not None
            assert [output.path for output in ended.end.outputs] == outputs
            assert [output.kind for output in ended.end.outputs] == ["file"] * 299 + ["missing"]
            assert ended.end.outputs[298].size_b == 4

        place.do(check())

    def test_a_command_longer_than_an_argument(self, place: Place) -> None:
        text = f": '{'x' * 200_000}'; echo \"it's\"; exit 6"
        ended = place.do(place.run(text))
        assert (ended.code, ended.stdout) == (6, b"it's\n")

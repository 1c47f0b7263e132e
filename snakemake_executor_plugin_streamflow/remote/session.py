"""The session: one shell per location through which jobs are started, watched and cancelled.

Text protocol over one channel. We send calls of the functions in `FUNCTIONS`, one per job; each call ends with the
word `ok`, so that a call cut off in the middle is never obeyed. The shell and the jobs' guards answer with events, each
one line of less than 4096 bytes, written by one system call, so that they never mix:

    E ID CODE ...    the job ended (`job.parse_end` reads it); `E ID CODE @`: see the file `exit`
    R ID             it runs
    A ID             there is no such job directory: it never started
    L ID             it started, and neither it nor its exit code can be found
    F ID REASON      it could not be started
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..connect.base import Channel
from ..errors import JobLost, SiteError, TransferError, Unreachable
from .job import FINISH, TREE, JobEnd, JobSpec, look_text, parse_end, render
from .quote import decode, encode, exports, quote, words
from .trouble import Trouble

FUNCTIONS = (
    FINISH
    + TREE
    + r"""
sf_event() { [ ${#2} -lt 3000 ] || set -- "$1" "${2%% *} @"
  printf 'E %s %s\n' "$1" "$2" >&3; }
sf_done() { [ -s "$j/$1/exit" ] && case $(tail -n 1 "$j/$1/exit") in .) true;; *) false;; esac; }
sf_make() { [ "$2" = ok ] || return 0; (cd "$j" && exec mkdir -m 700 $1) 2>/dev/null; }
sf_start() { [ "$6" = ok ] || return 0
  [ -d "$j/$1" ] || e=$(mkdir -m 700 "$j/$1" 2>&1); set -C
  if command : 2>/dev/null >"$j/$1/script"; then set +C
    printf '%s' "$2" >"$j/$1/script" && if [ "$i" = setsid ]; then
      (sf_env=$3; export sf_env; exec setsid setsid sh -c "$f i=; j=\$1; set -- \"\$2\" \"\$sf_env\" \"\$3\" \"\$4\"
        unset sf_env; sf_guard \"\$@\"" sh "$j" "$1" "$4" "$5")
    else sf_guard "$1" "$3" "$4" "$5" & fi </dev/null 3>&1 >"$j/$1/stdout" 2>"$j/$1/stderr" ||
      { rm -rf "$j/$1"; printf 'F %s cannot write %s (disk full?)\n' "$1" "$j/$1"; }
  elif set +C; [ -d "$j/$1" ]; then sf_watch "$1" "$4" </dev/null &
  else printf 'F %s %s\n' "$1" "$e"; fi; }
sf_guard() { set -C; : 2>/dev/null >"$j/$1/begun" || exit 0; set +C; trap - INT QUIT; trap : TERM HUP
  [ -z "$4" ] || { sf_limit "$1" "$4" >/dev/null 2>&1 3>&- & g=$!; }
  (set -- "$1" "$2" "$i" "$j/$1/script"; eval "$2"; STREAMFLOW_JOB=$1; export STREAMFLOW_JOB
    exec $3 setsid sh "$4" 3>&-); c=$?
  if [ -e "$j/$1/over" ]; then wait "$g"; elif [ -n "$4" ]; then kill "$g"; fi
  p=; read -r p 2>/dev/null <"$j/$1/pid"; n=0
  while [ -n "$p" ] && [ $n -lt 20 ] && kill -0 "-$p" 2>/dev/null; do sleep 0.1; n=$((n+1)); done
  sf_finish "$j/$1" "$c" "$3"; sf_event "$1" "$e"; }
sf_watch() { n=0; exec 3>&1
  until sf_done "$1" || [ -s "$j/$1/pid" ] || [ $n -ge 30 ]; do sleep 0.1; n=$((n+1)); done
  if ! [ -s "$j/$1/pid" ] && ! sf_done "$1" && mkdir "$j/$1/begun" 2>/dev/null; then
    mv "$j/$1" "$j/.$1.$$"; rm -rf "$j/.$1.$$"; echo "A $1"; return; fi
  if ! sf_done "$1"; then
    p=; read -r p 2>/dev/null <"$j/$1/pid"; echo "R $1"
    while [ -n "$p" ] && ! sf_done "$1" && kill -0 "$p" 2>/dev/null; do sleep 0.1; done
    n=0; until sf_done "$1" || [ $n -ge 60 ]; do sleep 0.1; n=$((n+1)); done
  fi
  if sf_done "$1"; then read -r e <"$j/$1/exit"; sf_event "$1" "$e"
  elif [ -z "$p" ] && [ ! -d "$j/$1" ]; then echo "A $1"
  elif [ -s "$j/$1/code" ] && read -r c <"$j/$1/code"; then sf_finish "$j/$1" "$c" "$2"; sf_event "$1" "$e"
  else echo "L $1"; fi; }
sf_limit() { s=; o=; trap 'o=1; [ -z "$s" ] || kill -9 "$s"' TERM; sleep "$2" & s=$!
  [ -z "$o" ] || kill -9 "$s"; wait "$s" || return 0
  sf_done "$1" || { : >"$j/$1/over"; sf_tree "$1"; }; }
sf_kill() { [ "$2" = ok ] || return 0; sf_tree "$1" </dev/null >/dev/null 2>&1 & }
sf_stop() { [ "$2" = ok ] || return 0
  { sf_tree "$1" >/dev/null 2>&1; if [ -d "$j/$1" ]; then sf_watch "$1" :; else echo "A $1"; fi; } </dev/null & }
sf_tree() { n=0; until [ -s "$j/$1/pid" ] || [ ! -d "$j/$1" ] || [ $n -ge 20 ]; do sleep 0.1; n=$((n+1)); done
  ! sf_done "$1" && read -r p 2>/dev/null <"$j/$1/pid" || return 0
  sf_end_tree "$1" "$p"; }
sf_rm() { for l; do :; done; [ "$l" = ok ] || return 0; (cd "$j" && rm -rf "$@"); }
"""
)
# A job's wrapper (`script`, see `job.render`) leads the job's process group. The guard is outside of it, so that a job
# may kill its parent and its group. It waits for a while until the group is empty (a process that the shell left behind
# may still write a log), looks at the outputs and writes `exit`. Should the guard die with its session, `sf_watch` does
# that from what the wrapper left in `code`.
# One process makes the directories of many jobs; who makes `script` starts one. Who makes `begun` may begin, or take a
# job back that a lost session had no time to begin.

_PRELUDE = r"""
cd /; unset SSH_CLIENT SSH2_CLIENT; j=%s
f=%s
eval "$f"
if [ -n "$BASH_VERSION" ]; then i=
elif env --default-signal=INT,QUIT true 2>/dev/null; then i='env --default-signal=INT,QUIT'; else i=setsid; fi
echo READY
"""
# Where SSH_CLIENT is set, bash reads ~/.bashrc before every command, which could undo what the deployment's `env` says.
# In the background a shell ignores SIGINT, and so would the jobs. bash can take that back, `env` can where it is GNU's;
# elsewhere the guard is started in the foreground: the second `setsid` leads a group, so it forks and returns at once.


def prelude(jobs: str) -> str:
    """Return the text that makes a fresh `sh` a session; `jobs` is the folder of the job directories."""
    return _PRELUDE % (quote(jobs), quote(FUNCTIONS))


_FORGET_AT_ONCE = 50
"""Job directories that are removed by one command."""


@dataclass(slots=True)
class Running:
    """A job that was sent and has not ended."""

    spec: JobSpec
    done: asyncio.Future[JobEnd]


class Session:
    """The control shell of one location.

    `open_shell` gives a fresh channel to a fresh `sh` there. After a drop the session opens a new one, with
    back-off, as long as jobs are out, and finds them again: a job directory that exists is never started twice.

    Args:
        gone: tells whether the location is gone for good.
        looks: whether the outputs are looked at there when a job has ended.
        give_up_s: after so many seconds without a connection the jobs are given up as Unreachable.
    """

    def __init__(
        self,
        location: str,
        jobs_directory: str,
        open_shell: Callable[[], Awaitable[Channel]],
        log: Callable[[str], None],
        *,
        gone: Callable[[], Awaitable[bool]],
        looks: bool = True,
        give_up_s: float = 600,
    ) -> None:
        self.location = location
        self._jobs = jobs_directory
        self._open_shell = open_shell
        self._trouble = Trouble(log)
        self._gone = gone
        self._looks = looks
        self._give_up_s = give_up_s
        self._running: dict[str, Running] = {}
        self._channel: Channel | None = None
        self._queue: list[tuple[str, bytes]] = []
        self._wake = asyncio.Event()
        self._ending: set[str] = set()
        self._forgotten: list[str] = []
        self._closed = False
        self._ready = asyncio.Event()
        self.lost = False

    async def serve(self) -> None:
        """Keep a connection up while there are jobs; runs until `close`. Started by the owner, in its task group."""
        try:
            await self._keep_up()
        except Exception as error:  # a bug here must leave no job waiting for ever, nor those that come later
            self._closed = True
            self._give_up(Unreachable(f"{self.location}: {type(error).__name__}: {error}"))
            raise

    async def _keep_up(self) -> None:
        delay, down_since = 0.2, None
        loop = asyncio.get_running_loop()
        while not self._closed:
            if not self._queue and not self._running and (self.lost or not self._ending):
                self._wake.clear()
                await self._wake.wait()
                delay, down_since = 0.2, None  # nobody has tried meanwhile
                continue
            try:
                await self._connect_and_serve()
                delay, down_since = 0.2, None
            except SiteError as error:
                if self._closed:
                    return
                if self._ready.is_set():
                    delay, down_since = 0.2, None
                self._ready.clear()
                now = loop.time()
                down_since = down_since or now
                if not error.transient or now - down_since > self._give_up_s or await self._gone():
                    self._give_up(error)
                    down_since = None
                    continue
                self._trouble.tell(
                    error,
                    f"{self.location}: connection lost ({error}); {len(self._running)} jobs out; "
                    f"trying again for {self._give_up_s / 60:.0f} minutes, then they count as lost",
                )
                await asyncio.sleep(delay)
                delay = min(delay * 2, 30)

    async def run(self, spec: JobSpec) -> JobEnd:
        """Run a job and return its end. Cancelling the caller kills the job's process tree at the location.

        Raises:
            JobLost: it started, and its end is unknown.
            TransferError: it could not be started (disk full, no permission); it did not run.
            Unreachable: the location was gone for too long; whether the job ran is unknown.
        """
        if self._closed:
            raise Unreachable(f"{self.location}: it was set aside")
        done: asyncio.Future[JobEnd] = asyncio.get_running_loop().create_future()
        self._running[spec.id] = Running(spec, done)
        self._send(self._start_call(spec), start=spec.id)
        try:
            return await done
        except asyncio.CancelledError:
            self._ending.add(spec.id)
            self.kill(spec.id)
            raise
        finally:
            self._running.pop(spec.id, None)

    def kill(self, job: str) -> None:
        """End a job's process tree; `run` then returns its code."""
        self._send(encode(f"sf_kill {quote(job)} ok\n"))

    def forget(self, job: str) -> None:
        """Remove a job directory that has been accounted for."""
        self._forgotten.append(job)
        if len(self._forgotten) >= _FORGET_AT_ONCE:
            self._send_forgotten()
        elif len(self._forgotten) == 1:
            asyncio.get_running_loop().call_later(1, self._send_forgotten)

    def forgotten(self) -> list[str]:
        """Return the jobs whose directories are still to be removed, and leave them to the caller."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def _send_forgotten(self) -> None:
        if self._forgotten:
            self._send(encode(f"sf_rm {words(self._forgotten)} ok\n"))
            self._forgotten.clear()

    async def close(self, grace_s: float = 3.0) -> list[str]:
        """Wait for jobs that are being ended, then close the channel; return those of which nothing was heard.

        Jobs that were not cancelled go on; nobody listens any more.
        """
        if not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    while (self._queue or self._ending) and not self.lost:
                        await asyncio.sleep(0.02)
        self._closed = True
        self._wake.set()
        for job in self._running.values():
            if not job.done.done():
                job.done.set_exception(Unreachable(f"{self.location}: the session was closed"))
        if self._channel is not None:
            await self._channel.kill()
        return sorted(self._ending)

    def _start_call(self, spec: JobSpec) -> bytes:
        look = look_text(spec) if self._looks else ""
        parts = (spec.id, render(spec), exports(spec.env), look, "" if spec.limit_s is None else str(spec.limit_s))
        return encode(f"sf_start {words(parts)} ok\n")

    def _send(self, call: bytes, *, start: str = "") -> None:
        if not self._closed:
            self._queue.append((start, call))
            self._wake.set()

    async def _connect_and_serve(self) -> None:
        async with await self._open_shell() as channel:
            self._channel = channel
            try:
                if self._closed:
                    return
                await channel.write(encode(prelude(self._jobs)))
                # Whatever became of the old calls: a job directory that exists is not started again.
                orders = [call for call in self._queue if not call[0]]
                # The order to end these may have been lost, and their guards speak to the old channel.
                orders += [("", encode(f"sf_stop {quote(job)} ok\n")) for job in sorted(self._ending)]
                self._queue = [(job.spec.id, self._start_call(job.spec)) for job in self._running.values()] + orders
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._read(channel))
                    group.create_task(self._write(channel))
            except* SiteError as errors:
                raise errors.exceptions[0] from None
            finally:
                self._channel = None

    async def _write(self, channel: Channel) -> None:
        while not self._closed:
            if self._queue:
                sent = len(self._queue)
                starts = [job for job, _ in self._queue if job]
                make = encode(f"sf_make '{' '.join(starts)}' ok\n") if len(starts) > 1 else b""
                await channel.write(make + b"".join(call for _, call in self._queue))
                del self._queue[:sent]
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _read(self, channel: Channel) -> None:
        buffer = b""
        while True:
            data = await channel.read()
            if not data:
                if self._closed:
                    return
                said = decode(channel.errors)[-300:].strip()
                raise Unreachable(f"{self.location}: the shell there ended{': ' + said if said else ''}")
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                self._line(decode(line))

    def _line(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "READY":
            self._ready.set()
            self.lost = False
            self._trouble.over(f"{self.location}: connected again; {len(self._running)} jobs out")
            return
        name, _, detail = rest.partition(" ")
        job = self._running.get(name)
        if kind in "EAL":
            self._ending.discard(name)
        if job is None or job.done.done():
            return
        if kind == "E":
            self._ended(job, detail)
        elif kind == "A":
            self._send(self._start_call(job.spec), start=name)
        elif kind == "L":
            job.done.set_exception(
                JobLost(f"{self.location}: job {name} vanished: neither its processes nor its exit code are there")
            )
        elif kind == "F":
            job.done.set_exception(
                TransferError(f"{self.location}: job {name} could not be started: {detail}", transient=True)
            )

    def _ended(self, job: Running, how: str) -> None:
        try:
            job.done.set_result(parse_end(how, job.spec.outputs))
        except (ValueError, IndexError):
            job.done.set_exception(JobLost(f"{self.location}: job {job.spec.id}: its end cannot be read: {how!r}"))

    def _give_up(self, error: SiteError) -> None:
        self.lost = True
        self._queue.clear()
        for job in list(self._running.values()):
            if not job.done.done():
                job.done.set_exception(Unreachable(f"{self.location}: given up: {error}", transient=True))
        self._running.clear()

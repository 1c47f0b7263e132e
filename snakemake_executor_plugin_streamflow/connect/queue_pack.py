"""`pack`: one allocation that is held, each of whose nodes is a location.

The allocation runs a shell agent on each node. A process that is opened there is a child of the agent and not of the
step that carries its streams, so that jobs outlive a connection. Streams go through named pipes in a folder of `/tmp`
of the node; the step only copies bytes. The first node looks now and then whether a job of ours runs anywhere, and
gives the allocation back after a while without any, also when nobody is left to ask for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DeployError, Unreachable
from .base import Channel, Inner, Log, Through
from .queue import Queue, Submission, Wants

_WAIT_S = (0.5, 10.0)
"""Between two looks at an allocation that waits in the queue: at first, and at most."""

_FOLDER = "/tmp/.streamflow-$(id -u)-%s"

_HOLDER = """#!/bin/sh
{everywhere} sh -c {agent} &
i=0; last=
while kill -0 $! 2>/dev/null; do
  sleep {step}
  now=$({everywhere} sh -c {busy} | sort)
  case $now in *busy*) i=0;; "$last") i=$((i+{step}));; *) i=0; last=$now;; esac
  [ $i -lt {idle} ] || exit 0
done
"""
_BUSY = """for f in $(grep -la "STREAMFLOW_HELD={own_id}" /proc/[0-9]*/environ 2>/dev/null); do
  if grep -qa STREAMFLOW_JOB= "$f" 2>/dev/null; then echo busy; break; fi
  read -r c <"${{f%/environ}}/comm" 2>/dev/null && case $c in
    sh|dash|bash|busybox) cat "${{f%/environ}}/stat" 2>/dev/null;; *) echo busy; break;; esac
done"""
# Jobs and what shells run for a transfer are work; a shell is idle as long as nothing that is counted of it changes.
_AGENT = """d={folder}; umask 077; rm -rf "$d"; mkdir "$d" || exit 1; trap 'rm -rf "$d"' EXIT; trap 'exit 0' TERM
mkfifo "$d/new"; mv "$d/new" "$d/requests"; exec 4<>"$d/requests"; STREAMFLOW_HELD={own_id}; export STREAMFLOW_HELD
while read -r c <&4; do
  {{ sh "$c/run" <"$c/in" >"$c/out" 2>"$c/err"; echo $? >"$c/ended"; mv "$c/ended" "$c/code"; }} 4<&- &
done"""
_RELAY = """d={folder}; n=0; umask 077
until [ -p "$d/requests" ] || [ $n -ge 300 ]; do sleep 0.1; n=$((n+1)); done
c=$(mktemp -d "$d/XXXXXX") || exit 125
mkfifo "$c/in" "$c/out" "$c/err"; printf '%s\\n' "$1" >"$c/run"; printf '%s\\n' "$c" >"$d/requests"
exec 3<&0; cat <&3 >"$c/in" & i=$!
cat <"$c/err" >&2 & e=$!
cat <"$c/out"; n=0
until [ -s "$c/code" ] || [ $n -ge 100 ]; do sleep 0.05; n=$((n+1)); done
kill $i 2>/dev/null; read -r n <"$c/code" || n=125; rm -rf "$c"; exit $n"""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of an allocation, and what of it is ours."""

    name: str
    cores: float | None = None
    memory_b: int | None = None


class PackingQueue(Queue):
    """A queue whose allocations can be entered.

    Attributes:
        everywhere: in a job, what runs a command once on each of its nodes.
        noise: what the step itself adds to the standard error of a process that fails.
        node: a shell word for the name of a node, on it; with the job's id it names the agent's folder.
    """

    everywhere: str
    node: str
    noise: re.Pattern[bytes]

    @abstractmethod
    def held(self, id: str) -> str:
        """Return the command that tells of the nodes of a running job."""

    @abstractmethod
    def nodes(self, said: str) -> list[Node]:
        """Read what that command printed; nothing while the job does not run."""

    @abstractmethod
    def step(self, id: str, node: Node) -> list[str]:
        """Return what to put before a command so that it runs on a node of a job, with all that is ours there."""

    @abstractmethod
    def whole(self, pack: Any) -> Wants:
        """Return what is asked of the queue for an allocation."""


class StepChannel(Through):
    """A process on a node, without what the step says of it."""

    def __init__(self, real: Channel, noise: re.Pattern[bytes]) -> None:
        super().__init__(real)
        self._noise = noise

    @property
    def errors(self) -> bytes:
        return self._noise.sub(b"", super().errors)


class Held:
    """The allocation of one service."""

    def __init__(self, name: str, queue: PackingQueue, service: Any, inner: Inner, run: str, log: Log) -> None:
        self.name = name
        self._queue, self._service, self._inner, self._run, self._log = queue, service, inner, run, log
        self._id: str | None = None
        self._asking: asyncio.Task[None] | None = None

    async def hold(self) -> None:
        """Ask for the allocation, and wait until it runs. On failure, and on cancellation, `release` gives it back.

        Raises:
            DeployError: the queue refused it, or it ended.
        """
        # Not cancelled with us: only with the queue's answer there is something that can be given back.
        self._asking = asyncio.create_task(self._submit())
        await asyncio.shield(self._asking)
        await self._started()

    async def _submit(self) -> None:
        queue, pack = self._queue, self._service.pack
        file = f"/tmp/streamflow-{self._run}-{self.name.replace('/', '-')}.sh"
        workdir = str(self._inner.location.workdir or "/")
        job = Submission(f"pack-{self._run}", file, "/dev/null", workdir, queue.whole(pack), self._service)
        step = max(1, pack.idle // 4)
        folder = _FOLDER % f"{queue.own_id}-{queue.node}"
        text = _HOLDER.format(
            everywhere=queue.everywhere,
            agent=shlex.quote(_AGENT.format(folder=folder, own_id=queue.own_id)),
            busy=shlex.quote(_BUSY.format(own_id=queue.own_id)),
            step=step,
            idle=pack.idle,
        )
        where = shlex.quote(file)
        code, said = await self._ask(
            f"{queue.prelude}\n(umask 077; printf '%s' {shlex.quote(text)} >{where}) && {queue.submit(job)}; "
            f"c=$?; rm -f {where}; exit $c"
        )
        try:
            self._id = queue.submitted(said)
        except ValueError:
            raise DeployError(f"{self.name}: the queue did not give an allocation ({code}):\n{said}") from None

    async def nodes(self) -> list[Node]:
        """Return the nodes; nothing when the allocation does not run. Raises Unreachable: the queue does not say."""
        if self._id is None:
            return []
        code, said = await self._ask(self._queue.held(self._id))
        if code and not self._queue.knows_none(said):
            raise Unreachable(f"{self.name}: the queue does not tell of its allocation: {said.strip()}")
        return self._queue.nodes(said)

    async def release(self) -> None:
        """Give the allocation back. Idempotent. Raises DeployError with the command that does it."""
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)
        if self._id is None:
            return
        cancel = self._queue.cancel([self._id])
        code, said = await self._ask(cancel)
        if code and not self._queue.knows_none(said):
            raise DeployError(f"{self.name}: its allocation could not be given back: {said}\nDo it with: {cancel}")
        self._id = None

    async def open(self, node: Node, argv: Sequence[str], env: Mapping[str, str] | None) -> Channel:
        """Start a process on a node. Raises Unreachable."""
        if self._id is None:
            raise Unreachable(f"{self.name}: its allocation has ended")
        inner = self._inner
        real = await inner.connector.open(inner.location, self._enter(self._id, node, argv, env))
        return StepChannel(real, self._queue.noise)

    def _enter(self, id: str, node: Node, argv: Sequence[str], env: Mapping[str, str] | None) -> list[str]:
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in (env or {}).items())
        folder = _FOLDER % f"{id.partition(';')[0]}-{self._queue.node}"
        run = f"{exports}exec {shlex.join(argv)}"
        return [*self._queue.step(id, node), "sh", "-c", _RELAY.format(folder=folder), "sh", run]

    async def _started(self) -> None:
        assert self._id is not None
        pause, told = _WAIT_S[0], False
        while True:
            with contextlib.suppress(Unreachable):
                if await self.nodes():
                    return
            _, said = await self._ask(self._queue.status([self._id]))
            seen = self._queue.states(said).get(self._id)
            if seen is not None and seen.state.final:
                message = f"{self.name}: its allocation ended before it could be used ({seen.words})"
                raise DeployError(message, transient=True)
            if not told and pause > 2:
                told = True
                self._log.info(f"{self.name}: waiting in the queue for an allocation (job {self._id})")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _WAIT_S[1])

    async def _ask(self, text: str) -> tuple[int, str]:
        """Run shell text at the inner location; return its code and what it printed."""
        inner = self._inner
        async with await inner.connector.open(inner.location, ["sh", "-c", f"({text}\n) 2>&1"]) as channel:
            await channel.close_stdin()
            said = b""
            while data := await channel.read():
                said += data
            return await channel.wait(), said.decode(errors="replace")

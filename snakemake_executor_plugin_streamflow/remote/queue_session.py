"""The session of a queue: submits jobs in rounds, sees their ends in a mailbox, asks for states in one call."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice

from ..connect.base import Channel
from ..connect.queue import Profile, Seen, State
from ..errors import CapacityError, JobLost, SiteError, SubmitError, TransferError, Unreachable, quote_tail
from .job import JobEnd, JobSpec, parse_end
from .lane import Lane
from .queue_ask import Asking
from .queue_cancel import Cancels
from .queue_text import Answer, answers, look, submit_call, submit_round, sweep
from .queue_watch import Tracked
from .quote import words
from .shell import Completed
from .trouble import Trouble

ROUND = 100
"""Most submissions of one request."""
GATHER_S = 0.02
LOOK_S = (0.2, 1.0)
"""Between two looks into the mailbox: just after something ended, and when nothing does."""
STATUS_S = 0.5
"""Shortest time between two status calls; also five times what the last one took."""
HISTORY_S = 5.0
ANSWER_S = 60.0
SUBMIT_S = 10.0
"""Time limit of a request, and what each submission of a round adds to it."""
FULL_S = (1.0, 30.0)
"""Before a submission that the queue refused for now is tried again: at first, and at most."""


@dataclass(slots=True)
class Out:
    """A job that was given to us and has not ended.

    Attributes:
        call: what submits it.
        tracked: set once it is, or may be, in the queue.
        flying: its submission is under way.
        refused_at: when the queue first refused it for a reason that may pass.
    """

    spec: JobSpec
    call: str
    done: asyncio.Future[JobEnd]
    tracked: Tracked | None = None
    flying: bool = False
    refused_at: float | None = None


class QueueSession:
    """What `Session` is to other locations.

    Jobs stay tracked while the login host or the queue's commands do not answer, up to `give_up_s`.

    Args:
        open_shell: gives a fresh channel to a fresh `sh` at the inner location.
        gone: tells whether the location is gone for good.
    """

    def __init__(
        self,
        location: str,
        jobs_directory: str,
        open_shell: Callable[[], Awaitable[Channel]],
        log: Callable[[str], None],
        *,
        profile: Profile,
        gone: Callable[[], Awaitable[bool]],
        give_up_s: float = 600,
    ) -> None:
        self.location = location
        self.lost = False
        self._jobs, self._profile = jobs_directory, profile
        self._mailbox = f"{jobs_directory}/.ended-{secrets.token_hex(4)}"
        self._log, self._gone, self._give_up_s = log, gone, give_up_s
        self._trouble = Trouble(log)
        self._lanes = [Lane(location, open_shell) for _ in range(4)]
        self.asking = Asking(location, self._lanes[2], profile.queue)
        self._cancels = Cancels(location, self._lanes[3], profile.queue, log)
        self._out: dict[str, Out] = {}
        self._forgotten: list[str] = []
        self._submit_now, self._look_now, self._ask_now = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._closing = asyncio.Event()
        self._look_at_all = False

    async def serve(self) -> None:
        """Submit, watch and cancel until `close`. Started by the owner, in its task group."""
        try:
            async with asyncio.TaskGroup() as group:
                work = (self._submit(), self._watch(), self._ask(), self._cancels.serve())
                tasks = [group.create_task(one) for one in work]
                await self._closing.wait()
                for task in tasks:
                    task.cancel()
        except Exception as error:  # a bug here must leave no job waiting for ever, nor those that come later
            self._closing.set()
            self._give_up(Unreachable(f"{self.location}: {type(error).__name__}: {error}"))
            raise

    async def run(self, spec: JobSpec) -> JobEnd:
        """Run a job through the queue and return its end. Cancelling the caller cancels it in the queue.

        Raises:
            CapacityError: what its rule asks for is nothing that a queue has.
            SubmitError: the queue did not take it; it did not run.
            JobInterrupted: the queue took its place away.
            JobLost, TransferError, Unreachable: as `Session.run`.
        """
        if self._closing.is_set():
            raise Unreachable(f"{self.location}: it was set aside")
        try:
            call = submit_call(spec, self._profile, self._jobs, self._mailbox)
        except ValueError as error:
            raise CapacityError(f"{self.location}: job {spec.id} cannot be submitted: {error}") from error
        out = self._out[spec.id] = Out(spec, call, asyncio.get_running_loop().create_future())
        self._submit_now.set()
        try:
            return await out.done
        except asyncio.CancelledError:
            self.kill(spec.id)
            raise
        finally:
            self._out.pop(spec.id, None)

    def kill(self, job: str) -> None:
        """End a job, in the queue or on its way there; `run` then returns its code."""
        out = self._out.get(job)
        if out is not None and (out.flying or out.tracked is not None):
            self._cancels.add(job, (out.tracked.id or None) if out.tracked else None)

    def forget(self, job: str) -> None:
        """Remove a job directory that has been accounted for."""
        self._forgotten.append(job)
        self._look_now.set()

    async def sweep(self, runs: Sequence[str], spare: Collection[str]) -> list[str]:
        """Cancel jobs that other runs of this deployment left in the queue, and return which.

        Args:
            runs: their jobs go on.
            spare: jobs that go on.

        Raises:
            Unreachable: the location does not answer.
        """
        text = sweep(self._jobs, runs, self._profile.deployment)
        ended = []
        for answer in answers((await self._lanes[3].ask(text, ANSWER_S)).text):
            with contextlib.suppress(ValueError):
                if answer.job not in spare:
                    self._cancels.add(answer.job, self._profile.queue.submitted("\n".join(answer.lines[1:])))
                    ended.append(answer.job)
        return ended

    async def close(self, grace_s: float = 3.0) -> dict[str, str]:
        """Wait until the queue has taken all cancellations.

        Returns:
            The command that ends each job that could not be cancelled; "" when its id is not known.
        """
        if not self._closing.is_set():
            await self._cancels.settle(grace_s)
            gone = words([*self._forgotten, self._mailbox])
            with contextlib.suppress(SiteError, TimeoutError):
                async with asyncio.timeout(1.0):  # also for the lane, where a question may hang
                    await self._lanes[1].ask(f"cd {words([self._jobs])} && rm -rf {gone}", 1.0)
        self._closing.set()
        for out in self._out.values():
            self._fail(out, Unreachable(f"{self.location}: the session was closed"))
        for lane in self._lanes:
            await lane.close()
        return self._cancels.left()

    # Submitting

    async def _submit(self) -> None:
        delay = FULL_S[0]
        while True:
            await self._submit_now.wait()
            self._submit_now.clear()
            await asyncio.sleep(GATHER_S)
            while waiting := list(islice(filter(_unsent, self._out.values()), ROUND)):
                for out in waiting:
                    out.flying = True
                text = submit_round([out.call for out in waiting], self._profile, self._jobs, self._mailbox)
                done = await self._insist(self._lanes[0], text, ANSWER_S + SUBMIT_S * len(waiting))
                for out in waiting:
                    out.flying = False
                if done is None:
                    break
                known = sum(self._submitted(answer) for answer in answers(done.text))
                delay = FULL_S[0] if known else min(2 * delay, FULL_S[1])
                if not known:
                    await asyncio.sleep(delay)

    def _submitted(self, answer: Answer) -> bool:
        """Take the answer to one submission; return whether it is settled."""
        job, said, out, now = answer.job, "\n".join(answer.lines), self._out.get(answer.job), self._now()
        queue = self._profile.queue
        if answer.kind == "Q":
            try:
                id = queue.submitted("\n".join(answer.lines[1:]))
            except ValueError:
                self._refused(
                    job, SubmitError(f"{self.location}: no job id in what the queue said:\n{quote_tail(said)}")
                )
                return True
            self._cancels.known(job, id)
            if out is not None and out.tracked is None:
                out.tracked = Tracked(id, now)
            elif out is not None and out.tracked is not None:
                out.tracked.id = id
            self._look_now.set()
            self._ask_now.set()
            return True
        if answer.kind == "F":
            self._refused(
                job, TransferError(f"{self.location}: job {job} could not be started: {said}", transient=True)
            )
            return True
        if out is not None:
            out.refused_at = out.refused_at or now
        if out is None or not queue.may_pass(said) or now - (out.refused_at or now) > self._give_up_s:
            self._refused(job, SubmitError(f"{self.location}: the queue did not take job {job}:\n{quote_tail(said)}"))
            return True
        self._log(f"{self.location}: the queue does not take job {job} now; trying again:\n{quote_tail(said)}")
        return False

    def _refused(self, job: str, error: SiteError) -> None:
        self._cancels.drop(job)
        if job in self._out:
            self._fail(self._out[job], error)

    # Watching

    async def _watch(self) -> None:
        pause = LOOK_S[0]
        while True:
            if not self._forgotten and not any(out.tracked or out.flying for out in self._out.values()):
                self._look_now.clear()
                await self._look_now.wait()
            tracked = {job: out.tracked for job, out in self._out.items() if out.tracked}
            doubtful = [job for job, one in tracked.items() if one.doubtful or self._look_at_all]
            forgotten, self._forgotten = self._forgotten, []
            text = look(self._mailbox, doubtful, forgotten)
            self._look_at_all = False  # where an answer gets lost on the way, the next look is at all of them
            done = await self._insist(self._lanes[1], text, ANSWER_S)
            self._look_at_all |= done is None
            found = [self._found(answer) for answer in answers(done.text if done else "")]
            self._decide()
            pause = LOOK_S[0] if any(found) else min(pause * 1.2, LOOK_S[1])
            await asyncio.sleep(pause)

    def _found(self, answer: Answer) -> bool:
        """Take what a look says of one job; return whether it has ended."""
        out, now = self._out.get(answer.job), self._now()
        if answer.kind != "N":
            self._cancels.drop(answer.job)
        if out is None:
            return True
        tracked = out.tracked = out.tracked or Tracked("", now)
        if answer.kind == "R":
            tracked.requeued = True
        elif answer.kind == "E":
            try:
                end = answer.lines.index(".")
                tracked.found_end(parse_end(answer.lines[0], out.spec.outputs), now)
                self._explain(tracked, answer.lines[end + 1 :])
            except (ValueError, IndexError):
                self._fail(out, JobLost(f"{self.location}: job {answer.job}: its exit file is damaged: {answer.lines}"))
            if tracked.undecided:
                self._ask_now.set()
        else:
            owner, *said = answer.lines or ("",)
            if owner and owner != tracked.id.partition(";")[0]:  # a job does not know its cluster
                tracked.id = owner
            self._explain(tracked, said)
        return answer.kind != "N"

    def _explain(self, tracked: Tracked, said: Sequence[str]) -> None:
        """Take what the queue printed for a job; it may tell why the job ended."""
        tracked.said = "\n".join(said)
        state = self._profile.queue.explained(tracked.said)
        if state is not None and (not tracked.seen.state.final or tracked.seen.state is State.ENDED):
            tracked.hear(Seen(state, said[-1].strip()), self._now())

    def _decide(self) -> None:
        """Report the jobs whose end is known."""
        now = self._now()
        for job, out in self._out.items():
            verdict = out.tracked.verdict(now) if out.tracked else None
            if isinstance(verdict, SiteError):
                if out.tracked is not None and out.tracked.id:
                    self._cancels.add(job, out.tracked.id)  # it may wait for its turn to be started again
                self._fail(out, type(verdict)(f"{self.location}: job {job}: {verdict}"))
            elif verdict is not None and not out.done.done():
                out.done.set_result(verdict)

    # Asking

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        interval, failing_since, history_at = STATUS_S, None, 0.0
        while True:
            asked = {o.tracked.id: o.tracked for o in self._out.values() if o.tracked and o.tracked.id}
            asked = {id: tracked for id, tracked in asked.items() if tracked.undecided}
            if not asked:
                self._ask_now.clear()
                await self._ask_now.wait()
                await asyncio.sleep(STATUS_S)
                continue
            before = [tracked.seen for tracked in asked.values()]
            started = loop.time()
            try:
                seen = await self.asking.states(list(asked), ANSWER_S)
                for id, tracked in asked.items():
                    tracked.hear(seen.get(id), loop.time())
                missing = [id for id, tracked in asked.items() if tracked.missing]
                if missing and started - history_at > HISTORY_S:
                    history_at = started
                    for id, past in (await self.asking.past(missing, ANSWER_S)).items():
                        if id in asked and past.state.final:
                            asked[id].hear(past, loop.time())
                failing_since = None
            except SiteError as error:
                failing_since = failing_since or started
                if self._failing(error, started - failing_since):
                    failing_since = None
            self._decide()
            same = [tracked.seen for tracked in asked.values()] == before
            interval = min(interval * 1.5, self._profile.longest_s) if same else STATUS_S
            self._ask_now.clear()
            least = max(STATUS_S, 5 * (loop.time() - started))
            await asyncio.sleep(least)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ask_now.wait(), max(interval - least, 0.001))

    def _failing(self, error: SiteError, for_s: float) -> bool:
        """Note that the queue does not tell of states; give up after a while."""
        if for_s == 0:
            self._log(f"{error}\nIts jobs stay tracked.")
        if for_s > self._give_up_s:
            self._give_up(error)
            return True
        return False

    # All of it

    async def _insist(self, lane: Lane, text: str, timeout_s: float) -> Completed | None:
        """Ask until there is an answer; None: given up."""
        delay, since = 0.2, self._now()
        while True:
            try:
                done = await lane.ask(text, timeout_s)
                self.lost = False
                self._trouble.over()
                return done
            except SiteError as error:
                if not error.transient or self._now() - since > self._give_up_s or await self._gone():
                    self._give_up(error)
                    return None
                self._trouble.tell(
                    error,
                    f"{self.location}: {error}; {len(self._out)} jobs out; trying again for {self._give_up_s:.0f} s",
                )
                self._look_at_all = True
                await asyncio.sleep(delay)
                delay = min(2 * delay, 30)

    def _give_up(self, error: SiteError) -> None:
        self.lost = True
        for job in self._out:
            self.kill(job)  # they will be tried elsewhere
        for out in self._out.values():
            self._fail(out, Unreachable(f"{self.location}: given up: {error}", transient=True))

    def _fail(self, out: Out, error: SiteError) -> None:
        if not out.done.done():
            out.done.set_exception(error)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _unsent(out: Out) -> bool:
    return out.tracked is None and not out.done.done()

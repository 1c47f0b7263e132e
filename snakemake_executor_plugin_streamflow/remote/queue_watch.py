"""What is made of what queues say: exit files, states and their absence in, ends of jobs out. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass

from ..connect.queue import Seen, State
from ..errors import JobInterrupted, JobLost, SiteError, SubmitError, quote_tail
from .job import OVER, JobEnd

SAY_S = 3.0
"""How long the queue may take to say why a job failed; it matters where something else ended the job."""
SIGNALLED_S = 15.0
"""The same, when a signal did."""
FILE_S = 20.0
"""How long an exit file may take to be seen after the queue has called the job ended."""
VISIBLE_S = 30.0
"""How long a job may be missing in the queue: it may have come in just now, or have left."""
KILLED = 128 + 9
_UNKNOWN = Seen(State.UNKNOWN)

_INTERRUPTED = {State.PREEMPTED: "was preempted", State.NODE_FAILED: "lost its node"}
_REASONS = {
    State.TIMED_OUT: OVER,
    State.OUT_OF_MEMORY: "it used more memory than it had asked for",
    State.CANCELLED: "it was cancelled in the queue",
}


@dataclass(slots=True)
class Tracked:
    """What is known of one job in the queue.

    Attributes:
        id: in the queue.
        since: when it was submitted, or last seen in the queue.
        end: what its exit file says, since `ended_at`.
        seen: the queue's last word, final since `final_at`.
        requeued: the queue put it back after it had run, or started it again; it does not run twice.
        missing: the last status call did not list it.
        said: what the queue itself printed for the job.
    """

    id: str
    since: float
    end: JobEnd | None = None
    ended_at: float = 0.0
    seen: Seen = _UNKNOWN
    final_at: float | None = None
    requeued: bool = False
    missing: bool = False
    said: str = ""

    def found_end(self, end: JobEnd, now: float) -> None:
        """Note the exit file."""
        if self.end is None:
            self.end, self.ended_at = end, now

    def hear(self, seen: Seen | None, now: float) -> None:
        """Note what the queue says; None: it does not know the job."""
        self.missing = seen is None
        if seen is None:
            return
        self.since = now
        self.requeued |= self.seen.state is State.RUNNING and seen.state is State.PENDING
        self.seen = seen
        if not seen.state.final:
            self.final_at = None
        elif self.final_at is None:
            self.final_at = now

    @property
    def undecided(self) -> bool:
        """Whether the queue is to be asked: nothing is final, and there is no exit file that says that all is well."""
        return self.final_at is None and (self.end is None or self.end.code != 0)

    @property
    def doubtful(self) -> bool:
        """Whether its exit file is to be looked for: the queue says that it has ended, or does not know it."""
        return self.end is None and (self.final_at is not None or self.missing)

    def verdict(self, now: float) -> JobEnd | SiteError | None:
        """Return how the job ended; None as long as that is not known."""
        if self.end is not None:
            return self._with_exit_file(self.end, now)
        if self.requeued:
            return JobInterrupted(f"job {self.id} was put back into the queue after it had been started")
        if self.final_at is not None:
            return self._without_exit_file(now - self.final_at)
        if self.missing and now - self.since > VISIBLE_S:
            return JobLost(f"the queue knows no job {self.id}, and it left no exit file")
        return None

    def _with_exit_file(self, end: JobEnd, now: float) -> JobEnd | SiteError | None:
        if end.code == 0 or end.over:
            return end
        if self.requeued and end.code > 128:
            return JobInterrupted(f"job {self.id} was killed and put back into the queue")
        if self.final_at is None:
            patience = SIGNALLED_S if end.code > 128 else SAY_S
            return end if now - self.ended_at > patience else None
        return self._interrupted() or JobEnd(end.code, end.outputs, self._reason(), self._over)

    def _without_exit_file(self, waited_s: float) -> JobEnd | SiteError | None:
        if interrupted := self._interrupted():
            return interrupted
        if self.seen.state is State.REFUSED:
            return SubmitError(f"the queue will not run job {self.id} ({self.seen.words})")
        if reason := self._reason():
            return JobEnd(KILLED, (), reason, self._over) if waited_s > SAY_S else None
        if waited_s > FILE_S:
            return JobLost(
                f"job {self.id} ended ({self.seen.words}) and left no exit file\n{quote_tail(self.said)}".strip()
            )
        return None

    def _interrupted(self) -> JobInterrupted | None:
        how = _INTERRUPTED.get(self.seen.state)
        return JobInterrupted(f"job {self.id} {how} ({self.seen.words})") if how else None

    @property
    def _over(self) -> bool:
        return self.seen.state is State.TIMED_OUT

    def _reason(self) -> str:
        reason = _REASONS.get(self.seen.state)
        return f"{reason} ({self.seen.words})" if reason else ""

"""What the journal keeps of runs, deployments, tasks and transfers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How far a task is. `SUBMITTED` to `ENDED` follow each other; any of them may be followed by a final state.

    A task is `RUNNING` from just before its start is sent to the location: from then on it may run there.
    """

    SUBMITTED = "submitted"
    STAGING = "staging"
    RUNNING = "running"
    ENDED = "ended"
    """The command has ended; its outputs are at the location and not accounted for."""
    ACCOUNTED = "accounted"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether no other state follows."""
        return self in (State.ACCOUNTED, State.FAILED, State.CANCELLED, State.LOST)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of Snakemake. Times are seconds since 1970; `ended` is None while it goes on, and after a crash."""

    id: str
    started: float
    ended: float | None
    pid: int
    host: str


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """A deployment that a run brought up, or was about to, and has not taken down.

    Attributes:
        type: of the connector.
        what: the connector's own words for what it made (a label, a name), for people; never a secret. The connector
            itself finds it again by `run` and `name`.
        since: seconds since 1970.
    """

    name: str
    run: str
    type: str
    what: str
    since: float


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One attempt of one task.

    Attributes:
        id: of the attempt; names its job directory.
        job: the identity that Snakemake was told; all attempts of a task share it.
        location, directory: where it was sent, and its job directory there; "" before.
        outputs: canonical paths, in the order in which the job directory's `exit` lists them.
        state, changed: the last state, and when it was reached, in seconds since 1970.
        detail: of a failure: what the user was told; of what is accounted: a mark of the commands.
    """

    id: str
    run: str
    job: str
    rule: str
    location: str
    directory: str
    outputs: tuple[str, ...]
    state: State
    changed: float
    detail: str


@dataclass(frozen=True, slots=True)
class Observed:
    """How long one transfer between two filesystems took."""

    source: str
    target: str
    size_b: int
    seconds: float

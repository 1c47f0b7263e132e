"""Queues: how a batch system is spoken to. One small file per system fills in the functions below; they do no I/O.

How the pieces meet:

* A queue deployment goes through an inner location: a login host (`wraps`), a container, or this machine. Each of its
  services (a partition, a profile) is a location of many slots, whose files are those of the inner location.
* A job has the same job directory as anywhere (`remote/job.py`). Its script is written there through the inner location
  and submitted instead of started: many in one request (`remote/queue_text.py`, `remote/queue_session.py`). What the
  queue runs is `start`, which runs `script` and at last puts the job's name into a mailbox that all jobs share.
* The file `exit` decides how a job ended. The mailbox is looked at a few times per second, which costs one directory
  listing for all jobs. One batched status call per interval tells of states: it finds jobs that left no exit file, and
  says why (`remote/queue_watch.py`): preemption and node failure are `JobInterrupted`, which is tried again and is no
  failure of the rule; a time-out, too much memory or a cancelled job is the job's own failure.
* A job is never run twice: the first queue job that makes the link `owner` in the job directory runs it; any other, and
  the same one when the queue starts it again, ends at once.
* With `pack`, a service holds one allocation, and each of its nodes is an ordinary location (`connect/queue_pack.py`).
"""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What a queue says of a job. `ENDED` is any end that the exit file explains; `REFUSED` jobs will never run."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    NODE_FAILED = "node failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self not in (State.PENDING, State.RUNNING, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of one job, and the queue's own words for it."""

    state: State
    words: str = ""


@dataclass(frozen=True, slots=True)
class Wants:
    """What a rule asks of a queue, by Snakemake's resources; None or "" is not asked for."""

    threads: int = 1
    mem_mb: int | None = None
    mem_mb_per_cpu: int | None = None
    disk_mb: int | None = None
    runtime_min: int | None = None
    nodes: int | None = None
    tasks: int | None = None
    tasks_per_node: int | None = None
    gpus: int | None = None
    gpu_model: str = ""
    cpus_per_gpu: int | None = None
    tasks_per_gpu: int | None = None
    gres: str = ""
    clusters: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    extra: str = ""

    @classmethod
    def of(cls, resources: Mapping[str, int | str], system: str) -> Wants:
        """Read a rule's resources. A name may be prefixed with the queue system's: `slurm_partition`.

        Raises:
            ValueError: one that is to be a number is none.
        """
        values: dict[str, Any] = {}
        for name, known_as in _RESOURCES.items():
            for key in (one for plain in known_as for one in (f"{system}_{plain}", plain)):
                if key in resources:
                    values[name] = resources[key]
                    break
        for known in fields(cls):
            if known.name in values:
                value, number = values[known.name], known.name == "threads" or known.default is None
                try:
                    values[known.name] = int(value) if number else str(value)
                except ValueError:
                    asked = " or ".join(_RESOURCES[known.name])
                    raise ValueError(f"the resource {asked} is no number for a {system} queue: {value!r}") from None
        values["threads"] = max(1, values.get("threads", 1))  # below 1: the slurm executor plugin's way to ask for none
        return cls(**values)


_RESOURCES: dict[str, tuple[str, ...]] = {
    "threads": ("cpus_per_task", "threads"),
    "mem_mb": ("mem_mb",),
    "mem_mb_per_cpu": ("mem_mb_per_cpu",),
    "disk_mb": ("disk_mb",),
    "runtime_min": ("runtime",),
    "nodes": ("nodes",),
    "tasks": ("tasks", "ntasks", "mpi_tasks"),
    "tasks_per_node": ("tasks_per_node", "ntasks_per_node"),
    "gpus": ("gpus", "gpu", "nvidia_gpu"),
    "gpu_model": ("gpu_model",),
    "cpus_per_gpu": ("cpus_per_gpu",),
    "tasks_per_gpu": ("tasks_per_gpu",),
    "gres": ("gres",),
    "clusters": ("cluster", "clusters"),
    "partition": ("partition", "queue"),
    "account": ("account", "project"),
    "qos": ("qos",),
    "constraint": ("constraint",),
    "reservation": ("reservation",),
    "extra": ("extra",),
}
"""Field of `Wants` -> names of the resource; the first that is there counts."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One job to submit.

    Attributes:
        name: for people; [A-Za-z0-9_.-]+.
        file: the batch script; `output`: where the queue writes what it has to say itself.
        workdir: all three are absolute paths at the inner location.
        wants: what the rule asks for; stronger than `service`, the options of the service.
    """

    name: str
    file: str
    output: str
    workdir: str
    wants: Wants
    service: Any = None


_EXPLAINED = {
    State.TIMED_OUT: r"DUE TO TIME LIMIT|walltime \S+ exceeded limit|TERM_RUNLIMIT|time limit exceeded",
    State.OUT_OF_MEMORY: r"oom.kill event|exceeded memory limit|mem \S+ exceeded limit|TERM_MEMLIMIT|out of memory",
    State.PREEMPTED: r"DUE TO PREEMPTION|TERM_PREEMPT",
    State.NODE_FAILED: r"DUE TO NODE FAILURE",
}


class Queue(ABC):
    """One batch system. Commands are run by `sh` in the working directory at the inner location.

    Attributes:
        name: of the system, as the deployment type says it.
        own_id: a shell word that is the job's id inside of the job.
        hosts: shell text that prints the nodes of the job it runs in, one per line.
        own_session: whether the queue finds processes of a job that have left its process group and session.
        at_once: how many jobs one status or cancel command may name.
        prelude: shell text before the submit commands of one request.
    """

    name: str
    own_id: str
    hosts: str = "hostname"
    own_session: bool = False
    at_once: int = 200
    prelude: str = ""

    @abstractmethod
    def submit(self, job: Submission) -> str:
        """Return the command that submits a job. It must not wait for the job."""

    @abstractmethod
    def submitted(self, said: str) -> str:
        """Return the job's id from what the submit command printed. Raises ValueError: it is not there."""

    @abstractmethod
    def status(self, ids: Sequence[str]) -> str:
        """Return one command that tells of many jobs."""

    @abstractmethod
    def states(self, said: str) -> dict[str, Seen]:
        """Read what the status command printed: `{id: state}` of the jobs that it knows."""

    def history(self, ids: Sequence[str]) -> str | None:
        """Return a command that tells of jobs that `status` no longer knows; None when there is none."""
        return None

    def past(self, said: str) -> dict[str, Seen]:
        """Read what the `history` command printed."""
        return self.states(said)

    @abstractmethod
    def cancel(self, ids: Sequence[str]) -> str:
        """Return the command that ends jobs, whatever their state."""

    def knows_none(self, said: str) -> bool:
        """Tell whether a failed status or cancel command only says that it does not know these jobs (any more)."""
        return False

    def explained(self, said: str) -> State | None:
        """Tell why a job ended from what the queue printed into its output; None when that does not say."""
        return next((state for state, pattern in _EXPLAINED.items() if re.search(pattern, said)), None)

    def may_pass(self, said: str) -> bool:
        """Tell whether a failed submit command may do well later: the queue is busy, full or away."""
        return bool(
            re.search(r"timed? ?out|unable to contact|connection (refused|reset)|temporar|try again", said, re.I)
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """How jobs of one location are queued: the system, and what the service's options say.

    Attributes:
        deployment: its name; tells queue jobs of several deployments in one folder apart.
        template: text of a batch script with `{{streamflow_command}}`; "" for a plain one.
        longest_s: the longest interval between two status calls.
    """

    queue: Queue
    deployment: str
    service: Any = None
    template: str = ""
    longest_s: float = 5.0


Value = str | int | tuple[str, ...] | None
"""Of an option of a command: "" is a bare flag, None leaves it out, each of several values gets the flag."""


def command(program: str, options: Iterable[tuple[str, Value]]) -> str:
    """Return a command line: `--mem=5` of ("--mem", 5), `-q x` of ("-q", "x")."""
    words = [program]
    for flag, value in options:
        for one in value if isinstance(value, tuple) else () if value is None else (value,):
            text = shlex.quote(str(one)) if one != "" else ""
            words += [f"{flag}={text}"] if flag.startswith("--") and text else [word for word in (flag, text) if word]
    return " ".join(words)


def added(job: Submission) -> str:
    """Return what the service and the rule add to the submit command as it is, with a blank before each."""
    return "".join(f" {text}" for text in (getattr(job.service, "extra", None), job.wants.extra) if text)


def clock(minutes: int) -> str:
    """Return minutes as H:MM:SS."""
    return f"{minutes // 60}:{minutes % 60:02}:00"


def service_options(service: Any) -> dict[str, Value]:
    """Return the options of a service that are given, by flag (`--cpus-per-task`): true is a bare flag, "".

    Fields carry their flag in the metadata where it is not their own name; None: it is not passed on like this.
    """
    found: dict[str, Value] = {}
    for known in fields(service) if service is not None else ():
        value, flag = getattr(service, known.name), known.metadata.get("flag", f"--{known.name.replace('_', '-')}")
        if flag is None or value is None or value is False or value == "false":
            continue
        if isinstance(value, Mapping):
            value = tuple(f"{name}={one}" for name, one in value.items())
        found[flag] = "" if value is True or value == "true" else value if isinstance(value, tuple) else str(value)
    return found

"""What the engine needs to know of a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..model import Request
from ..remote.job import Command

MapPath = Callable[[str], str]
"""Path of a file at a location, from its path at the controller."""


@dataclass(frozen=True, slots=True)
class Ensure:
    """What `ensure()` asks of an output: not empty, and a checksum (`digest` of `algorithm`), when they are given."""

    non_empty: bool = False
    algorithm: str | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """A file or directory that a job makes.

    Attributes:
        update: kept, and sent along, because the job changes it.
        touch: made when the job did not make it.
        home: it must be at the controller when the job is reported.
        log: fetched also when the job fails; may be missing.
        passing: removed by the group that made it; it may be missing.
        temp: Snakemake removes it when no job needs it any more.
        target: brought home after the job was reported.
        protected, ensure: what Snakemake does with it afterwards, when that has to happen at the location.
        deliver: what brings it to where else it must be, once it is made; blocks.
    """

    path: str
    directory: bool = False
    update: bool = False
    touch: bool = False
    home: bool = True
    log: bool = False
    passing: bool = False
    temp: bool = False
    target: bool = False
    protected: bool = False
    ensure: Ensure | None = None
    deliver: Callable[[], None] | None = None

    @property
    def may_be_missing(self) -> bool:
        """Whether a job that did not make it has not failed."""
        return self.touch or self.log or self.passing


@dataclass(frozen=True, slots=True)
class Member:
    """One job of a task: `render(path_of, tmpdir)` gives its command there, or None when it has none.

    `removes` are files that no later member needs.
    """

    name: str
    render: Callable[[MapPath, str], Command | None]
    outputs: tuple[Output, ...]
    threads: int = 1
    tmpdir: str | None = None
    removes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One Snakemake job, or group of jobs that run one after another at one location.

    Attributes:
        id: unique for this attempt of this job in this run; [A-Za-z0-9_.-]+.
        name: rule, or group and rules, for messages.
        group: the name of the group, when it is one, or one of its jobs that runs alone, to make again what was lost.
        inputs: files and directories that must be there, without those that members make; paths as Snakemake has them.
        env: `envvars:`, never written to a file.
        nested: it needs a Snakemake of its own at its location.
        sources: what that reads besides the inputs; files and directories.
        resources: what its rules ask for by Snakemake's names, without Snakemake's own guesses.
        again: it makes anew what was lost, for others: Snakemake knows nothing of it.
        floating: its outputs stay where they are made, and all that Snakemake does with outputs is done there.
        effects: folders in which what it makes counts beyond its outputs: "." when it declares none, or when they name
            files for others (checkpoints), and that of copies of scripts when these are kept.
    """

    id: str
    name: str
    rule: str
    group: str | None
    request: Request
    inputs: tuple[str, ...]
    members: tuple[Member, ...]
    env: Mapping[str, str]
    nested: bool = False
    sources: tuple[str, ...] = ()
    resources: Mapping[str, int | str] = field(default_factory=dict)
    floating: bool = False
    again: bool = False
    effects: tuple[str, ...] = ()

    def outputs(self) -> tuple[Output, ...]:
        """All that its members make."""
        return tuple(output for member in self.members for output in member.outputs)

"""What the engine needs to know of a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..model import Request
from ..remote.job import Command

MapPath = Callable[[str], str]
"""Path of a file at a location, from its path at the controller."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file or directory that a job makes.

    Attributes:
        update: kept, and sent along, because the job changes it.
        touch: Snakemake itself makes it; it may be missing.
        home: it must be at the controller afterwards.
        log: fetched also when the job fails; may be missing.
    """

    path: str
    directory: bool = False
    update: bool = False
    touch: bool = False
    home: bool = True
    log: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One job of a task: `render(path_of, tmpdir)` gives its command there, or None when it has none."""

    name: str
    render: Callable[[MapPath, str], Command | None]
    outputs: tuple[Output, ...]
    threads: int = 1
    tmpdir: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One Snakemake job, or group of jobs that run one after another at one location.

    Attributes:
        id: unique for this attempt of this job in this run; [A-Za-z0-9_.-]+.
        name: rule, or group and rules, for messages.
        group: the group's name, when the task is a group.
        inputs: files and directories that must be there, without those that members make; paths as Snakemake has them.
        env: `envvars:`, never written to a file.
        nested: it needs a Snakemake of its own at its location.
        sources: what that reads besides the inputs; files and directories.
        resources: what its rules ask for by Snakemake's names, without Snakemake's own guesses.
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

    def outputs(self) -> tuple[Output, ...]:
        """All that its members make."""
        return tuple(output for member in self.members for output in member.outputs)

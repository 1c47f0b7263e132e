"""Every exception of the plugin.

StreamFlowError
├── ConfigError        the companion file, or what it asks for, is wrong
└── SiteError          something outside of us failed; knows whether it is `transient`
    ├── DeployError    a deployment could not be brought up or taken down
    │   └── Gone       what a run brought up is no more
    ├── Unreachable    a location does not answer
    ├── TransferError  bytes did not arrive
    │   ├── NoSpace    a filesystem is full
    │   ├── Unsendable an item is not fit to travel; no location is to blame
    │   ├── Differs    a file is not the one that was recorded
    │   └── DataLost   nobody has a file any more
    ├── SubmitError    a queue did not take a job
    ├── JobInterrupted the place where a job ran was taken away from it
    ├── JobLost        a job started, and nobody can say how it ended
    ├── JobFailed      the user's command failed
    │   └── JobTimeout it ran for longer than it may
    └── CapacityError  no location can ever satisfy a request
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path


class StreamFlowError(Exception):
    """Base of all errors that the plugin raises on purpose."""


class ConfigError(StreamFlowError):
    """One or more mistakes in the companion file; each line is `file:line:column: path: what was expected`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class SiteError(StreamFlowError):
    """A failure outside of the plugin.

    Attributes:
        transient: a retry, here or elsewhere, can help.
    """

    transient = False

    def __init__(self, message: str, *, transient: bool | None = None) -> None:
        super().__init__(message)
        if transient is not None:
            self.transient = transient


class DeployError(SiteError):
    """A deployment could not be brought up or taken down; the message quotes the tool's own words."""


class Gone(DeployError):
    """What an earlier run brought up, or used, is no more: neither are the files that were there only."""


class Unreachable(SiteError):
    """A location did not answer, or a connection to it broke."""

    transient = True


class TransferError(SiteError):
    """A file could not be read, written or verified. Nothing is left under the final name."""


class NoSpace(TransferError):
    """A filesystem has no room, or its quota is used up.

    Attributes:
        store: the name of the location, or `controller`.
    """

    def __init__(self, store: str, what: str, needed_b: int, free_b: int | None, said: str) -> None:
        room = "" if free_b is None else f", {free_b / 1e6:.1f} MB are free"
        super().__init__(f"{store}: cannot write {what} ({needed_b / 1e6:.1f} MB{room}): {said}")
        self.store = store


class Unsendable(TransferError):
    """A file or directory is not fit to travel: a pipe in it, a link that leads out, no right to read it."""


class Differs(TransferError):
    """What was read of an item is not what was recorded of it; `source` is the item's path where it was read."""

    def __init__(self, message: str, source: str) -> None:
        super().__init__(message)
        self.source = source


class SubmitError(SiteError):
    """A queue did not take a job; the message quotes the tool's own words. The job did not run."""


class JobInterrupted(SiteError):
    """A queue ended a job for reasons of its own: it was preempted, or its node failed."""

    transient = True


class DataLost(TransferError):
    """No usable replica of some files is left; `paths` are their canonical paths."""

    def __init__(self, message: str, *paths: str) -> None:
        super().__init__(message)
        self.paths = paths


class JobLost(SiteError):
    """A job was started, and neither it nor its exit code can be found again."""

    transient = True


class JobFailed(SiteError):
    """The user's command ended with a code other than 0.

    Attributes:
        code: 1-255; 128+n after signal n.
        stderr: the last lines that the command printed.
        directory: where the whole of it is, as `LOCATION:PATH`; None when nothing was kept.
    """

    def __init__(self, message: str, *, code: int, stderr: str = "", directory: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.stderr = stderr
        self.directory = directory

    @property
    def ended(self) -> bool:
        """Whether it was ended as a run that stops ends its jobs."""
        return self.code in (128 + signal.SIGTERM, 128 + signal.SIGKILL)


class JobTimeout(JobFailed):
    """The user's command was ended, with all its processes, because it ran for longer than its `runtime` allows."""

    ended = False


class CapacityError(SiteError):
    """A request that no location of any target can ever satisfy."""


def quote_tail(text: str | bytes, *, lines: int = 15) -> str:
    """Return the last lines of a tool's output, indented, for use in an error message."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return "\n".join("    " + line for line in text.rstrip().splitlines()[-lines:])


def at(file: Path, line: int, column: int, path: str, message: str) -> str:
    """Format one problem of a companion file. Line and column count from 1."""
    return f"{file}:{line}:{column}: {path}: {message}"

"""The workflow that a command is about: its journal, its companion file, its runs."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import StreamFlowError
from ..journal import Journal, RunRecord
from ..journal.alive import is_alive
from ..model import is_address
from ..plan import Ledger

if TYPE_CHECKING:
    from ..model import Companion


class Workflow:
    """A working directory in which runs were made.

    Raises:
        StreamFlowError: there was none; the message says what to do.
    """

    def __init__(self, given: Namespace) -> None:
        self.here: Path = given.directory.resolve()
        self._file: str | None = given.file
        self.snakemake = self.here / ".snakemake"
        if not self.here.is_dir():
            raise StreamFlowError(f"There is no folder {self.here}.")
        self.journal = Journal(self.snakemake / "streamflow" / "journal.db", existing=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.journal.close()

    def companion(self) -> Companion:
        """Read the companion file.

        Raises:
            ConfigError: there is none, or it has mistakes.
        """
        from ..config import find_companion, read_companion

        path = find_companion(self._file, self.here / "workflow" / "Snakefile", self.here)
        return read_companion(path, os.environ)

    def alive(self, run: RunRecord) -> bool:
        """Whether a run goes on."""
        return is_alive(run, self.snakemake)

    def dead(self) -> list[RunRecord]:
        """Runs that did not come to their end and do not go on."""
        return [run for run in self.journal.runs() if run.ended is None and not self.alive(run)]

    def must_rest(self) -> None:
        """Refuse to change anything under a run that goes on.

        Raises:
            StreamFlowError: names the run, its host and process.
        """
        for run in self.journal.runs():
            if self.alive(run):
                here = run.host == os.uname().nodename
                advice = (
                    f"Wait for it, or end it (kill -INT {run.pid})."
                    if here
                    else f"Is it dead? Then `snakemake --unlock` in {self.here} says so."
                )
                raise StreamFlowError(
                    f"Run {run.id} is going on: process {run.pid} on {run.host}. Nothing was changed. {advice}"
                )

    def ledger(self) -> Ledger:
        """What exists where, as the journal has it."""
        return Ledger(self.journal.replicas())

    def canonical(self, path: str) -> str:
        """The journal's name of a path: relative to the working directory, absolute outside of it, or an address."""
        if is_address(path):
            return path
        inside = os.path.relpath(self.here / path, self.here)
        return os.path.normpath(self.here / path) if inside.split("/")[0] == ".." else inside

    def select(self, ledger: Ledger, wanted: Iterable[str], known: Sequence[str]) -> list[str]:
        """Return the known paths that are meant by paths, folders and patterns, without repeats.

        Addresses are not meant by patterns: what lies there may be anybody's.

        Raises:
            StreamFlowError: one means nothing; with the nearest known names.
        """
        chosen: dict[str, None] = {}
        for text in wanted:
            path = self.canonical(text)
            if ledger.version(path) is not None:
                chosen[path] = None
                continue
            below = f"{path.rstrip('/')}/"
            pattern = path if set(text) & set("*?[") else None
            own = (p for p in known if not is_address(p))
            found = [p for p in own if path == "." or p.startswith(below) or (pattern and fnmatchcase(p, pattern))]
            if not found:
                raise StreamFlowError(f"{text} is not in the journal of {self.here}{_nearest(path, known)}")
            chosen |= dict.fromkeys(found)
        return list(chosen)


def _nearest(path: str, known: Sequence[str]) -> str:
    """The end of a message: names that may be meant. Those of the same file name or folder first: there may be many."""
    from ..config.nearest import did_you_mean

    name, folder = PurePosixPath(path).name, str(PurePosixPath(path).parent)
    same = [p for p in known if PurePosixPath(p).name == name][:5]
    if same:
        return f"; there is {', '.join(same)}"
    beside = [p for p in known if str(PurePosixPath(p).parent) == folder][:2000]
    hint = did_you_mean(path, beside or known[:2000]) if known else "; it is empty"
    return hint if len(hint) < 500 else f"; `data ls` lists the {len(known)} paths that are"

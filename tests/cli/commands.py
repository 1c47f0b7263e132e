"""Call the command as a user does."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_streamflow.journal import Journal


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    text: str
    errors: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)


def cli(work: Path, *args: str, code: int | None = 0, answer: str | None = None, cwd: Path | None = None) -> Said:
    """Run `snakemake-streamflow` for a working directory. `code` is the exit code expected."""
    command = [sys.executable, "-m", "snakemake_executor_plugin_streamflow.cli", "--directory", str(work), *args]
    done = subprocess.run(command, capture_output=True, text=True, input=answer or "", timeout=60, cwd=cwd)
    said = Said(done.returncode, done.stdout, done.stderr)
    assert code is None or said.code == code, said
    assert "Traceback" not in said.errors, said.errors
    return said


def journal_of(work: Path) -> Journal:
    """Open the journal of a working directory, and make it when there is none."""
    return Journal(work / ".snakemake" / "streamflow" / "journal.db")

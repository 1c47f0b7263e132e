"""The options of the executor.

No `from __future__ import annotations` and no `X | None` here: Snakemake reads the field types when it builds its CLI.
"""

import os
from dataclasses import dataclass, field
from typing import Optional

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

STARTED_WITH = frozenset(os.environ)
"""The variables that there were before Snakemake read the Snakefile: it imports this module first."""


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    file: Optional[str] = field(
        default=None,
        metadata={
            "help": "The companion file that maps rules to deployments "
            "(default: streamflow.yml in the working directory, beside the Snakefile, or above its folder "
            "when that is called workflow).",
        },
    )
    keep_deployments: bool = field(
        default=False,
        metadata={"help": "Leave deployments up at the end of the run."},
    )
    leave_targets: bool = field(
        default=False,
        metadata={"help": "With floating files: leave final targets where they were made."},
    )
    transfer_limit: int = field(
        default=4,
        metadata={"help": "Large transfers that run at once to or from one location (default: 4)."},
    )

    def __post_init__(self) -> None:
        from .unaccepted import ask_for_their_jobs

        ask_for_their_jobs()

"""Snakemake executor plugin: run an unchanged Snakefile across several execution environments at once.

Every snakemake process imports this module, nested ones too: it imports the standard library and the interfaces only.
No `from __future__ import annotations` and no `X | None` here: Snakemake reads the field types when it builds its CLI.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

if TYPE_CHECKING:
    from .executor import Executor

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    can_transfer_local_files=True,
)


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    file: Optional[str] = field(
        default=None,
        metadata={
            "help": "The companion file that maps rules to deployments "
            "(default: streamflow.yml beside the Snakefile or in the working directory).",
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
        metadata={"help": "Large transfers that run at once to or from one location."},
    )


def __getattr__(name: str) -> Any:
    # Executor is imported on first use: it brings asyncio and the rooms with it.
    if name == "Executor":
        from .executor import Executor

        return Executor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

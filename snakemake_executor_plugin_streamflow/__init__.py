"""Snakemake executor plugin: run an unchanged Snakefile across several execution environments at once.

Every snakemake process imports this module, nested ones too: it imports the standard library and the interfaces only.
"""

from typing import TYPE_CHECKING, Any

from snakemake_interface_executor_plugins.settings import CommonSettings

from .settings import ExecutorSettings

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


def __getattr__(name: str) -> Any:
    # Executor is imported on first use: it brings asyncio and the rooms with it.
    if name == "Executor":
        from .executor import Executor

        return Executor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The engine of this process, as the storage plugin makes it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_streamflow.config import find_companion, read_companion
from snakemake_executor_plugin_streamflow.connect.base import Log
from snakemake_executor_plugin_streamflow.engine import Engine, engine_of
from snakemake_executor_plugin_streamflow.errors import ConfigError

# What is loaded by now stays. So the garbage collector need not go through it again and again while Snakemake makes its
# jobs, which costs more than all that is asked of us meanwhile.
gc.freeze()


def engine(file: str | None, log: Log) -> Engine:
    """Return the engine that all who ask in this process share.

    Raises:
        WorkflowError: there is no companion file, or it has mistakes.
    """
    here = Path.cwd()
    try:
        path = find_companion(file, here / "workflow" / "Snakefile", here)
        return engine_of(here, path, lambda: Engine(read_companion(path, os.environ), here, log=log))
    except ConfigError as error:
        hint = "" if file else "\nFor files at sites it can be named with --storage-streamflow-file."
        raise WorkflowError(f"{error}{hint}") from None

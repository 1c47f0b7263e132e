"""Run by a location's Python: starts Snakemake with the sources that came along. Imports Snakemake and stdlib only."""

import os
import pathlib
import sys


def start() -> None:
    """Run one nested Snakemake with the arguments of this process."""
    from snakemake import cli, workflow

    if cache := os.environ.pop("STREAMFLOW_SOURCE_CACHE", None):
        workflow.Workflow.source_cache_path = property(lambda self: pathlib.Path(cache))  # else it is a fresh folder
    sys.argv[0] = "snakemake"
    cli.main(sys.argv[1:])


if __name__ == "__main__":
    start()

"""Run by a location's Python: starts Snakemake with the sources that came along. Imports Snakemake and stdlib only."""

import logging
import os
import pathlib
import sys

_HOLLOW = ("Shutting down, this", "Exiting because a job", "Storing output in storage", "Elapsed time", "Complete log")


def start() -> None:
    """Run one nested Snakemake with the arguments of this process."""
    from snakemake import cli, workflow

    if cache := os.environ.pop("STREAMFLOW_SOURCE_CACHE", None):
        workflow.Workflow.source_cache_path = property(lambda self: pathlib.Path(cache))  # else it is a fresh folder
    # What says nothing of the job would push what does out of the last lines that a user gets to see.
    logging.getLogger("snakemake.logging").addFilter(lambda record: not record.getMessage().startswith(_HOLLOW))
    sys.argv[0] = "snakemake"
    cli.main(sys.argv[1:])


if __name__ == "__main__":
    start()

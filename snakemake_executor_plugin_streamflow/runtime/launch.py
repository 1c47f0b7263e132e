"""Run by a location's Python: starts Snakemake with the sources that came along. Imports Snakemake and stdlib only."""

import logging
import os
import pathlib
import sys

# What says nothing of the job would push what does out of the last lines that a user gets to see.
_HOLLOW = (
    *("Building DAG", "Using shell", "Select jobs", "Execute ", "Storing output in storage", "Elapsed time"),
    *("Shutting down, this", "Exiting because a job", "Complete log", "At least one job did not complete"),
)


def tell(record: logging.LogRecord) -> bool:
    """Say which rule failed, which Snakemake does not with the quietness that hides all else; let other errors pass."""
    rule = getattr(record, "rule_name", None)
    if rule is not None and record.levelno >= logging.ERROR:
        print(f"Error in rule {rule}.", file=sys.stderr, flush=True)
    return not record.getMessage().removeprefix("WorkflowError:\n").startswith(_HOLLOW)


def start() -> None:
    """Run one nested Snakemake with the arguments of this process."""
    from snakemake import cli, workflow

    if cache := os.environ.pop("STREAMFLOW_SOURCE_CACHE", None):
        workflow.Workflow.source_cache_path = property(lambda self: pathlib.Path(cache))  # else it is a fresh folder
    logging.getLogger("snakemake.logging").addFilter(tell)
    sys.argv[0] = "snakemake"
    cli.main(sys.argv[1:])


if __name__ == "__main__":
    start()

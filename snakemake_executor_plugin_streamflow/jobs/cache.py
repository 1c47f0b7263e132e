"""Snakemake's cache between workflows (`cache:`): looked into, and filled, at the controller."""

from __future__ import annotations

from typing import Any


def uses_cache(job: Any) -> bool:
    """Whether the outputs of a job are to be kept in the cache. Members of groups are not: they run in any case."""
    wanted = job.dag.workflow.workflow_settings.cache is not None
    return wanted and not job.is_group() and bool(job.rule.cache and job.rule.cache.output)


def why_not_floating(workflow: Any) -> str | None:
    """Return why a workflow whose files stay at sites cannot use the cache; None when it does not want to."""
    if workflow.workflow_settings.cache is None:
        return None
    return (
        "Snakemake's cache keeps files that are in the working directory; with "
        "`--default-storage-provider streamflow` they stay where they are made. Leave out `--cache`, or that option."
    )


async def fetch(job: Any) -> bool:
    """Put the outputs of a prepared job in place from the cache; return whether they were there."""
    from snakemake.exceptions import CacheMissException

    try:
        await job.rule.cache.fetch(job)
    except CacheMissException:
        return False
    return True


async def store(job: Any) -> None:
    """Move the outputs of a job that has run into the cache; links to them stay."""
    await job.rule.cache.store(job)

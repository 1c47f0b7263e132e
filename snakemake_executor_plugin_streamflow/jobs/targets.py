"""Final targets: the files that the user has asked for."""

from __future__ import annotations

from typing import Any


def is_target(job: Any, f: Any) -> bool:
    """Whether an output of a job is one: named, read by a target rule without outputs, or made by a target rule."""
    return f in job.dag.targetfiles or f in job.dag.derived_targetfiles or _is_asked_for(job)


def targets(dag: Any) -> set[Any]:
    """Return all of them."""
    made = (f for job in [*dag.targetjobs] if _is_asked_for(job) for f in job.output)
    return {*dag.targetfiles, *dag.derived_targetfiles, *made}


def _is_asked_for(job: Any) -> bool:
    """Whether a job is a target itself, and not only the maker of a file that is one.

    Snakemake makes targets of rules that are forced or preferred, too; what those make is nothing special.
    """
    dag = job.dag
    if job not in dag.targetjobs or not dag.targetfiles.isdisjoint(job.output):
        return False
    settings = dag.workflow.dag_settings
    asked = settings.targets or {dag.workflow.default_target}
    return job.rule.name in asked or not (job.rule in dag.forcerules or job.rule in dag.priorityrules)

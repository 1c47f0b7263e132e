"""What is checked before anything is started: options, the companion file, and whether jobs can run where they go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.exceptions import ApiError, WorkflowError

if TYPE_CHECKING:
    from .driver import Driver
    from .jobs import Sources
    from .model import Binding, Companion, Target


def check_options(workflow: Any, *, floating: bool) -> None:
    """Refuse what cannot work with this Snakemake, or with these options.

    Raises:
        ApiError: that is so. Snakemake shows it without a traceback.
    """
    from snakemake import __version__

    from .jobs import cache, why_too_old

    if problem := why_too_old(__version__) or (cache.why_not_floating(workflow) if floating else None):
        raise ApiError(problem)


def companion_of(workflow: Any, given: str | None) -> Companion:
    """Find and read the companion file of a workflow; `given` is what the user named.

    Raises:
        ApiError: there is none, it has mistakes, or the storage plugin reads another one.
    """
    from .config import find_companion, read_companion
    from .errors import ConfigError

    provider = workflow.storage_registry.default_storage_provider
    try:
        path = find_companion(given, Path(str(workflow.main_snakefile)), Path.cwd())
        used = getattr(getattr(provider, "engine", None), "companion", None)
        if used is not None and used.path.resolve() != path.resolve():
            raise ConfigError(
                [
                    f"the storage plugin reads {used.path}, the executor {path}: name one for both, with "
                    "--streamflow-file and --storage-streamflow-file"
                ]
            )
        return read_companion(path, os.environ)
    except ConfigError as error:
        raise ApiError(str(error)) from None


def check_rules(workflow: Any, companion: Companion, warn: Callable[[str], None]) -> None:
    """Warn of patterns that match nothing, and of devices that nobody has; refuse to start without a key file.

    Raises:
        ApiError: a file that a deployment reads cannot be read.
    """
    from .config import check_devices, check_files, check_rules

    rules = {rule.name for rule in workflow.rules}
    groups = {str(rule.group) for rule in workflow.rules if rule.group}
    wishes = {rule.name: list(map(str, rule.resources.keys())) for rule in workflow.rules}
    unmatched = check_rules(companion, rules, groups)
    for warning in unmatched + check_devices(companion, wishes):
        warn(warning)
    if unmatched:
        warn("Rules that no binding matches run on this machine.")
    if errors := check_files(companion, rules, groups):
        raise ApiError("\n".join(errors))


def check_nested(dag: Any, binding_of: Callable[[Any], Binding | None], driver: Driver, sources: Sources) -> None:
    """Refuse to start when a job needs Snakemake where it may run, and there is no Python for it.

    Raises:
        WorkflowError: that is so.
    """
    from .jobs import why_not_direct

    needs: dict[tuple[Target, ...], dict[str, None]] = {}
    for job in dag.needrun_jobs():
        if not job.is_local and why_not_direct(job) and (binding := binding_of(job)) is not None:
            needs.setdefault(binding.targets, {})[job.rule.name] = None
    if needs and (problems := driver.check_nested({t: list(rules) for t, rules in needs.items()}, sources.modules())):
        raise WorkflowError("\n".join(problems))

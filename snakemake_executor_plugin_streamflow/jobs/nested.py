"""How a job or group becomes a command that Snakemake itself runs at a location, where nothing is shared with us."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..remote.job import Command
from ..remote.quote import quote
from .software import PREPARE_MODULES, asked
from .task import MapPath

PYTHON, LAUNCHER, PROGRAMS = "STREAMFLOW_PYTHON", "STREAMFLOW_LAUNCHER", "STREAMFLOW_PROGRAMS"
"""What a nested command finds in its environment: the interpreter, the file it runs, a folder for PATH (or nothing)."""

CACHE, RUNTIME_CACHE = "STREAMFLOW_SOURCE_CACHE", "STREAMFLOW_RUNTIME_CACHE"
"""What it sets: where Snakemake's sources from elsewhere are, the lasting ones and those of this run."""

HERE, AWAY = "STREAMFLOW_HERE", "STREAMFLOW_AWAY"
"""What it sets: the working directory there, and the one here."""

_QUIET = "--mode remote --scheduler greedy --quiet progress rules host --max-jobs-per-timespan 100/0s"
_TOKEN = "STREAMFLOW__PATH__{}__"
_TOKENS = re.compile(r"STREAMFLOW__PATH__(\d+)__")


class NestedCommands:
    """Makes commands of jobs, for locations with a Snakemake of their own. Used on Snakemake's main thread.

    Args:
        caches: the folders that hold sources from elsewhere (wrappers, modules); they are sent along.
    """

    def __init__(self, workflow: Any, caches: Sequence[str]) -> None:
        self._workflow = workflow
        self._caches = caches
        self._paths: list[str] = []
        self._general: str | None = None

    def render(self, job: Any, cores: int) -> Callable[[MapPath, str], Command]:
        """Return what gives the command of a job or group at a location."""
        start, here = self._workflow.workdir_init, os.getcwd()
        snakefile = self._token(str(self._workflow.main_snakefile))
        args = f"--snakefile {snakefile} --cores {cores} {_job_args(job)} {self._general_args()}"
        paths = tuple(self._paths)
        modules = any("ENV_MODULES" in asked(member) for member in (job.jobs if job.is_group() else (job,)))

        def render(path_of: MapPath, tmpdir: str) -> Command:
            def place(path: str) -> str:
                there = path_of(path)
                return quote(there) if there.startswith("/") else f'"$w"/{quote(there)}'

            lines = [f'w=$(pwd -P); PATH="${{{PROGRAMS}:+${PROGRAMS}:}}$PATH"; export PATH']
            if modules:
                lines.append(PREPARE_MODULES)
            lines.append(f"{HERE}=$w; {AWAY}={quote(here)}; export {HERE} {AWAY}")
            for name, cache in zip((CACHE, RUNTIME_CACHE), self._caches, strict=True):
                lines.append(f"{name}={place(cache)}; export {name}")
            if not os.path.samefile(start, here):
                # The Snakefile has a `workdir:`: it starts where it would here, and finds the working directory there.
                below = f"{place(start)}/{quote(os.path.relpath(here, start))}"
                lines.append(f'd={below}; mkdir -p "${{d%/*}}" && {{ [ -e "$d" ] || ln -s "$w" "$d"; }} || exit 1')
                lines.append(f"cd {place(start)} || exit 1")
            text = _TOKENS.sub(lambda found: place(paths[int(found[1])]), args)
            lines.append(f'exec "${PYTHON}" -I -S "${LAUNCHER}" {text}')
            return Command("\n".join(lines), "sh")

        return render

    def _token(self, path: str) -> str:
        """A word that stands for the path of a file until the location is known."""
        if "://" in path:
            return quote(path)
        path = os.path.normpath(os.path.join(self._workflow.workdir_init, path))
        if path not in self._paths:
            self._paths.append(path)
        return _TOKEN.format(self._paths.index(path))

    def _general_args(self) -> str:
        if self._general is None:
            from snakemake.spawn_jobs import SpawnedJobArgsFactory

            common = replace(
                self._workflow.executor_plugin.common_settings,
                pass_default_storage_provider_args=False,
                job_deploy_sources=False,
            )
            factory = SpawnedJobArgsFactory(self._seen_from_there())
            factory.get_configfiles_arg = self._configfiles
            own = [f'--{kind}-prefix "$w"/.streamflow/{kind}' for kind in ("conda", "apptainer")]
            if self._workflow.execution_settings.shadow_prefix is None:
                own.append('--shadow-prefix "$w"/.snakemake')
            if local := local_prefix(self._workflow.workflow_settings.wrapper_prefix):
                own.append(f"--wrapper-prefix file:{self._token(local)}/")  # Snakemake would quote it
            own += [f'--runtime-source-cache-path "${RUNTIME_CACHE}"', _QUIET]
            self._general = " ".join([factory.general_args(common), self._config(), *own])
        return self._general

    def _seen_from_there(self) -> Any:
        """The workflow, as it must describe itself to a Snakemake that shares nothing with this one."""
        w = self._workflow
        prefix = w.workflow_settings.wrapper_prefix
        return _Changed(
            w,
            remote_exec=False,
            overwrite_workdir=None,
            output_settings=_Changed(w.output_settings, verbose=False),
            storage_settings=_Changed(w.storage_settings, shared_fs_usage=frozenset(), assume_common_workdir=True),
            deployment_settings=_Changed(w.deployment_settings, conda_prefix=None, apptainer_prefix=None),
            workflow_settings=_Changed(
                w.workflow_settings, cache=None, wrapper_prefix=None if local_prefix(prefix) else prefix
            ),
        )

    def _configfiles(self) -> str:
        files = [self._token(str(path)) for path in self._workflow.overwrite_configfiles]
        return f"--configfiles {' '.join(files)}" if files else ""

    def _config(self) -> str:
        """What Snakemake does not say by itself: how to merge, and values that a program has given to its API."""
        import json

        settings = self._workflow.config_settings
        words = ["--replace-workflow-config"] if getattr(settings, "replace_workflow_config", False) else []
        if settings.config and not settings.config_args:
            words += ["--config", *(quote(f"{name}={json.dumps(value)}") for name, value in settings.config.items())]
        return " ".join(words)


def _job_args(job: Any) -> str:
    from snakemake_interface_executor_plugins.utils import encode_target_jobs_cli_args, format_cli_arg

    group = job.is_group()
    unneeded = list(job.dag.get_unneeded_temp_files(job)) if group else []
    return " ".join(
        [
            format_cli_arg("--target-jobs", encode_target_jobs_cli_args(job.get_target_spec())),
            format_cli_arg("--allowed-rules", job.rules, quote=False),
            format_cli_arg("--local-groupid", job.jobid, skip=not group),
            format_cli_arg("--attempt", job.attempt),
            format_cli_arg("--force-use-threads", not group),
            format_cli_arg("--unneeded-temp-files", unneeded, skip=not unneeded),
        ]
    )


def local_prefix(prefix: Any) -> str | None:
    """Return the folder that a wrapper prefix names; None when it is none of this machine."""
    path = str(prefix or "").removeprefix("file://").removeprefix("file:")
    return path.rstrip("/") if path and "://" not in path and Path(path).is_dir() else None


class _Changed:
    """An object with some attributes changed."""

    def __init__(self, original: Any, **changes: Any) -> None:
        self.__dict__.update(changes, _original=original)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

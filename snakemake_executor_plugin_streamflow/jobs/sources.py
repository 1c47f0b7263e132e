"""What a nested Snakemake reads besides a job's inputs: Snakefiles, scripts, configuration, and what is beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from .software import image_here

SMALL_B = 1 << 20
"""Workflows read files at parse time that they do not declare: files up to this size travel with the Snakefile."""
MOST = 4000
MOST_B = 64 << 20
_IMPORT = re.compile(r"""^[ \t"]*(?:import|from)[ \t]+(\w+)""", re.MULTILINE)
_NOTEBOOK, _CWL = ("papermill", "nbconvert", "ipykernel"), ("cwltool",)
"""What Snakemake runs notebooks and CWL tools with."""
_WORD = re.compile(r"[\w./+@%~-]+")
_SCRIPTS = (".py", ".R", ".r", ".jl", ".pl", ".rb", ".sh", ".awk")
_SKIPPED = frozenset({".git", ".snakemake", ".streamflow", "__pycache__", "node_modules"})
_FOREIGN = ("pyvenv.cfg", "conda-meta", ".streamflow")
"""A folder that holds one of these is no part of the workflow: an environment, or a site of ours."""


class Sources:
    """Finds the sources of a workflow. Used on Snakemake's main thread.

    Args:
        warn: told, once, when the folder holds too much to be sent whole.
    """

    def __init__(self, workflow: Any, warn: Callable[[str], None]) -> None:
        self._workflow = workflow
        self._warn = warn
        self._found: tuple[str, ...] | None = None
        cache = workflow.sourcecache
        self.caches = (str(cache.cache_path), str(cache.runtime_cache_path))
        """Folders of sources that came from elsewhere: lasting ones, and those of this run."""
        self._fetched: set[str] = set()
        self._looked: set[Any] = set()
        self._folders: dict[str, list[str]] = {}

    def of(self, jobs: Iterable[Any]) -> tuple[str, ...]:
        """Return the paths of all sources; those from elsewhere that these jobs need are fetched first."""
        for job in jobs:
            if (key := (job.rule.name, str(job.conda_env_spec))) not in self._looked:
                self._looked.add(key)
                self._fetch(job)
        if self._found is None:
            self._found = tuple(dict.fromkeys(self._all()))
        return (*self._found, *sorted(self._fetched))

    def mentioned(self, jobs: Iterable[Any]) -> tuple[str, ...]:
        """Return files that shell commands name without declaring them: scripts, mostly, and what is beside those.

        A script in a folder may need its neighbours (a module that it imports); other files are taken alone.
        """
        found: dict[str, None] = {}
        for job in jobs:
            words = dict.fromkeys(_WORD.findall(job.shellcmd or ""))
            if there := image_here(job):
                found[there] = None
            if "." in words or "snakemake" in words:
                found.update(dict.fromkeys(self.of(())))
            modules = (word.replace(".", "/") + ".py" for word in words if "/" not in word)
            for path in self.absolute(job, job.shellcmd or ""):
                found.update(dict.fromkeys([path, *(self._beside(path) if path.endswith(_SCRIPTS) else ())]))
            inputs = {os.path.normpath(str(f)) for f in job.input}
            for path in map(os.path.normpath, (*words, *modules, *inputs)):
                if path.startswith(("/", "..", "~", ".snakemake")) or path == "." or not os.path.exists(path):
                    continue
                above = set(map(str, PurePosixPath(path).parents))
                if path in self._made or above & (self._made | inputs):
                    continue
                if os.path.isfile(path):
                    found[os.path.abspath(path)] = None
                if os.path.isdir(path) or path.endswith(_SCRIPTS) or os.access(path, os.X_OK):
                    found.update(dict.fromkeys(self._beside(path)))
        return tuple(found)

    def absolute(self, job: Any, command: str) -> list[str]:
        """Return what a command names of the workflow's folders by whole paths, which are others at a location."""
        known = {str(f) for f in (*job.input, *job.output, *job.log)}
        words = [w for w in dict.fromkeys(_WORD.findall(command)) if w.startswith("/") and w not in known]
        return [w for w in words if w.startswith(self._roots) and os.path.isfile(w)]

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        return tuple(f"{folder}/" for folder in (*self._own_folders(), *self.caches))

    def _beside(self, path: str) -> list[str]:
        """What is in a folder, or in that of a file; of a Python package, all of it. What is at the top is alone."""
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        while os.path.isfile(os.path.join(folder, "__init__.py")) and os.path.dirname(folder):
            folder = os.path.dirname(folder)
        if folder and folder not in self._folders:
            self._folders[folder] = [file for file, _ in small_files(folder, self._made)][:MOST]
        return self._folders[folder] if folder else []

    @cached_property
    def _made(self) -> set[str]:
        """What jobs make."""
        return {os.path.normpath(str(f)) for job in self._workflow.dag.jobs for f in job.products()}

    def modules(self) -> frozenset[str]:
        """Return the names of the modules that Snakefiles and Python scripts import."""
        names = set[str]()
        for rule in self._workflow.rules:
            names.update(_NOTEBOOK if rule.notebook else (), _CWL if rule.cwl else ())
        for path in (*self._included(), *self.of(())):
            if path.endswith((".smk", ".py", ".ipynb", "Snakefile")):
                with suppress(OSError):
                    text = Path(self._workflow.workdir_init, path).read_text(errors="replace")
                    names.update(_IMPORT.findall(text))
        return frozenset(names)

    def _all(self) -> Iterator[str]:
        yield from (path for path in self._declared() if os.path.isfile(path))
        found: dict[str, int] = {}
        for folder in _outermost(self._own_folders()):
            found |= dict(small_files(folder, self._made))
        if len(found) > MOST or sum(found.values()) > MOST_B:
            total = len(found)
            kept = sorted(found, key=lambda path: (found[path], path))[:MOST]
            size, found = 0, {path: found[path] for path in kept}
            for path in list(found):
                size += found[path]
                if size > MOST_B:
                    del found[path]
            self._warn(
                f"The workflow's folders hold {total} small files; jobs that need Snakemake at a site get the "
                f"{len(found)} smallest, and what the workflow declares."
            )
        yield from found

    def _own_folders(self) -> list[str]:
        """The folders that the workflow is in."""
        start = self._workflow.workdir_init
        return [os.getcwd(), start, *(os.path.dirname(os.path.join(start, path)) for path in self._included())]

    def _declared(self) -> Iterator[str]:
        """What Snakemake has read, or will read for a rule, at any size."""
        workflow = self._workflow
        start = workflow.workdir_init
        yield from (os.path.join(start, path) for path in self._included())
        for path in (*workflow.configfiles, *workflow.overwrite_configfiles):
            yield os.path.join(start, str(path))
        for rule in workflow.rules:
            for path in (rule.script, rule.notebook, rule.conda_env, rule.cwl, rule.template_engine):
                if isinstance(path, str | os.PathLike) and rule.basedir.is_local:
                    yield os.path.join(start, str(rule.basedir), path)
            if rule.wrapper:
                yield from self._wrapper(rule.wrapper)

    def _wrapper(self, name: str) -> Iterator[str]:
        """The files of a wrapper of this machine: those in its own folder, not the tests below it."""
        from snakemake.wrapper import get_conda_env

        environment = get_conda_env(name, self._workflow.workflow_settings.wrapper_prefix)
        if hasattr(environment, "abspath"):
            folder = os.path.dirname(os.path.join(self._workflow.workdir_init, environment.path))
            with suppress(OSError):
                yield from sorted(entry.path for entry in os.scandir(folder) if entry.is_file())

    def _included(self) -> list[str]:
        """The Snakefiles of this machine."""
        return [str(source) for source in self._workflow.included if hasattr(source, "abspath")]

    def _fetch(self, job: Any) -> None:
        """Have Snakemake's source cache fetch what the job's rule names; note what is in the cache now."""
        from snakemake import wrapper
        from snakemake.sourcecache import SourceFile, infer_source_file

        workflow, rule = self._workflow, job.rule
        cache, prefix = workflow.sourcecache, workflow.workflow_settings.wrapper_prefix
        wanted: list[Any] = []
        if job.is_wrapper:
            wanted.append(wrapper.get_script(rule.wrapper, cache, prefix))
            wanted.append(wrapper.get_conda_env(rule.wrapper, prefix))
        for path in (rule.script, rule.notebook):
            if path:
                wanted.append(infer_source_file(path, rule.basedir))
        wanted.append(getattr(job.conda_env_spec, "file", None))  # a name, or a folder, has none
        if there := image_here(job):
            self._fetched.add(there)
        for source in wanted:
            if isinstance(source, SourceFile) and not hasattr(source, "abspath"):
                with suppress(Exception):  # a missing environment.yaml is none; what matters fails at the site
                    cache.get_path(source)
        for folder in self.caches:
            for path, _ in small_files(folder, set(), hidden=True):
                inside = os.path.relpath(path, folder)
                if inside.split(os.sep)[0] not in ("file", "snakemake-runtime-cache", "snakemake-git-cache"):
                    self._fetched.add(path)


def _outermost(folders: Iterable[str]) -> list[str]:
    """Leave out what lies in another of the folders."""
    kept: list[str] = []
    for folder in sorted({os.path.normpath(folder) for folder in folders}):
        if not any(folder.startswith(f"{other.rstrip('/')}/") for other in kept):
            kept.append(folder)
    return kept


def small_files(folder: str, made: Collection[str], hidden: bool = False) -> Iterator[tuple[str, int]]:
    """Yield absolute paths of small files below a folder, and their bytes; without what jobs have `made`."""
    for top, folders, names in os.walk(os.path.abspath(folder)):
        folders[:] = sorted(
            name
            for name in folders
            if hidden
            or (
                name not in _SKIPPED
                and os.path.relpath(os.path.join(top, name)) not in made
                and not any(os.path.lexists(os.path.join(top, name, mark)) for mark in _FOREIGN)
            )
        )
        for name in sorted(names):
            path = os.path.join(top, name)
            if os.path.relpath(path) in made:
                continue
            with suppress(OSError):
                info = Path(path).stat()
                if info.st_size <= SMALL_B and os.path.isfile(path):
                    yield path, info.st_size

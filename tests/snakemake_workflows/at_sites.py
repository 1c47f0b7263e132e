"""A pytest plugin for Snakemake's own tests: what they run with the local executor runs at a site of ours instead.

Loaded with `-p at_sites` by `upstream.py`, in a pytest of its own. Environment: STREAMFLOW_SITE, a companion file in
which WORKDIR stands for a fresh folder (empty: the local executor runs everything); STREAMFLOW_CONTAINER and
STREAMFLOW_ENGINE, the container that this folder is in, if it is; STREAMFLOW_FLOATING, not empty when files are to stay
at the site; STREAMFLOW_OUTCOMES, the file that gets a line of JSON for each test.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

SITE = os.environ.get("STREAMFLOW_SITE", "")
CONTAINER, ENGINE = os.environ.get("STREAMFLOW_CONTAINER", ""), os.environ.get("STREAMFLOW_ENGINE", "")
FLOATING = bool(os.environ.get("STREAMFLOW_FLOATING"))
NOT_RUNS = re.compile(
    r"--executor|--dry-?run|--summary|--dag|--generate|--list|--touch|--unlock|--default-storage|>|snakemake\s+-n\b"
)
OPTIONS = (
    "--default-storage-provider streamflow --default-storage-prefix streamflow:// "
    "--shared-fs-usage persistence software-deployment sources source-cache software-deployment-cache"
)
SITES: dict[str, Path] = {}
"""Folder of the site of each working directory."""


def pytest_configure(config: pytest.Config) -> None:
    sys.path.insert(0, os.getcwd())
    import tests.common as common  # Snakemake's

    common.run = at_a_site(common)


def at_a_site(common: Any) -> Any:
    """Wrap `tests.common.run`."""
    run = common.run

    @wraps(run)
    def wrapped(path: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("cluster", None), kwargs.pop("cluster_status", None)  # what any cluster executor must do
        other = {"executor", "conda_create_envs", "conda_list_envs", "archive", "containerize"}
        other |= {"default_storage_provider", "shared_fs_usage"}
        command = kwargs.get("shellcmd") or ""
        shared = kwargs.get("no_tmpdir") and Path(path).is_relative_to(os.getcwd())  # Snakemake's own, for all modes
        if not SITE or shared or other & kwargs.keys() or kwargs.get("sigint_after") or NOT_RUNS.search(command):
            return run(path, *args, **kwargs)
        if kwargs.get("no_tmpdir"):
            kwargs["tmpdir"] = path
        if kwargs.get("tmpdir") is None:
            slug = (Path(path) / kwargs.get("snakefile", "Snakefile")).parent.name
            with common.prepare_tmpdir(Path(path), name_slug=slug, cleanup=False) as work:
                kwargs["tmpdir"] = work
        work = Path(kwargs["tmpdir"])
        file = companion(work)
        if command:
            more = "" if re.search(r" (-j|--jobs)\b", command) else " --jobs 3"
            ours = f"snakemake --executor streamflow --streamflow-file {file}{more}"
            if FLOATING:
                ours += f" {OPTIONS} --storage-streamflow-file {file}"
            kwargs["shellcmd"] = command.replace("snakemake", ours, 1)
        else:
            kwargs |= settings(file)
            kwargs["nodes"] = kwargs.get("nodes") or 3
        expected = common.get_expected_files

        def brought_home(folder: Any) -> Any:
            bring_home(work)
            return expected(folder)

        common.get_expected_files = brought_home
        try:
            return run(path, *args, **kwargs)
        finally:
            common.get_expected_files = expected
            if work.exists():
                bring_home(work)

    return wrapped


def companion(work: Path) -> Path:
    """Return the companion file for a run in a working directory: with a fresh site, but for files that float."""
    if str(work) not in SITES or not FLOATING:
        shutil.rmtree(SITES.get(str(work), ""), ignore_errors=True)
        folder = SITES[str(work)] = Path(tempfile.mkdtemp(prefix="streamflow-workflows-"))
        (folder / "site").mkdir()
        text = Path(SITE).read_text().replace("WORKDIR", f"/root/{folder.name}" if CONTAINER else f"{folder}/site")
        (folder / "streamflow.yml").write_text(text)
    return SITES[str(work)] / "streamflow.yml"


def settings(file: Path) -> dict[str, Any]:
    """Return the arguments of Snakemake's `run` that mean the same as the options of a command."""
    from snakemake_executor_plugin_streamflow import ExecutorSettings

    chosen: dict[str, Any] = {"executor": "streamflow", "executor_settings": ExecutorSettings(file=str(file))}
    if FLOATING:
        from snakemake_interface_common.plugin_registry.plugin import TaggedSettings
        from snakemake_interface_executor_plugins.settings import SharedFSUsage

        from snakemake_storage_plugin_streamflow import StorageProviderSettings

        tagged = TaggedSettings()
        tagged.register_settings(StorageProviderSettings(file=str(file)))
        chosen |= {"default_storage_provider": "streamflow", "default_storage_prefix": "streamflow://"}
        chosen |= {"storage_provider_settings": {"streamflow": tagged}}
        chosen["shared_fs_usage"] = SharedFSUsage.all() - {
            SharedFSUsage.INPUT_OUTPUT,
            SharedFSUsage.STORAGE_LOCAL_COPIES,
        }
    return chosen


def bring_home(work: Path) -> None:
    """Put what has stayed at the site into the working directory, where Snakemake's tests look for it."""
    if not FLOATING or not (work / ".snakemake/streamflow/journal.db").exists():
        return
    with sqlite3.connect(work / ".snakemake/streamflow/journal.db") as journal:
        known = [path for (path,) in journal.execute("SELECT DISTINCT path FROM replicas")]
    if CONTAINER and known:
        copy_out(f"/root/{SITES[str(work)].name}", known, SITES[str(work)] / "site")
    for path in known:
        here, there = work / path, SITES[str(work)] / "site" / path
        if not here.exists() and there.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if there.is_dir() else shutil.copy2)(there, here)


def copy_out(site: str, paths: list[str], to: Path) -> None:
    """Copy what there is of some paths below the site's folder in the container."""
    from docker import DockerClient
    from docker.errors import NotFound

    with closing(DockerClient(base_url=ENGINE)) as client:
        for path in paths:
            with suppress(NotFound):
                content = b"".join(client.containers.get(CONTAINER).get_archive(f"{site}/{path}")[0])
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    archive.extractall((to / path).parent, filter="tar")


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Undo what a test does to the environment: some name a profile and leave it there."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    for folder in SITES.values():
        shutil.rmtree(folder, ignore_errors=True)
    SITES.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.when == "call" or report.outcome != "passed":
        said = "".join(text for _, text in report.sections)
        jobs = sum(map(int, re.findall(r"^streamflow: \S+: (\d+) jobs", said, re.MULTILINE)))
        here = sum(map(int, re.findall(r"^streamflow: controller: (\d+) jobs", said, re.MULTILINE)))
        line = {"test": item.name, "outcome": report.outcome, "jobs": jobs - here, "seconds": round(call.duration, 1)}
        if report.outcome != "passed":
            line["why"] = str(report.longrepr)[-400:]
        with open(os.environ["STREAMFLOW_OUTCOMES"], "a") as stream:
            stream.write(json.dumps(line) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """End this process although a thread that a Snakefile has started waits for ever; all outcomes are written."""
    sys.stdout.flush()
    os._exit(0)

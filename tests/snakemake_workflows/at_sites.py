"""A pytest plugin for Snakemake's own tests: what they run with the local executor runs at a site of ours instead.

Loaded with `-p at_sites` by `runner.py`, in a pytest of its own. Environment: STREAMFLOW_SITE, a folder with
`streamflow.yml`, in which WORKDIR stands for a fresh folder name (empty: the local executor runs everything);
STREAMFLOW_OUTCOMES, the file that gets a line of JSON for each test.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

SITE = os.environ.get("STREAMFLOW_SITE", "")
NOT_RUNS = re.compile(
    r"--executor|--dry-?run|--summary|--dag|--generate|--list|--touch|--unlock|--default-storage|>|snakemake\s+-n\b"
)


def pytest_configure(config: pytest.Config) -> None:
    sys.path.insert(0, os.getcwd())
    import tests.common as common  # Snakemake's

    common.run = at_a_site(common.run)


def at_a_site(run: Any) -> Any:
    """Wrap `tests.common.run`."""

    @wraps(run)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("cluster", None), kwargs.pop("cluster_status", None)  # what any cluster executor must do
        other = {"executor", "conda_create_envs", "conda_list_envs", "archive", "containerize"}
        command = kwargs.get("shellcmd") or ""
        if not SITE or other & kwargs.keys() or kwargs.get("sigint_after") or NOT_RUNS.search(command):
            return run(*args, **kwargs)
        with companion() as file:
            if command:
                more = "" if re.search(r" (-j|--jobs)\b", command) else " --jobs 3"
                ours = f"snakemake --executor streamflow --streamflow-file {file}{more}"
                kwargs["shellcmd"] = command.replace("snakemake", ours, 1)
            else:
                from snakemake_executor_plugin_streamflow import ExecutorSettings

                kwargs |= {"executor": "streamflow", "executor_settings": ExecutorSettings(file=str(file))}
                kwargs["nodes"] = kwargs.get("nodes") or 3
            return run(*args, **kwargs)

    return wrapped


class companion:
    """A companion file with a fresh site, whose folder is removed afterwards."""

    def __enter__(self) -> Path:
        self.folder = Path(tempfile.mkdtemp(prefix="streamflow-workflows-"))
        text = Path(SITE, "streamflow.yml").read_text().replace("WORKDIR", str(self.folder / "site"))
        file = self.folder / "streamflow.yml"
        file.write_text(text)
        return file

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Undo what a test does to the environment: some name a profile and leave it there."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


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

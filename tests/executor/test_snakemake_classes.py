"""Snakemake's own tests for executors, at sites without a shared filesystem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snakemake.common.tests import TestWorkflowsLocalStorageBase

from snakemake_executor_plugin_streamflow import ExecutorSettings

from .running import ONE_OR_TWO


class TestAtTwoSites(TestWorkflowsLocalStorageBase):
    __test__ = True

    def run_workflow(self, test_name: str, tmp_path: Path, *args: Any, **kwargs: Any) -> None:
        self._companion = Path(tmp_path) / "companion.yml"
        self._companion.write_text(ONE_OR_TWO.replace("SITES", str(Path(tmp_path) / "sites")))
        super().run_workflow(test_name, tmp_path, *args, **kwargs)
        ran = [*Path(tmp_path).glob("sites/*/test3.out")]
        assert ran, "no job ran at a site"
        assert (Path(tmp_path) / test_name / "test3.out").exists()

    def get_executor(self) -> str:
        return "streamflow"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(file=str(self._companion))

"""A deployment has one working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.config import read_companion
from snakemake_executor_plugin_streamflow.errors import ConfigError

TEXT = """version: v1.0
bindings:
  - rule: a
    target: {deployment: box, workdir: /one}
  - rule: b
    target: {deployment: box%s}
deployments:
  box: {type: local, workdir: /one}
"""


def test_two_working_directories_of_one_deployment_are_refused_with_both_named(tmp_path: Path) -> None:
    file = tmp_path / "streamflow.yml"
    file.write_text(TEXT % ", workdir: /two")
    with pytest.raises(ConfigError, match=r":5:5: .*/two beside /one"):
        read_companion(file, {})


def test_the_same_working_directory_may_be_given_twice(tmp_path: Path) -> None:
    file = tmp_path / "streamflow.yml"
    file.write_text(TEXT % "")
    assert len(read_companion(file, {}).bindings) == 2

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


@pytest.mark.parametrize("character", ["\\n", "\\0", "\\t", "\\x7f"])
def test_a_working_directory_that_no_shell_line_can_hold_is_refused(tmp_path: Path, character: str) -> None:
    file = tmp_path / "streamflow.yml"
    file.write_text((TEXT % "").replace("local, workdir: /one", f'local, workdir: "/o{character}ne"'))
    with pytest.raises(ConfigError, match=r":8:31: .*expected an absolute path without '..' and line breaks"):
        read_companion(file, {})


@pytest.mark.parametrize("pattern", ["5", "[a, 5]"])
def test_a_number_is_no_name_of_a_rule(tmp_path: Path, pattern: str) -> None:
    file = tmp_path / "streamflow.yml"
    file.write_text((TEXT % "").replace("rule: b", f"rule: {pattern}"))
    with pytest.raises(ConfigError, match=r":5:\d+: .*expected a name or pattern, got the number 5: put it in quotes"):
        read_companion(file, {})
    file.write_text((TEXT % "").replace("rule: b", "rule: '5'"))
    assert read_companion(file, {}).bindings[1].rules == ("5",)

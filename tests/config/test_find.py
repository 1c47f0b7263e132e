"""Where the companion file is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.config import find_companion
from snakemake_executor_plugin_streamflow.config.find import EXAMPLE
from snakemake_executor_plugin_streamflow.errors import ConfigError

from .reading import read


def test_the_working_directory_comes_before_the_folders_of_the_snakefile(tmp_path: Path) -> None:
    work, project = tmp_path / "work", tmp_path / "project"
    snakefile = project / "workflow" / "Snakefile"
    for folder in (work, snakefile.parent):
        folder.mkdir(parents=True)
    for path in (project / "streamflow.yml", snakefile.parent / "streamflow.yaml", work / "streamflow.yml"):
        path.touch()
        assert find_companion(None, snakefile, work) == path


def test_a_given_file_is_taken_from_the_present_directory_or_the_working_directory(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine.yml").touch()
    assert find_companion("mine.yml", Path("Snakefile"), tmp_path / "work") == tmp_path / "work" / "mine.yml"
    (tmp_path / "mine.yml").touch()
    monkeypatch.chdir(tmp_path)
    assert find_companion("mine.yml", Path("Snakefile"), tmp_path / "work") == tmp_path / "mine.yml"


@pytest.mark.parametrize("given", [None, "other.yml"])
def test_without_a_file_the_message_holds_an_example_of_five_lines_that_is_valid(tmp_path: Path, given) -> None:
    with pytest.raises(ConfigError) as caught:
        find_companion(given, tmp_path / "Snakefile", tmp_path)
    assert str(given or tmp_path) in str(caught.value)
    assert all(line in str(caught.value) for line in EXAMPLE.splitlines())
    assert len(EXAMPLE.splitlines()) == 5
    assert read(EXAMPLE).bindings

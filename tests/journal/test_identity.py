"""A workflow keeps its name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.journal.identity import workflow_key


@pytest.fixture
def here(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    return work


def test_it_is_the_same_before_and_after_it_was_written_down(here: Path) -> None:
    assert workflow_key(here) == workflow_key(here, keep=True) == workflow_key(here)


def test_it_moves_along_and_a_new_workflow_at_the_old_place_has_another(here: Path) -> None:
    key = workflow_key(here, keep=True)
    moved = here.rename(here.with_name("moved"))
    here.mkdir()
    assert workflow_key(here, keep=True) != key
    assert workflow_key(moved, keep=True) == key
    assert workflow_key(moved.rename(here.with_name("again"))) == key


def test_a_copy_has_its_own_until_the_original_is_gone(here: Path) -> None:
    key = workflow_key(here, keep=True)
    copy = Path(shutil.copytree(here, here.with_name("copy")))
    assert workflow_key(copy) != key
    shutil.rmtree(here)
    assert workflow_key(copy) == key


def test_another_host_knows_the_very_same_directory_and_no_copy(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = workflow_key(here, keep=True)
    copy = Path(shutil.copytree(here, here.with_name("copy")))
    there = os.uname_result(("Linux", "elsewhere", "6", "1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: there)
    assert workflow_key(here) == key
    assert workflow_key(copy) != key


def test_a_file_that_says_nothing_is_replaced(here: Path) -> None:
    key = workflow_key(here, keep=True)
    (here / ".snakemake/streamflow/key").write_text("{")
    assert workflow_key(here, keep=True) == key
    assert "{}" not in (here / ".snakemake/streamflow/key").read_text()

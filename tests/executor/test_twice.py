"""Snakemake as a library: runs that follow each other in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..storage.floating import FLOATING
from .running import TWO_SITES, command, environment, write_workflow

SNAKEFILE = """
rule all:
    input: "b_two"
rule a:
    output: "a"
    shell: "echo {config[word]} > {output}"
rule b_two:
    input: "a"
    output: "b_two"
    shell: "cat {input} {input} > {output}"
"""
TWICE = """
import sys
from snakemake.cli import main
for options in (["--config", "word=one"], ["--config", "word=two", "--forceall"]):
    try:
        main(sys.argv[1:] + options)
    except SystemExit as end:
        assert not end.code, end.code
"""


@pytest.mark.parametrize("options", [(), FLOATING], ids=["drop-in", "floating"])
def test_a_process_can_run_a_workflow_twice(tmp_path: Path, options: tuple[str, ...]) -> None:
    work = write_workflow(tmp_path, SNAKEFILE, TWO_SITES)
    arguments = command(*options)[3:]
    done = subprocess.run(
        [sys.executable, "-c", TWICE, *arguments], cwd=work, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (work / "b_two").read_text() == "two\ntwo\n", done.stderr
    assert "set aside" not in done.stderr
    assert "Trying again" not in done.stderr

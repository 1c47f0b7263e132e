"""Filesystems that are full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import run_workflow

SNAKEFILE = """
    rule all:
        input: "out.txt"
    rule big:
        input: "in.bin"
        output: "out.txt"
        retries: 2
        shell: "echo run >> SITES/runs; wc -c < {input} > {output}"
    """
COMPANION = """\
version: v1.0
bindings:
  - {rule: "*", target: [TARGETS]}
deployments:
  little: {type: local, workdir: SITES/little, config: {cores: 4}}
  plenty: {type: local, workdir: SITES/plenty, config: {cores: 4}}
"""


@pytest.fixture
def little(tmp_path: Path) -> Iterator[Path]:
    """A site on a filesystem of 4 MiB."""
    folder = tmp_path / "sites/little"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def write_input(work: Path) -> None:
    (work / "in.bin").write_bytes(bytes(6_000_000))


def test_what_does_not_fit_goes_to_another_filesystem(tmp_path: Path, little: Path) -> None:
    companion = COMPANION.replace("TARGETS", "{deployment: little}, {deployment: plenty}")
    run = run_workflow(tmp_path, SNAKEFILE, companion, prepare=write_input)
    assert (run.work / "out.txt").read_text() == "6000000\n"
    assert run.jobs("plenty") == 1
    assert "little: cannot write" in run.text
    assert "(6.0 MB, 4.2 MB are free): No space left on device" in run.text
    assert run.text.count("Looking for a location with another filesystem") == 1


def test_what_fits_nowhere_is_said_once(tmp_path: Path, little: Path) -> None:
    companion = COMPANION.replace("TARGETS", "{deployment: little}")
    run = run_workflow(tmp_path, SNAKEFILE.replace("retries: 2", "retries: 0"), companion, prepare=write_input, code=1)
    assert "(6.0 MB, 4.2 MB are free): No space left on device" in run.text
    assert run.text.count("Looking for a location with another filesystem") == 1
    assert not (tmp_path / "sites/runs").exists()


def test_a_full_disk_that_swallows_what_a_job_says_is_named(tmp_path: Path, little: Path) -> None:
    snakefile = """
    rule a:
        output: "out.txt"
        shell: "cat /dev/zero > fill || true; echo the reason >&2; false"
    """
    run = run_workflow(tmp_path, snakefile, COMPANION.replace("TARGETS", "{deployment: little}"), code=1)
    assert "Nothing can be written there any more, so its stderr may be incomplete:\n" in run.text
    assert "No space left on device" in run.text.partition("may be incomplete")[2]


def test_a_workdir_that_is_the_workflow_s_own_is_in_place(tmp_path: Path) -> None:
    companion = COMPANION.replace("TARGETS", "{deployment: little}").replace("SITES/little", str(tmp_path / "work"))
    run = run_workflow(tmp_path, SNAKEFILE.replace("SITES/runs", "/dev/null"), companion, prepare=write_input)
    assert run.jobs("little") == 1
    assert run.sent_mb("little") == run.fetched_mb("little") == 0


@pytest.mark.parametrize("workdir", ["work/site", "."])
def test_a_workdir_below_or_above_the_workflow_s_own_is_a_site_of_its_own(tmp_path: Path, workdir: str) -> None:
    companion = COMPANION.replace("TARGETS", "{deployment: little}").replace("SITES/little", str(tmp_path / workdir))
    run = run_workflow(tmp_path, SNAKEFILE.replace("SITES/runs", "/dev/null"), companion, prepare=write_input)
    assert (run.work / "out.txt").read_text() == (tmp_path / workdir / "out.txt").read_text() == "6000000\n"
    assert run.sent_mb("little") == 6

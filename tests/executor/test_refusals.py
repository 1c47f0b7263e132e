"""What cannot work is said at the start, before anything is brought up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.jobs import why_too_old
from snakemake_executor_plugin_streamflow.jobs.supported import OLDEST

from ..storage.floating import FLOATING
from .running import TWO_SITES, run_workflow


def test_a_pattern_that_matches_no_rule_is_a_warning(tmp_path: Path) -> None:
    run = run_workflow(tmp_path, 'rule a:\n    output: "a"\n    shell: "touch a"\n', TWO_SITES)
    assert "streamflow.yml:3:5: no rule matches '*_two'" in run.text


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("threads: 64", ["64", "cores"]),
        ("resources: mem_mb=20000", ["memory"]),
        ("resources: gpu=3", ["gpu"]),
        ("resources: disk_mb=10**9", ["disk"]),
    ],
)
def test_a_request_that_nobody_can_satisfy_is_an_error_at_once(tmp_path: Path, wish: str, words: list[str]) -> None:
    snakefile = f'rule a:\n    output: "a"\n    {wish}\n    shell: "touch a"\n'
    companion = TWO_SITES.replace("memory: 8GB", "memory: 8GB, resources: {gpu: 2}")
    run = run_workflow(tmp_path, snakefile, companion, code=1, timeout_s=30)
    for word in words:
        assert word in run.text
    assert "Trying again" not in run.text
    assert not (run.sites / "one" / "a").exists()


def test_a_custom_resource_that_a_site_has(tmp_path: Path) -> None:
    companion = TWO_SITES.replace("memory: 8GB", "memory: 8GB, resources: {gpu: 2}")
    snakefile = 'rule a:\n    output: "a"\n    resources: gpu=2, mem_mb=5000\n    threads: 4\n    shell: "touch a"\n'
    assert run_workflow(tmp_path, snakefile, companion).jobs("one") == 1


def test_what_snakemake_guesses_is_no_request(tmp_path: Path) -> None:
    companion = TWO_SITES.replace("memory: 8GB", "memory: 8MB, disk: 8MB")
    snakefile = 'rule a:\n    output: "a"\n    shell: "touch a"\n'
    assert run_workflow(tmp_path, snakefile, companion, "--default-resources", "licences=7").jobs("one") == 1


def test_a_resource_that_no_site_speaks_of_is_for_snakemake_alone(tmp_path: Path) -> None:
    snakefile = 'rule a:\n    output: "a"\n    resources: licences=7\n    shell: "touch a"\n'
    assert run_workflow(tmp_path, snakefile, TWO_SITES, "--resources", "licences=9").jobs("one") == 1


def test_no_companion_file(tmp_path: Path) -> None:
    run = run_workflow(tmp_path, 'rule a:\n    output: "a"\n    shell: "touch a"\n', None, code=1)
    assert "there is no companion file streamflow.yml" in run.text
    assert "deployments:\n" in run.text
    assert not re.search(r"Traceback|^  File ", run.text, re.MULTILINE)


def test_a_named_companion_file(tmp_path: Path) -> None:
    snakefile = 'rule a:\n    output: "a"\n    shell: "touch a"\n'
    run = run_workflow(tmp_path, snakefile, None, "--streamflow-file", "../other.yml", code=1)
    assert "other.yml" in run.text
    (tmp_path / "other.yml").write_text(TWO_SITES.replace("SITES", str(tmp_path / "sites")))
    run = run_workflow(tmp_path, snakefile, None, "--streamflow-file", "../other.yml")
    assert run.jobs("one") == 1


def test_all_mistakes_of_a_companion_file_with_their_positions(tmp_path: Path) -> None:
    companion = """version: v1.0
bindings:
  - {rule: a, target: {deployment: clutser}}
deployments:
  cluster: {type: local, config: {cores: many}}
  other: {type: locl}
"""
    run = run_workflow(tmp_path, 'rule a:\n    output: "a"\n    shell: "touch a"\n', companion, code=1)
    for position, nearest in (
        ("streamflow.yml:3:36", "cluster"),
        ("streamflow.yml:5:42", "above 0, got text"),
        ("streamflow.yml:6:17", "local"),
    ):
        line = next((line for line in run.text.splitlines() if position in line), "")
        assert nearest in line, run.text
    assert not re.search(r"Traceback|^  File ", run.text, re.MULTILINE)


def test_the_cache_is_refused_where_files_stay_at_sites(tmp_path: Path) -> None:
    snakefile = 'rule a:\n    output: "a"\n    cache: True\n    shell: "touch a"\n'
    env = {"SNAKEMAKE_OUTPUT_CACHE": str(tmp_path)}
    run = run_workflow(tmp_path, snakefile, TWO_SITES, "--cache", *FLOATING, env=env, code=1)
    assert "Leave out `--cache`" in run.text
    assert not run.sites.exists(), "nothing was started"
    assert run_workflow(tmp_path, snakefile, TWO_SITES, *FLOATING).jobs("one") == 1


def test_what_reads_files_unasked_is_refused_where_they_stay_at_sites(tmp_path: Path) -> None:
    snakefile = 'rule a:\n    output: "a"\n    shell: "touch a"\n'
    run = run_workflow(tmp_path, snakefile, TWO_SITES, "--archive", "a.tar", *FLOATING, code=1)
    assert "--archive reads files in the working directory" in run.text
    assert "Traceback" not in run.text
    assert not (run.work / "a.tar").exists()


@pytest.mark.parametrize(
    ("version", "fits"),
    [("9.23.1", True), ("9.24.0", True), ("10.0", True), ("9.27.1+4.gabc", True), ("9.23.0", False), ("8.30.0", False)],
)
def test_an_older_snakemake_is_told_what_is_needed(version: str, fits: bool) -> None:
    problem = why_too_old(version)
    assert (problem is None) == fits
    assert fits or (f"Snakemake {version};" in str(problem) and OLDEST in str(problem))

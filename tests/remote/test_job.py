"""Events and exit files."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.errors import DeployError
from snakemake_executor_plugin_streamflow.remote import preflight
from snakemake_executor_plugin_streamflow.remote.job import OVER, Command, Found, JobEnd, JobSpec, parse_end, render


def test_an_end_names_each_output() -> None:
    end = parse_end("3 fmdo 5 100 644 4096 200 755 0 300 666", ["a", "b", "c", "d"])
    assert end == JobEnd(
        3,
        (
            Found("a", "file", 5, 100 * 10**9, 0o644),
            Found("b", "missing"),
            Found("c", "directory", 4096, 200 * 10**9, 0o755),
            Found("d", "other", 0, 300 * 10**9, 0o666),
        ),
    )


def test_a_long_list_is_asked_for() -> None:
    assert parse_end("0 @", ["a"]).outputs is None
    assert parse_end("137 over @", ["a"]) == JobEnd(137, None, OVER, over=True)
    assert parse_end("0 -", []).outputs == ()


def test_inputs_that_are_newer_than_the_job_are_named_by_their_positions() -> None:
    assert parse_end("0 m ! 0 12", ["a"]) == JobEnd(0, (Found("a", "missing"),), newer=(0, 12))
    assert parse_end("1 - ! 3", []) == JobEnd(1, (), newer=(3,))


@pytest.mark.parametrize("line", ["", "x -", "0", "0 f", "0 f 1 2", "0 over", "0 f 1 2 9"])
def test_an_end_that_is_cut_short_is_an_error(line: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse_end(line, ["a"])


def test_secrets_are_not_in_the_script() -> None:
    spec = JobSpec("x", PurePosixPath("/w"), [Command("true", env={"OPEN": "shown"})], env={"S": "hidden"})
    assert "hidden" not in render(spec)
    assert "shown" in render(spec)


def test_names_that_begin_with_a_dash_are_no_options(tmp_path: Path) -> None:
    (tmp_path / "-o").write_text("old")
    spec = JobSpec("x", PurePosixPath(tmp_path), [Command("test ! -e ./-o; echo new >./-p/o", "sh")], ["-o", "-p/o"])
    (tmp_path / "script").write_text(render(replace(spec, parents=["-p"])))
    assert subprocess.run(["sh", str(tmp_path / "script")], check=False, timeout=20).returncode == 0
    assert (tmp_path / "-p" / "o").read_text() == "new\n"


def test_an_empty_prefix_switches_strict_mode_off() -> None:
    strict, plain = (
        render(JobSpec("x", PurePosixPath("/w"), [Command("true", prefix=prefix)])) for prefix in (None, "")
    )
    assert "pipefail" in strict
    assert "pipefail" not in plain


def test_what_is_missing_at_a_location_is_named() -> None:
    with pytest.raises(DeployError, match=r"lab: .* setsid, tar"):
        preflight.parse("missing setsid\nmissing tar\nworkdir /w\n", "lab")
    with pytest.raises(DeployError, match="Permission denied"):
        preflight.parse("unusable mkdir: Permission denied\nworkdir /\n", "lab")


def test_limits_of_a_container_are_its_size() -> None:
    facts = preflight.parse("workdir /w\ncores 8\ncpumax 150000 100000\nmemory 1000\nmemorymax 512000\n", "lab")
    assert (facts.cores, facts.memory_b) == (1.5, 512000)
    facts = preflight.parse("workdir /w\ncores 8\ncpumax max 100000\nmemory 1000\nmemorymax max\ndisk 5\n", "lab")
    assert (facts.cores, facts.memory_b, facts.disk_b) == (8, 1024000, 5120)

"""The example gives the same results on one machine and across sites."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .servers.docker import DockerEngine, busybox_image, docker_engine  # noqa: F401 - fixtures
from .servers.ssh import SshHosts

EXAMPLE = Path(__file__).parent.parent / "examples" / "variant-calling"


def _run(work: Path, *arguments: str) -> str:
    """Run the example in `work` and return what Snakemake printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # rules call the python3 that runs the tests
    ended = subprocess.run(
        [sys.executable, "-m", "snakemake", "--nocolor", *arguments],
        cwd=work,
        env={**os.environ, "PATH": path, "PWD": str(work)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def _digests(work: Path) -> dict[str, str]:
    """Return the digest of each file in `results/`."""
    files = [path for path in (work / "results").rglob("*") if path.is_file()]
    return {str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def _copy(tmp_path: Path, name: str) -> Path:
    ignore = shutil.ignore_patterns("results", ".snakemake")
    return shutil.copytree(EXAMPLE, tmp_path / name, ignore=ignore)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the local executor ran the example."""
    work = _copy(tmp_path_factory.mktemp("example"), "local")
    _run(work, "--executor", "local", "--cores", "2")
    return work


def test_every_lane_has_the_variants_that_the_pile_up_of_another_aligner_shows(local: Path) -> None:
    # Counted in the data's source, which BWA-MEM aligned: the bases where at least 190 reads lie and 98 of 100 differ.
    evident = (
        "104TC 485TC 549CA 751CT 1012AT 1194CA 1353TA 5619TA 5875CA 6401AG "
        "7258TA 7486CT 7529CA 7563GA 7567AC 7592TC 7670AT"
    )
    header, *lines = [line.split("\t") for line in (local / "results/variants.tsv").read_text().splitlines()]
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    everywhere = [row for row in rows if row["samples"] == "4"]

    assert [row["position"] + row["reference"] + row["variant"] for row in everywhere] == evident.split()
    assert all(float(row[f"lane_{lane}:share"]) > 0.95 for row in everywhere for lane in (1, 2, 3, 4))


def test_the_plot_is_drawn(local: Path) -> None:
    assert (local / "results/variants.svg").read_text().startswith("<svg")


def test_two_sites_make_the_same_bytes_as_the_local_executor(tmp_path: Path, local: Path) -> None:
    work = _copy(tmp_path, "sites")
    said = _run(work, "--executor", "streamflow", "--jobs", "4")

    assert _digests(work) == _digests(local)
    assert "hpc: 16 jobs" in said
    assert "cloud: 4 jobs" in said


def test_floating_files_are_the_same_bytes_and_only_the_results_come_home(tmp_path: Path, local: Path) -> None:
    work = _copy(tmp_path, "floating")
    said = _run(work, "--profile", "profiles/floating")

    whole, here = _digests(local), _digests(work)
    assert {"results/variants.tsv", "results/variants.svg"} <= set(here)
    there = {name: digest for site in ("hpc", "cloud") for name, digest in _digests(work / "sites" / site).items()}
    assert {**there, **here} == whole
    bams = {name for name in whole if name.endswith(".bam")}
    assert bams <= set(there)
    assert not bams & set(here)
    assert "hpc: 16 jobs" in said
    assert "cloud: 4 jobs" in said
    assert "Nothing to be done" in _run(work, "--profile", "profiles/floating")


def _ssh(hosts: SshHosts, number: int) -> str:
    return f"""
    type: ssh
    workdir: /srv/run
    config:
      nodes: [{hosts.hosts[number]}]
      username: root
      sshKey: {hosts.key}
      knownHosts: {hosts.known_hosts}
      env: {{PATH: "{Path(sys.executable).parent}:/usr/bin:/bin"}}"""


def _container(engine: DockerEngine, image: str) -> str:
    """A container that sees this machine's programs and libraries, read-only, and none of its data."""
    shown = {"/usr", "/bin", "/lib", "/lib64", sys.base_prefix, sys.prefix}
    volumes = "".join(f'\n        - "{folder}:{folder}:ro"' for folder in sorted(shown) if os.path.isdir(folder))
    return f"""
    type: docker
    workdir: /srv/run
    config:
      image: {image}
      pull: never
      dockerHost: "{engine.address}"
      env: {{PATH: "{Path(sys.executable).parent}:/usr/bin:/bin"}}
      volume:{volumes}"""


@pytest.fixture(scope="module")
def hosts_with_python() -> Iterator[SshHosts]:
    """Two hosts that have this machine's Python, wherever it is."""
    with SshHosts(2, masked=("srv",)) as hosts:
        yield hosts


@pytest.mark.parametrize("pair", ["ssh ssh", "docker docker", "ssh docker"])
def test_ssh_hosts_and_containers_make_the_same_bytes_as_the_local_executor(
    pair: str,
    tmp_path: Path,
    local: Path,
    hosts_with_python: SshHosts,
    docker_engine: DockerEngine,
    busybox_image: str,
) -> None:
    work = _copy(tmp_path, "sites")
    hpc, cloud = (
        _ssh(hosts_with_python, number) if kind == "ssh" else _container(docker_engine, busybox_image)
        for number, kind in enumerate(pair.split())
    )
    bindings = (EXAMPLE / "streamflow.yml").read_text().partition("deployments:")[0]
    (work / "streamflow.yml").write_text(f"{bindings}deployments:\n  hpc:{hpc}\n  cloud:{cloud}\n")

    _run(work, "--executor", "streamflow", "--jobs", "4")

    assert _digests(work) == _digests(local)

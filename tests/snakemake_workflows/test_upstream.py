"""Snakemake's own test workflows at sites that share nothing with the controller."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ..servers.docker import DockerEngine, docker_engine  # noqa: F401
from ..servers.python_image import snakemake_image  # noqa: F401
from .upstream import LOCAL, Site, container, run, table

LISTS = yaml.safe_load((Path(__file__).parent / "workflows.yml").read_text())


def check(names: list[str], site: Site, listed: Collection[str]) -> None:
    outcomes = run([*names, *listed], site, expected=listed)
    failed = {name: outcomes[name] for name in names if outcomes[name].outcome != "passed"}
    idle = {name: outcomes[name] for name in names if not outcomes[name].jobs}
    passed = {name: outcomes[name] for name in listed if outcomes[name].outcome == "passed"}
    assert not failed, f"these used to pass:\n{table(failed)}"
    assert not idle, f"nothing of these ran at the site:\n{table(idle)}"
    assert not passed, f"these pass now, take them off the list:\n{table(passed)}"


@pytest.mark.timeout(1500)
def test_at_a_local_site() -> None:
    check(LISTS["site"], LOCAL, LISTS["not"])


@pytest.mark.timeout(900)
def test_in_containers(docker_engine: DockerEngine, snakemake_image: str) -> None:
    check(LISTS["container"], container(docker_engine.address, snakemake_image), LISTS["not_container"])


@pytest.mark.timeout(900)
def test_floating_at_a_local_site() -> None:
    check(LISTS["floating"], replace(LOCAL, floating=True), LISTS["not_floating"])


@pytest.mark.timeout(900)
def test_floating_in_containers(docker_engine: DockerEngine, snakemake_image: str) -> None:
    site = replace(container(docker_engine.address, snakemake_image), floating=True)
    check(LISTS["floating_container"], site, LISTS["not_container"])

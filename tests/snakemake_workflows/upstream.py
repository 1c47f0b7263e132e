"""Snakemake's own test workflows: fetched from the package index, and run at sites of ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from docker import DockerClient

HERE = Path(__file__).parent
CHUNK = 25
"""Tests of one pytest process."""
TIMEOUT_S = 120
"""Of one test."""

COMPANION = """\
version: v1.0
bindings:
  - {rule: "*", target: {deployment: site}}
deployments:
  site: {type: %s, workdir: WORKDIR, config: {%scores: 100, memory: 64GB}}
"""


@dataclass(frozen=True)
class Site:
    """Where jobs go.

    Attributes:
        companion: the file that describes it; empty: the local executor runs everything. WORKDIR in it stands for a
            fresh folder for each test, CONTAINER for the container.
        engine: the address of a Docker engine; empty: there is no container.
        image: that the container is made of: one for each pytest process, without network.
        floating: what jobs make stays there.
    """

    companion: str
    engine: str = ""
    image: str = ""
    floating: bool = False

    @contextmanager
    def up(self, folder: Path) -> Iterator[dict[str, str]]:
        """Write the companion file, start the container; give the environment that `at_sites.py` reads."""
        file, container = folder / "streamflow.yml", None
        with ExitStack() as stack:
            if self.engine:
                client = stack.enter_context(closing(DockerClient(base_url=self.engine, timeout=60)))
                container = client.containers.run(self.image, ["sleep", "86400"], detach=True, network="none")
                stack.callback(container.remove, force=True, v=True)
            name = container.name if container else ""
            file.write_text(self.companion.replace("CONTAINER", name))
            yield {
                "STREAMFLOW_SITE": str(file) if self.companion else "",
                "STREAMFLOW_CONTAINER": name,
                "STREAMFLOW_ENGINE": self.engine,
                "STREAMFLOW_FLOATING": "yes" if self.floating else "",
            }


HERE_ONLY = Site("")
LOCAL = Site(COMPANION % ("local", ""))


def container(engine: str, image: str) -> Site:
    """Return a site in a container whose Python has Snakemake, without network and without a folder of this machine."""
    return Site(
        COMPANION % ("docker", f"containerId: CONTAINER, dockerHost: '{engine}', python: python3, "), engine, image
    )


@dataclass(frozen=True)
class Outcome:
    """How one test ended: `passed`, `failed` or `skipped`; how many jobs ran at the site; why not, if not."""

    outcome: str
    jobs: int
    seconds: float
    why: str = ""


def source() -> Path:
    """Return the folder of Snakemake's source, of the version that is installed; downloaded once."""
    name = f"snakemake-{version('snakemake')}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "snakemake-streamflow-tests")
    if not (cache / name / "tests").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            wanted = name.replace("-", "==")
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps", wanted]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            with tarfile.open(Path(folder, f"{name}.tar.gz")) as archive:
                archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            os.rename(Path(folder, name), cache / name)
    return cache / name


def names() -> list[str]:
    """Return the names of all tests that run workflows."""
    text = (source() / "tests" / "tests.py").read_text()
    return sorted(set(re.findall(r"^(?:async )?def (test\w+)\(", text, re.MULTILINE)))


def run(tests: Iterable[str], site: Site, *, at_once: int = 3, expected: Collection[str] = ()) -> dict[str, Outcome]:
    """Run tests at a site. Blocks for minutes.

    Args:
        expected: tests that are known to fail: they get no second chance.
    """
    wanted = list(tests)
    size = min(CHUNK, -(-len(wanted) // at_once))
    chunks = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    with ThreadPoolExecutor(at_once) as pool:
        done = list(pool.map(lambda chunk: run_chunk(chunk, site), chunks))
    found = {name: outcome for outcomes in done for name, outcome in outcomes.items()}
    # Some count seconds: what failed beside others gets a second chance, alone.
    for name in [n for n, outcome in found.items() if outcome.outcome == "failed" and n not in expected]:
        found |= run_chunk([name], site)
    return found


def run_chunk(tests: Sequence[str], site: Site) -> dict[str, Outcome]:
    """Run some tests in one process. Those behind one that ends the process, or hangs in it, get another process."""
    found: dict[str, Outcome] = {}
    left = list(tests)
    while left:
        found |= _run(left, site)
        left = [name for name in tests if name not in found]
        if left and left != list(tests)[-len(left) :]:
            raise AssertionError(f"pytest ran other tests than these: {left}")
        if left:
            found[left.pop(0)] = Outcome("failed", 0, 0.0, "the test process ended")
    return found


def _run(tests: Sequence[str], site: Site) -> dict[str, Outcome]:
    with tempfile.TemporaryDirectory(prefix="streamflow-upstream-") as name, site.up(Path(name)) as told:
        folder = Path(name)
        outcomes = folder / "outcomes"
        outcomes.touch()
        env = {k: v for k, v in os.environ.items() if k not in ("SNAKEMAKE_PROFILE", "PYTEST_ADDOPTS")}
        env |= told | {"PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "STREAMFLOW_OUTCOMES": str(outcomes)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "at_sites", "-p", "no:cacheprovider", "-o", "addopts="]
        command += ["--timeout", str(TIMEOUT_S), *(f"tests/tests.py::{name}" for name in tests)]
        with (folder / "log").open("wb") as log:
            subprocess.run(
                command, cwd=source(), env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
        found: dict[str, Outcome] = {}
        for line in outcomes.read_text().splitlines():
            value = json.loads(line)
            test = value.pop("test").partition("[")[0]
            if test not in found or value["outcome"] == "failed":
                found[test] = Outcome(**value)
    return found


def table(outcomes: Mapping[str, Outcome]) -> str:
    """Return one line for each test."""
    return "\n".join(
        f"{name:60} {o.outcome:8} {o.jobs:4} {o.seconds:6.1f} {o.why.strip().splitlines()[-1][:120] if o.why else ''}"
        for name, o in sorted(outcomes.items())
    )

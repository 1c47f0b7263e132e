"""Snakemake's own test workflows: fetched from the package index, and run at sites of ours.

python -m tests.snakemake_workflows.upstream local          all of them, with the local executor
python -m tests.snakemake_workflows.upstream site           all of them, at a site of this machine
python -m tests.snakemake_workflows.upstream floating       the same, with files that stay at the site
python -m tests.snakemake_workflows.upstream site NAME ...  some of them
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import yaml

HERE = Path(__file__).parent
CHUNK = 10
"""Tests of one pytest process."""
TIMEOUT_S = 120
"""Of one test."""

LOCAL_SITE = """\
version: v1.0
bindings:
  - {rule: "*", target: {deployment: site}}
deployments:
  site: {type: local, workdir: WORKDIR, config: {cores: 100, memory: 64GB}}
"""


def container_site(engine: str, image: str, keep: str = "") -> str:
    """Return the companion file of a site in a container whose Python has Snakemake, without network.

    Args:
        keep: a folder of this machine that has the site's files, also when the container has gone.
    """
    config = f"image: '{image}', dockerHost: '{engine}', network: [none], python: python3, cores: 100, memory: 64GB"
    config += f", volume: ['{keep}:/root/work']" if keep else ""
    return (
        'version: v1.0\nbindings:\n  - {rule: "*", target: {deployment: site}}\n'
        f"deployments:\n  site: {{type: docker, workdir: /root/work, config: {{{config}}}}}\n"
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


def run(
    tests: Iterable[str],
    companion: str | None,
    *,
    floating: bool = False,
    at_once: int = 2,
    expected: Collection[str] = (),
) -> dict[str, Outcome]:
    """Run tests, at the site that a companion file describes, or with the local executor. Blocks for minutes.

    Args:
        expected: tests that are known to fail: they get no second chance.
    """
    wanted = list(tests)
    with tempfile.TemporaryDirectory(prefix="streamflow-upstream-") as folder:
        site = Path(folder)
        (site / "streamflow.yml").write_text(companion or "")
        chunks = [wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)]
        with ThreadPoolExecutor(at_once) as pool:
            done = list(pool.map(lambda chunk: _run(chunk, site if companion else None, floating), chunks))
        found = {name: outcome for outcomes in done for name, outcome in outcomes.items()}
        # Some count seconds: what failed beside others gets a second chance, alone.
        for name in [n for n, outcome in found.items() if outcome.outcome == "failed" and n not in expected]:
            found |= _run([name], site if companion else None, floating)
    return found


def _run(tests: Sequence[str], site: Path | None, floating: bool) -> dict[str, Outcome]:
    """Run some tests in one process. One that ends the process, or hangs in it, takes those behind it along."""
    with tempfile.TemporaryDirectory(prefix="streamflow-upstream-") as folder:
        outcomes = Path(folder, "outcomes")
        outcomes.touch()
        env = {k: v for k, v in os.environ.items() if k not in ("SNAKEMAKE_PROFILE", "PYTEST_ADDOPTS")}
        env |= {
            "PYTHONPATH": f"{HERE}:{HERE.parents[1]}",
            "STREAMFLOW_SITE": str(site or ""),
            "STREAMFLOW_FLOATING": "yes" if floating else "",
            "STREAMFLOW_OUTCOMES": str(outcomes),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "at_sites", "-p", "no:cacheprovider", "-o", "addopts="]
        command += ["--timeout", str(TIMEOUT_S), *(f"tests/tests.py::{name}" for name in tests)]
        with Path(folder, "log").open("wb") as log:
            subprocess.run(
                command, cwd=source(), env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
        found: dict[str, Outcome] = {}
        for line in outcomes.read_text().splitlines():
            value = json.loads(line)
            name = value.pop("test").partition("[")[0]
            if name not in found or value["outcome"] == "failed":
                found[name] = Outcome(**value)
    missing = [name for name in tests if name not in found]
    if missing and len(tests) > 1:  # the process has died: each by itself
        found |= {name: outcome for one in missing for name, outcome in _run([one], site, floating).items()}
    return {name: found.get(name, Outcome("failed", 0, 0.0, "the test process ended")) for name in tests}


def table(outcomes: Mapping[str, Outcome]) -> str:
    """Return one line for each test."""
    return "\n".join(
        f"{name:60} {o.outcome:8} {o.jobs:4} {o.seconds:6.1f} {o.why.strip().splitlines()[-1][:120] if o.why else ''}"
        for name, o in sorted(outcomes.items())
    )


def compare() -> int:
    """Run all tests here and at a site, print the table, and return how many differ from what the lists say."""
    listed = yaml.safe_load((HERE / "workflows.yml").read_text())["not"]
    here = run(names(), None)
    able = [name for name, outcome in here.items() if outcome.outcome == "passed"]
    there = run(able, LOCAL_SITE, expected=listed)
    wrong = {name: outcome for name, outcome in there.items() if (outcome.outcome == "passed") == (name in listed)}
    at_site = sum(outcome.outcome == "passed" and outcome.jobs > 0 for outcome in there.values())
    print(table(there))
    print(f"\n{len(here)} tests, {len(able)} pass with the local executor; of these, at a site:")
    print(f"{len(able) - len(listed)} expected to pass, {at_site} passed that ran jobs there, {len(listed)} listed")
    print(f"{len(wrong)} other than expected\n{table(wrong)}")
    return len(wrong)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(bool(compare()))
    where, *some = sys.argv[1:]
    companion = None if where == "local" else LOCAL_SITE
    print(table(run(some or names(), companion, floating=where == "floating")))

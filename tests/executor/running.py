"""Run workflows as a user does: `snakemake` as a subprocess, in a directory of its own."""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .forked import forkserver

TWO_SITES = """\
version: v1.0
bindings:
  - {rule: "*_two", target: {deployment: two}}
  - {rule: "*", target: {deployment: one}}
deployments:
  one: {type: local, workdir: SITES/one, config: {cores: 4, memory: 8GB}}
  two: {type: local, workdir: SITES/two, config: {cores: 4, memory: 8GB}}
"""
"""Two sites with filesystems of their own; rules named `*_two` go to the second."""

FLOATING = [
    *("--default-storage-provider", "streamflow", "--default-storage-prefix", "streamflow://", "--shared-fs-usage"),
    *("persistence", "software-deployment", "sources", "source-cache", "software-deployment-cache"),
]
"""Files stay where they are made: what the profile in `examples/variant-calling/profiles` says."""

ONE_OR_TWO = TWO_SITES.replace("target: {deployment: one}", "target: [{deployment: one}, {deployment: two}]")


@dataclass(frozen=True)
class Run:
    """A run that has ended: exit code and all that it printed."""

    code: int
    text: str
    work: Path
    sites: Path

    def sent_mb(self, site: str) -> float:
        """Megabytes that the last line about a site says were sent there."""
        return self._moved(site, "sent there")

    def fetched_mb(self, site: str) -> float:
        """Megabytes that the last line about a site says were brought back."""
        return self._moved(site, "brought back")

    def jobs(self, site: str) -> int:
        """Jobs that ran at a site."""
        found = re.findall(rf"^streamflow: {re.escape(site)}: (\d+) jobs", self.text, re.MULTILINE)
        return int(found[-1]) if found else 0

    def _moved(self, site: str, what: str) -> float:
        found = re.findall(rf"^streamflow: {re.escape(site)}: .*?([\d.]+) MB {what}", self.text, re.MULTILINE)
        assert found, f"no such line about {site} in:\n{self.text}"
        return float(found[-1])


def write_workflow(tmp_path: Path, snakefile: str, companion: str | None, name: str = "work") -> Path:
    """Make the working directory and return it. SITES in either text stands for the folder of the sites."""
    work = tmp_path / name
    work.mkdir(parents=True, exist_ok=True)
    (work / "Snakefile").write_text(textwrap.dedent(snakefile).replace("SITES", str(tmp_path / "sites")))
    if companion is not None:
        (work / "streamflow.yml").write_text(companion.replace("SITES", str(tmp_path / "sites")))
    return work


def command(*args: str) -> list[str]:
    """Return the snakemake command line with this executor, unless `args` name another one."""
    base = [sys.executable, "-m", "snakemake", "--nocolor", "--latency-wait", "5"]
    if "--executor" not in args:
        base += ["--executor", "streamflow", "--jobs", "4", "--local-cores", "2"]
    return [*base, *args]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without what a surrounding session may have set."""
    drop = {"SNAKEMAKE_PROFILE", "TMPDIR", "TMP", "TEMP", "TEMPDIR"} | {
        n for n in os.environ if n.endswith("_NUM_THREADS")
    }
    return {**{k: v for k, v in os.environ.items() if k not in drop}, **(extra or {})}


def run_workflow(
    tmp_path: Path,
    snakefile: str,
    companion: str | None,
    *args: str,
    name: str = "work",
    prepare: Callable[[Path], None] | None = None,
    env: Mapping[str, str] | None = None,
    code: int | None = 0,
    timeout_s: float = 120,
) -> Run:
    """Write a workflow and run it. `code` is the exit code expected; None: any but 0."""
    work = write_workflow(tmp_path, snakefile, companion, name)
    if prepare is not None:
        prepare(work)
    return again(tmp_path, *args, name=name, env=env, code=code, timeout_s=timeout_s)


def again(
    tmp_path: Path,
    *args: str,
    name: str = "work",
    env: Mapping[str, str] | None = None,
    code: int | None = 0,
    timeout_s: float = 120,
) -> Run:
    """Run the workflow that is there."""
    work = tmp_path / name
    exit_code, text = forkserver().run(command(*args)[3:], work, environment(env), timeout_s)
    run = Run(exit_code, text.decode(errors="replace"), work, tmp_path / "sites")
    assert run.code == code if code is not None else run.code != 0, run.text
    return run


def same_as_local(
    tmp_path: Path,
    snakefile: str,
    *args: str,
    companion: str = TWO_SITES,
    prepare: Callable[[Path], None] | None = None,
    env: Mapping[str, str] | None = None,
    code: int | None = 0,
) -> Run:
    """Run a workflow at sites and with the local executor; both must end alike and leave the same files."""
    local = run_workflow(
        tmp_path,
        snakefile,
        None,
        "--executor",
        "local",
        "-c2",
        *args,
        name="local",
        prepare=prepare,
        env=env,
        code=code,
    )
    run = run_workflow(tmp_path, snakefile, companion, *args, prepare=prepare, env=env, code=code)
    assert tree(run.work) == tree(local.work), run.text
    return run


def tree(top: Path) -> dict[str, object]:
    """Return `{path: content}` of what a workflow made: bytes and mode bits of files, targets of symlinks."""
    found: dict[str, object] = {}
    for folder, folders, names in os.walk(top):
        where = Path(folder)
        folders[:] = [n for n in folders if n not in (".snakemake",)]
        for name in [*names, *(n for n in folders if (where / n).is_symlink())]:
            path = where / name
            if name in ("streamflow.yml", ".snakemake_timestamp"):
                continue
            key = str(path.relative_to(top))
            found[key] = (
                ("link", os.readlink(path)) if path.is_symlink() else (path.read_bytes(), oct(path.stat().st_mode))
            )
        found.update({str((where / n).relative_to(top)) + "/": None for n in folders})
    return found


def ran(sites: Path) -> Counter[str]:
    """Return which rules of those that note it in SITES/ran have run, and how often, since this was asked last."""
    file = sites / "ran"
    found = Counter(file.read_text().split()) if file.exists() else Counter()
    file.unlink(missing_ok=True)
    return found


def wait_until(condition: Callable[[], object], timeout_s: float = 30) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def processes(marker: str) -> list[int]:
    """Return the processes whose command line or environment holds a text; never this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) != os.getpid() and marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found

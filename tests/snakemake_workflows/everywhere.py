"""All of Snakemake's own test workflows: with the local executor, at a local site, in containers, in both modes.

What passes with the local executor runs at a local site, and what asks for jobs there, in containers.

python -m tests.snakemake_workflows.everywhere [--seconds N] [--modes MODE,...] [--write] [NAME ...]

What has been found is kept in `.snakemake-tests/`: a run that was interrupted, or whose N seconds are over, goes on
where it was; one that is complete starts anew, or, with names, runs these again. At the end stands the table; it goes
into `docs/snakemake-tests.md`, with --write also when there is more to do, and says so; the exit code is 1 when a
workflow does other than `workflows.yml` says.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import yaml

from ..servers.docker import DockerEngine
from ..servers.python_image import ensure_snakemake
from .upstream import HERE, HERE_ONLY, LOCAL, Outcome, Site, container, names, run_chunk, table

ROOT = HERE.parents[1]
MODES = {
    "local": "local executor",
    "site": "local site",
    "floating": "local site, floating",
    "container": "container",
    "floating_container": "container, floating",
}
FIRST = {"container": "site", "floating_container": "site"}
"""Modes in which only those tests run that ask for jobs in another one."""

CHUNK = 10
WORKERS = 2


class Record:
    """What is known of one mode: a file with a line for each test that was run; the last line of a test holds."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.file = folder / f"{mode}.jsonl"
        self.outcomes: dict[str, Outcome] = {}
        self._lock = threading.Lock()
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                value = json.loads(line)
                name = value.pop("test")
                self.outcomes[name] = Outcome(**value)

    def add(self, outcomes: Mapping[str, Outcome]) -> None:
        with self._lock, self.file.open("a") as stream:
            self.outcomes |= outcomes
            stream.writelines(json.dumps({"test": name, **asdict(one)}) + "\n" for name, one in outcomes.items())


def complete(record: Record, site: Site, wanted: list[str], listed: Mapping[str, str], until: float) -> bool:
    """Run what is not known yet; return whether all is known. What fails is run once more."""
    todo = [name for name in wanted if name not in record.outcomes]
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]

    def one(chunk: list[str]) -> None:
        if time.monotonic() < until:
            found = run_chunk(chunk, site)
            failed = [name for name, outcome in found.items() if outcome.outcome == "failed" and name not in listed]
            record.add(found | (run_chunk(failed, site) if failed else {}))

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, chunks))
    return all(name in record.outcomes for name in wanted)


@contextmanager
def sites(modes: list[str]) -> Iterator[dict[str, Site]]:
    """Give the site of each mode; the engine and the image are made when a mode needs them."""
    found = {"local": HERE_ONLY, "site": LOCAL, "floating": replace(LOCAL, floating=True)}
    if not any("container" in mode for mode in modes):
        yield found
        return
    with DockerEngine() as engine, tempfile.TemporaryDirectory() as folder:
        there = container(engine.address, ensure_snakemake(engine, Path(folder)))
        yield found | {"container": there, "floating_container": replace(there, floating=True)}


def unexpected(records: Mapping[str, Record], lists: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Outcome]]:
    """Return, for each mode, what passes although it is listed, and what fails although it is not."""
    able = passing(records["local"])
    return {
        mode: {
            name: outcome
            for name, outcome in record.outcomes.items()
            if name in able and (outcome.outcome == "passed") == (name in reasons(lists, mode))
        }
        for mode, record in records.items()
        if mode != "local"
    }


def reasons(lists: Mapping[str, Mapping[str, str]], mode: str) -> Mapping[str, str]:
    """Return what cannot pass in a mode, with the reasons."""
    floating = lists["not_floating"] if mode.startswith("floating") else {}
    return lists["not"] | floating | (lists["not_container"] if mode.endswith("container") else {})


def passing(record: Record) -> list[str]:
    return [name for name, outcome in record.outcomes.items() if outcome.outcome == "passed"]


def summary(records: Mapping[str, Record], lists: Mapping[str, Mapping[str, str]]) -> str:
    """Return the figures of all modes as a table in Markdown."""
    able = passing(records["local"])
    lines = [
        "| | tests | pass with jobs there | pass without a job for a site | cannot pass, listed | other | not run |",
        "|---|---|---|---|---|---|---|",
    ]
    odd = unexpected(records, lists)
    for mode, record in records.items():
        if mode == "local":
            lines.append(f"| {MODES[mode]} | {len(names())} | | {len(able)} | | | {len(left(records, mode))} |")
            continue
        known = {name: outcome for name, outcome in record.outcomes.items() if name in due(records, mode)}
        passed = [name for name, outcome in known.items() if outcome.outcome == "passed"]
        busy = [name for name in passed if known[name].jobs]
        listed = [name for name in known if name in reasons(lists, mode)]
        lines.append(
            f"| {MODES[mode]} | {len(due(records, mode))} | {len(busy)} | {len(passed) - len(busy)} "
            f"| {len(listed)} | {len(odd[mode])} | {len(left(records, mode))} |"
        )
    return "\n".join(lines)


def due(records: Mapping[str, Record], mode: str) -> list[str]:
    """Return what is to be run in a mode, as far as that is known: at first what asks for jobs."""
    if mode == "local":
        return names()
    first = records[FIRST.get(mode, "site")].outcomes
    busy = {name for name, outcome in first.items() if outcome.jobs}
    able = sorted(passing(records["local"]), key=lambda name: name not in busy)
    return [name for name in able if name in busy] if mode in FIRST else able


def left(records: Mapping[str, Record], mode: str) -> list[str]:
    """Return what has not been run in a mode."""
    return [name for name in due(records, mode) if name not in records[mode].outcomes]


def page(records: Mapping[str, Record], lists: Mapping[str, Mapping[str, str]]) -> str:
    """Return the page for the documentation: figures, and a line for each test that passes with the local executor."""
    lines = [
        "# Snakemake's own tests\n",
        f"What `make test-snakemake` found with Snakemake {version('snakemake')}: all tests that pass with the local "
        "executor, with everything bound to a site of this machine with a working directory of its own, and to a "
        "container without network and without a shared folder. The number is that of the jobs that ran there; – where "
        "the test asks for none: such tests are not run in containers.\n",
    ]
    if any(left(records, mode) for mode in records):
        lines.append("**This is not the whole of it**: the last column counts what has not been run.\n")
    lines += [
        summary(records, lists),
        "\n| test | " + " | ".join(MODES[mode] for mode in records if mode != "local") + " |",
        "|---|" + "---|" * (len(records) - 1),
    ]
    for name in sorted(passing(records["local"])):
        cells = [cell(records, mode, name) for mode in records if mode != "local"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("\nWhat cannot pass, and why:\n")
    for title, key in (
        ("at any site", "not"),
        ("where files float", "not_floating"),
        ("in containers", "not_container"),
    ):
        part = lists[key]
        lines += [f"| {title} | |", "|---|---|", *(f"| {name} | {why} |" for name, why in sorted(part.items())), ""]
    other = [name for name, outcome in records["local"].outcomes.items() if outcome.outcome != "passed"]
    lines.append(
        "What does not pass with the local executor either, where this was run, for want of the internet, conda, other "
        f"plugins or programs: {', '.join(sorted(other))}."
    )
    return "\n".join(lines) + "\n"


def cell(records: Mapping[str, Record], mode: str, name: str) -> str:
    outcome = records[mode].outcomes.get(name)
    if outcome is None:
        return "not run" if name in due(records, mode) else ""
    return (str(outcome.jobs) if outcome.jobs else "–") if outcome.outcome == "passed" else "no"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--modes", type=lambda text: text.split(","), default=list(MODES))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    until = time.monotonic() + args.seconds
    lists = yaml.safe_load((HERE / "workflows.yml").read_text())
    folder = ROOT / ".snakemake-tests" / version("snakemake")
    if (folder / "complete").exists() and not args.names:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "complete").unlink(missing_ok=True)
    records = {mode: Record(folder, mode) for mode in MODES}
    done = True
    with sites(args.modes) as places:
        for mode in args.modes:
            for name in args.names:
                records[mode].outcomes.pop(name, None)
            wanted = due(records, mode)
            listed = {} if mode == "local" else reasons(lists, mode)
            done = complete(records[mode], places[mode], wanted, listed, until) and done
            print(f"{MODES[mode]}: {len(records[mode].outcomes)} of {len(wanted)} workflows", flush=True)
    odd = unexpected(records, lists)
    for mode, outcomes in odd.items():
        if outcomes:
            print(f"\n{MODES[mode]}: other than workflows.yml says\n{table(outcomes)}")
    print(f"\n{summary(records, lists)}")
    if done and args.modes == list(MODES):
        (folder / "complete").touch()
    if args.write or (folder / "complete").exists():
        (ROOT / "docs" / "snakemake-tests.md").write_text(page(records, lists))
    return 3 if not done else int(any(odd.values()))


if __name__ == "__main__":
    sys.exit(main())

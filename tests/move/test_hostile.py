"""A location that lies about what it has: nothing is written outside of what was asked for."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.connect.local import LocalConnector
from snakemake_executor_plugin_streamflow.effects import effects, leads_elsewhere
from snakemake_executor_plugin_streamflow.errors import TransferError
from snakemake_executor_plugin_streamflow.model import Deployment, LocalOptions
from snakemake_executor_plugin_streamflow.move.entry import Entry, Item
from snakemake_executor_plugin_streamflow.move.here import Here
from snakemake_executor_plugin_streamflow.move.mover import copy
from snakemake_executor_plugin_streamflow.move.there import There
from snakemake_executor_plugin_streamflow.site import Site

from .test_gather import opens


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Folders `there`, with a directory `d`, and `here`; lying programs go to `bin`."""
    for name in ("bin", "here", "there/.streamflow/in", "there/d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "there/d/file").write_text("content")
    (tmp_path / "outside").write_text("secret")
    return tmp_path


def lie(top: Path, tool: str, text: str) -> None:
    """Put a program before the real one."""
    (top / "bin" / tool).write_text(f"#!/bin/sh\n{text}\n")
    (top / "bin" / tool).chmod(0o755)


async def fetch(top: Path) -> None:
    there = There("evil", PurePosixPath(top / "there"), opens(f"{top / 'bin'}:{os.environ['PATH']}"), 2)
    try:
        await copy(there, await there.list({"d": "d"}), Here("controller", top / "here"))
    finally:
        await there.close()


def present(top: Path) -> dict[str, str]:
    return {
        str(path.relative_to(top)): path.read_text()
        for path in sorted(top.rglob("*"))
        if path.is_file() and "/bin/" not in str(path)
    }


@pytest.mark.parametrize("name", ["../evil", "x/../../evil", "/TOP/evil", "link/evil", "file", "..", ""])
def test_names_that_lead_outside_are_refused(top: Path, name: str) -> None:
    lie(top, "find", rf"case $* in *-type*) exit;; esac; printf '.\0./file\0./%s\0' '{name.replace('TOP', str(top))}'")
    lie(top, "stat", "printf '41ed 0 1\n81a4 7 1\n81a4 7 1\n'; [ $# != 3 ] || exit; ")
    if name == "link/evil":
        os.symlink(top, top / "there/d/link")
    before = present(top)
    with pytest.raises(TransferError):
        asyncio.run(fetch(top))
    assert present(top) == before


@pytest.mark.parametrize("size", ["99999999999999", "8", "6"])
def test_a_size_that_is_not_true_is_noticed(top: Path, size: str) -> None:
    lie(top, "stat", f"[ $# = 7 ] && exec /usr/bin/stat \"$@\"; printf '41ed 0 1\\n81a4 {size} 1\\n'")
    before = present(top)
    with pytest.raises(TransferError):
        asyncio.run(fetch(top))
    assert present(top) == before


def test_a_link_to_what_is_only_here_is_refused(top: Path) -> None:
    item = Item("d", "d", (Entry("", "d", mode=0o755), Entry("key", "l", target=str(top / "outside"))))
    here = Here("controller", top / "here")

    async def receive(one: Item) -> None:
        source = Here("source", top / "there")
        await here.receive([one], source.stream([]))

    with pytest.raises(TransferError, match=r"refused d/key: it is a link to .*/outside, which is not there"):
        asyncio.run(receive(item))
    assert not list((top / "here").iterdir())
    (top / "here/own").write_text("own")
    for target in ("../own", "nowhere", str(top / "nowhere")):
        asyncio.run(receive(Item("d", "d", (Entry("", "d", mode=0o755), Entry("key", "l", target=target)))))
        assert os.readlink(top / "here/d/key") == target


def test_a_program_that_arrives_runs_as_who_starts_it(top: Path) -> None:
    (top / "there/d/file").chmod(0o6755)
    asyncio.run(fetch(top))
    assert (top / "here/d/file").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", ["./../evil", "/TOP/outside", "./.snakemake/streamflow/journal.db"])
def test_what_a_job_has_made_beside_its_outputs_is_below_the_working_directory(
    top: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    where = Deployment("evil", "local", LocalOptions(), workdir=PurePosixPath(top / "there"))
    local = LocalConnector(where, run="r", inner=None, log=logging.getLogger())
    lie(top, "find", rf"printf '%s\0' ./good '{name.replace('TOP', str(top))}'")
    monkeypatch.setenv("PATH", str(top / "bin"), prepend=":")

    async def check() -> None:
        (location,) = await local.locations(None)
        site = await Site.open(local, location, here=PurePosixPath(top / "here"), key="k", limit=2, log=print)
        Path(site.directory("job")).mkdir(parents=True)
        Path(site.directory("job"), "script").touch()
        with pytest.raises(TransferError, match="refused"):
            await effects(site, "job", ["."])
        await site.close()

    asyncio.run(check())


def test_what_belongs_to_snakemake_comes_home_only_from_folders_that_are_named() -> None:
    assert not leads_elsewhere(".snakemake/scripts/a.py", [".", ".snakemake/scripts"])
    assert leads_elsewhere(".snakemake/scripts/a.py", ["."])
    assert leads_elsewhere(".snakemake/scripts/../../../a", [".snakemake/scripts"])

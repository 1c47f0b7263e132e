"""The local connector: in place, and as sites of their own with each of the usual shells."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.conformance import ConformanceSuite
from snakemake_executor_plugin_streamflow.model import Deployment, LocalOptions


class TestInPlace(ConformanceSuite):
    """Jobs run in the workflow's own directory."""

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls) -> dict[str, Deployment]:
        return {"here": Deployment(name="here", type="local", options=LocalOptions())}


class Sites(ConformanceSuite):
    """Two sites, reached through a shell."""

    shell = ""

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Deployment]]:
        top = tmp_path_factory.mktemp("site")
        workdir = PurePosixPath(top / "work ünï")
        cls.env = {"PATH": cls.path(top / "bin")}
        small = top / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", small], check=True)
        cls.small = str(small)
        try:
            yield {"site": Deployment(name="site", type="local", options=LocalOptions(locations=2), workdir=workdir)}
        finally:
            subprocess.run(["umount", "-l", small], check=True)

    @classmethod
    def path(cls, folder: Path) -> str:
        """Make a folder in which `sh` is the shell, and return PATH."""
        folder.mkdir()
        program = shutil.which(cls.shell)
        assert program is not None
        (folder / "sh").symlink_to(program)
        return f"{folder}:/usr/local/bin:/usr/bin:/bin"


class TestDash(Sites):
    """sh is dash."""

    shell = "dash"


class TestBash(Sites):
    """sh is bash."""

    shell = "bash"


class TestBusybox(Sites):
    """There is nothing but busybox."""

    shell = "busybox"

    @classmethod
    def path(cls, folder: Path) -> str:
        folder.mkdir()
        program = shutil.which("busybox")
        assert program is not None
        for name in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
            (folder / name).symlink_to(program)
        return str(folder)

"""An Apptainer image for tests, made of this machine's bash and GNU tools.

Debian 12 has no package: `make test` runs `install-apptainer.sh`. Where there is no `apptainer` command all the same,
tests that need it are skipped, and say so: nothing of these containers is tested there.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .docker import Tree, add_gnu

MISSING = "NOT TESTED: this machine has no apptainer; install it with tests/servers/install-apptainer.sh"


@pytest.fixture(scope="session")
def apptainer_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SIF file."""
    if shutil.which("apptainer") is None:
        pytest.skip(MISSING)
    return make_image(tmp_path_factory.mktemp("apptainer"))


def make_image(folder: Path) -> Path:
    """Make a SIF file in a folder."""
    tree = Tree()
    add_gnu(tree)
    with tarfile.open(fileobj=io.BytesIO(tree.close())) as tar:
        tar.extractall(folder / "root", filter="fully_trusted")
    subprocess.run(["apptainer", "--silent", "build", folder / "tools.sif", folder / "root"], check=True)
    shutil.rmtree(folder / "root")
    return folder / "tools.sif"


@contextmanager
def small_folder(folder: Path) -> Iterator[Path]:
    """A folder on a filesystem of 8 MiB."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def instances() -> str:
    """What `apptainer instance list` prints."""
    return subprocess.run(["apptainer", "instance", "list"], capture_output=True, text=True, check=True).stdout

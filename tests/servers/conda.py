"""A channel and a `conda` command for tests. No channel and no conda can be had from the package indexes.

The command answers what Snakemake asks of conda; solving and installing is done by rattler, a real implementation of
both. Its `activate` does what matters of the real one: PATH and CONDA_PREFIX, for names and for folders.

from ..servers.conda import conda  # noqa: F401 - a fixture
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

_CONDA = """#!{python}
import asyncio, json, os, sys
from pathlib import Path

here = Path(__file__).resolve().parents[1]
args = sys.argv[1:]
with open(here / "calls", "a") as calls:
    print(*args, file=calls)


async def create(file, prefix):
    import rattler, yaml

    wanted = yaml.safe_load(Path(file).read_text())
    records = await rattler.solve(wanted["channels"], wanted["dependencies"], platforms=["noarch"])
    await rattler.install(records, target_prefix=prefix, cache_dir=here / "pkgs")


if args == ["info", "--json"]:
    print(json.dumps({{"platform": "linux-64", "conda_prefix": str(here)}}, indent=2))
elif args == ["--version"]:
    print("conda 25.1.0")
elif args[:3] == ["config", "--get", "channel_priority"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif args[:2] == ["env", "create"]:
    asyncio.run(create(args[args.index("--file") + 1], args[args.index("--prefix") + 1]))
    os._exit(0)  # rattler's threads end badly with the interpreter
elif args[:1] != ["clean"]:
    sys.exit(f"not known here: {{args}}")
"""
_ACTIVATE = """\
case $1 in */*) CONDA_PREFIX=$1;; *) CONDA_PREFIX=${BASH_SOURCE%/bin/*}/envs/$1;; esac
[ -d "$CONDA_PREFIX" ] || { echo "EnvironmentNameNotFound: $1" >&2; return 1; }
PATH=$CONDA_PREFIX/bin:$PATH; export PATH CONDA_PREFIX
"""


@dataclass(frozen=True)
class Conda:
    """Where it is installed, and a channel that holds the package `{tool}`, version 1.0.

    Its command `{tool}` prints `WHERE: FOLDER`, FOLDER being the name of the environment's. So does that of the
    environment `mine`, which is there.
    """

    base: Path
    channel: str
    tool: str = "streamflow-tool"

    def created(self) -> int:
        """How many environments were made."""
        calls = self.base / "calls"
        return calls.read_text().count("env create ") if calls.exists() else 0


def _program(where: str) -> bytes:
    return f'#!/bin/sh\n[ -z "${{PYTHONPATH-}}" ] && echo "{where}: ${{CONDA_PREFIX##*/}}"\n'.encode()


def _package(folder: Path, name: str) -> None:
    """Write a package with one command, in the older of conda's formats."""
    program, path = _program("channel"), f"bin/{name}"
    index = {"name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": "noarch"}
    entry = {"_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(program).hexdigest()}
    paths = {"paths_version": 1, "paths": [entry | {"size_in_bytes": len(program)}]}
    members = {path: program, "info/index.json": json.dumps(index), "info/paths.json": json.dumps(paths)}
    folder.mkdir(parents=True)
    with tarfile.open(folder / f"{name}-1.0-0.tar.bz2", "w:bz2") as archive:
        for member, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(member)
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def conda(tmp_path: Path) -> Conda:
    """A conda that is not in PATH."""
    from rattler.index import index_fs

    made = Conda(tmp_path / "conda", (tmp_path / "channel").as_uri())
    files = {
        "bin/conda": _CONDA.format(python=sys.executable).encode(),
        "bin/activate": _ACTIVATE.encode(),
        f"envs/mine/bin/{made.tool}": _program("mine"),
    }
    for name, content in files.items():
        file = made.base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o755)
    _package(tmp_path / "channel/noarch", made.tool)
    asyncio.run(index_fs(tmp_path / "channel"))
    return made

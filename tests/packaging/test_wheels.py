"""The two distributions: one with all modules, and an empty one for the name of the storage plugin."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
EMPTY = ROOT / "packaging" / "snakemake-storage-plugin-streamflow"
MAIN = "snakemake-executor-plugin-streamflow"


def project(folder: Path) -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return found


def build(folder: Path, target: Path) -> ZipFile:
    """Build the wheel of a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob("*.whl")
    return ZipFile(wheel)


def test_both_have_the_same_version() -> None:
    version = project(ROOT)["version"]
    assert project(EMPTY)["version"] == version
    assert project(EMPTY)["dependencies"] == [f"{MAIN}=={version}"]
    assert project(EMPTY)["requires-python"] == project(ROOT)["requires-python"]


def test_the_wheel_of_the_storage_plugin_has_no_modules(tmp_path: Path) -> None:
    with build(EMPTY, tmp_path) as wheel:
        assert all(".dist-info/" in name for name in wheel.namelist())
        (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        head = Parser().parsestr(wheel.read(metadata).decode())
    assert head["Name"] == "snakemake-storage-plugin-streamflow"
    assert head.get_all("Requires-Dist") == [f"{MAIN}=={head['Version']}"]


def test_the_wheel_has_every_module_and_the_command(tmp_path: Path) -> None:
    packages = ("snakemake_executor_plugin_streamflow", "snakemake_storage_plugin_streamflow")
    modules = {str(p.relative_to(ROOT)) for package in packages for p in (ROOT / package).rglob("*.py")}
    with build(ROOT, tmp_path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (scripts,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
        assert "snakemake-streamflow = snakemake_executor_plugin_streamflow.cli:main" in wheel.read(scripts).decode()
    assert {name for name in names if name.endswith(".py")} == modules
    assert {name.split("/")[0] for name in names} == set(packages)
    assert f"{packages[0]}/py.typed" in names

"""The rooms of the package import only rooms below them, and the top-level module stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import snakemake_executor_plugin_streamflow as package

ROOT = Path(package.__file__).parent
FLOORS = [
    {"errors", "model", "pace", "show"},
    {"config", "plan"},
    {"journal"},
    {"connect"},
    {"remote"},
    {"move", "jobs", "listed", "returning", "unaccepted"},
    {"site", "files", "settings"},
    {"sweeping", "aside"},
    {"sites", "place", "spec", "launching"},
    {"locate", "conformance", "finish", "effects"},
    {"removals"},
    {"staging", "errands", "remake"},
    {"runtime"},
    {"engine"},
    {"earlier", "keeping", "waiting", "elastic", "scaling", "tailored"},
    {"accounting"},
    {"driver"},
    {"checks"},
    {"executor", "cli"},
    {"__init__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports(file: Path) -> set[str]:
    """Rooms of ours that a file imports, also inside functions."""
    own = file.relative_to(ROOT).parts
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            package_path = list(own[: len(own) - node.level])
            full = [*package_path, *(node.module.split(".") if node.module else [])]
            found |= {full[0]} if full else {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda f: str(f.relative_to(ROOT)))
def test_a_room_imports_only_what_stands_below_it(file: Path) -> None:
    relative = file.relative_to(ROOT)
    room = relative.parts[0].removesuffix(".py")
    for other in imports(file) - {room}:
        assert FLOOR[other] < FLOOR[room], f"{relative} imports {other}"


def test_loading_the_plugin_imports_no_heavy_library() -> None:
    code = (
        "import sys, snakemake_executor_plugin_streamflow as p; p.Executor; "
        "heavy = 'asyncssh docker kubernetes websockets yaml sqlite3 asyncio'.split()\n"
        "print(sorted(m for m in heavy if m in sys.modules))"
    )
    alone = "import sys, snakemake_interface_executor_plugins.executors.real; " + code.split("; ")[-1]
    loaded, before = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
        for text in (code, alone)
    )
    assert loaded == before


def test_settings_have_defaults_and_help() -> None:
    import dataclasses

    for field in dataclasses.fields(package.ExecutorSettings):
        assert field.default is not dataclasses.MISSING
        assert field.metadata["help"]
        assert not (field.type is bool and field.default is True)

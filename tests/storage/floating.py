"""Run workflows whose files stay where they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..executor.running import FLOATING, TWO_SITES, Run, again, run_workflow

SITES = TWO_SITES.replace('{rule: "*", target: {deployment: one}}', '{rule: "*_one", target: {deployment: one}}')
"""Rules named `*_one` and `*_two` are bound; the others run on the controller."""


def floating(
    tmp_path: Path,
    snakefile: str,
    *args: str,
    companion: str = SITES,
    prepare: Callable[[Path], None] | None = None,
    code: int | None = 0,
) -> Run:
    """Write a workflow and run it in floating mode."""
    return run_workflow(tmp_path, snakefile, companion, *args, *FLOATING, prepare=prepare, code=code)


def once_more(tmp_path: Path, *args: str, code: int | None = 0) -> Run:
    """Run the workflow that is there in floating mode."""
    return again(tmp_path, *args, *FLOATING, code=code)


def files(top: Path) -> set[str]:
    """Return the paths of all files below a folder, but for those that Snakemake and the plugin keep for themselves."""
    own = (".snakemake", ".streamflow")
    found = (path.relative_to(top) for path in top.rglob("*") if path.is_file() or path.is_symlink())
    return {str(path) for path in found if path.parts[0] not in own and path.name != ".snakemake_timestamp"}


def no_copies(work: Path) -> bool:
    """Whether no local copy of a file is left."""
    return not [path for path in (work / ".snakemake" / "storage").rglob("*") if path.is_file()]

"""Files that a job has made without declaring them."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import TransferError, quote_tail
from .remote.job import Found
from .remote.quote import decode, quote, words
from .site import Site

_REFUSED = frozenset(("", ".", "..", ".streamflow", ".snakemake"))
_LEEWAY_S = 1
"""Times of files lag behind, and some know whole seconds only."""


async def effects(site: Site, job: str, folders: Sequence[str]) -> list[Found]:
    """Return the files below folders of a site that changed since a job there began, or shortly before.

    Some are those of other jobs. Paths are relative to the working directory, "." stands for it; what belongs to
    Snakemake is left out, but for folders that are named.

    Raises:
        TransferError, Unreachable: it cannot be found out.
    """
    folder = quote(site.directory(job))
    done = await site.shells.ask(
        f"""touch -d "@$(($(stat -c %Y {folder}/script) - {_LEEWAY_S}))" {folder}/since || exit 1
find {words(folders)} \\( -name .streamflow -o -name .snakemake \\) -prune -o -type f \\
  -newer {folder}/since -print0 2>/dev/null; :"""
    )
    if done.code:
        raise TransferError(f"{site.location.name}: cannot look for what {job} has made:\n{quote_tail(done.output)}")
    paths = [decode(name).removeprefix("./") for name in done.output.split(b"\0") if name]
    if bad := next((path for path in paths if leads_elsewhere(path, folders)), None):
        where = site.location.name
        raise TransferError(f"{where}: refused {bad!r}, which {job} is said to have made: it leads elsewhere")
    return [found for found in await site.store.stat(paths) if found.kind == "file"]


def leads_elsewhere(path: str, folders: Sequence[str]) -> bool:
    """Whether a path cannot be what `effects` looks for below some folders."""
    below = next((path.removeprefix(f"{folder}/") for folder in folders if path.startswith(f"{folder}/")), path)
    return not _REFUSED.isdisjoint(below.split("/"))

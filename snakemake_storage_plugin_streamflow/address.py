"""Which queries are valid, and what they mean."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from snakemake_interface_storage_plugins.io import WILDCARD_REGEX

SCHEME = "streamflow://"
PLAIN = f"{SCHEME}./"
"""How queries begin that Snakemake made of plain paths of the workflow: no deployment is called so."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


def why_invalid(query: str) -> str | None:
    """Return what is wrong with a query, with or without wildcards; None when nothing is."""
    if not query.startswith(SCHEME):
        return f"expected {SCHEME}DEPLOYMENT/absolute/path"
    if not query.removeprefix(SCHEME).strip("/"):
        return "expected a path"
    if "\0" in query:
        return "expected a path without NUL"
    return None


def why_no_address(query: str) -> str | None:
    """Return what is wrong with a query that is to be an address."""
    form = f"expected {SCHEME}DEPLOYMENT/absolute/path"
    plain = WILDCARD_REGEX.sub("w", query.removeprefix(SCHEME))
    holder, slash, path = plain.partition("/")
    if not _NAME.fullmatch(holder):
        return f"{form}, got {holder!r} for the deployment"
    if not slash or not path:
        return f"{form}, got no path"
    if "\n" in path:
        return f"{form}, got a path with a line break in it"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"{form} without empty parts, '.' and '..', got the part {part!r}"
    return None


def of_plain_path(query: str) -> str:
    """Return a query that Snakemake made of a plain path in a form that no address has."""
    return PLAIN + query.removeprefix(PLAIN).removeprefix(SCHEME)


def plain_path(query: str) -> str | None:
    """Return the plain path that a query means; None when it is an address."""
    return query.removeprefix(PLAIN) if query.startswith(PLAIN) else None


def local_suffix(query: str) -> str:
    """Path of the local copy, below a folder of the plugin's own; never outside of it."""
    path = plain_path(query)
    if path is None:
        return f"@at/{query.removeprefix(SCHEME)}"
    if path.startswith("/"):
        return f"@root{posixpath.normpath(path)}"
    if ".." not in path:
        return path
    return "/".join("@up" if part == ".." else part for part in path.split("/"))


class Names:
    """What the file of a query is called here."""

    __slots__ = ("folder", "path", "query")

    def __init__(self, prefix: Path, query: str) -> None:
        name = f"{prefix}/{local_suffix(query)}"
        self.query = query
        self.path = Path(name)
        self.folder = str(self.path).rpartition("/")[0]

"""Addresses of files at sites: `streamflow://DEPLOYMENT/abs/path`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from snakemake_interface_storage_plugins.io import WILDCARD_REGEX

SCHEME = "streamflow://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A deployment and an absolute path there."""

    deployment: str
    path: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.deployment}{self.path}"


def parse(query: str) -> Address:
    """Split a valid query."""
    deployment, _, path = query.removeprefix(SCHEME).partition("/")
    return Address(deployment, f"/{path}")


def why_invalid(query: str) -> str | None:
    """Return what is wrong with a query, with or without wildcards; None when it is an address."""
    form = f"expected {SCHEME}DEPLOYMENT/absolute/path"
    if not query.startswith(SCHEME):
        return (
            f"{form}; only addressed files are supported in this version, "
            "not paths below the working directory (--default-storage-provider streamflow)"
        )
    plain = WILDCARD_REGEX.sub("w", query.removeprefix(SCHEME))
    deployment, slash, path = plain.partition("/")
    if not _NAME.fullmatch(deployment):
        return f"{form}, got {deployment!r} for the deployment"
    if not slash or not path:
        return f"{form}, got no path"
    if "\0" in path or "\n" in path:
        return f"{form}, got a path with a line break or NUL in it"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"{form} without empty parts, '.' and '..', got the part {part!r}"
    return None

"""Addresses of files at sites."""

from __future__ import annotations

from dataclasses import dataclass

SCHEME = "streamflow://"
KEPT_HERE = ".snakemake/streamflow"
"""The folder of the controller for `kept_as`."""


@dataclass(frozen=True, slots=True)
class Address:
    """`streamflow://HOLDER/abs/path`: a deployment, or a named filesystem, and an absolute path there."""

    holder: str
    path: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.holder}{self.path}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Split the text of an address."""
        holder, _, path = text.removeprefix(SCHEME).partition("/")
        return cls(holder, f"/{path}")


def is_address(path: str) -> bool:
    """Whether a path, as the engine has it, is an address."""
    return path.startswith(SCHEME)


def kept_as(path: str, folder: str = ".streamflow") -> str:
    """Return where a copy of a file is below a working directory: `folder` holds those of addresses and absolute paths.

    Args:
        path: as the engine has it.
    """
    if is_address(path):
        address = Address.parse(path)
        return f"{folder}/at/{address.holder}{address.path}"
    return f"{folder}/abs{path}" if path.startswith("/") else path

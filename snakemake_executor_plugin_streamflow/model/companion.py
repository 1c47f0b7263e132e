"""The companion file, `streamflow.yml`, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath

from .deployment import Deployment


class Policy(StrEnum):
    """How one of several possible locations is chosen."""

    LOCALITY = "locality"
    SPREAD = "spread"
    PACK = "pack"
    RANDOM = "random"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a rule may go.

    Attributes:
        needs: services of the deployment that have to be ready before a job starts.
        nodes: of the allocation that a queue gives to a job of one location.
    """

    deployment: str
    service: str | None = None
    locations: int = 1
    workdir: PurePosixPath | None = None
    needs: tuple[str, ...] = ()
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Keep:
    """On how many filesystems outputs are to be, and, by names of filesystems or deployments, on which in any case."""

    replicas: int = 1
    on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """Rule patterns (fnmatch) or group names, and where they may go. The first binding that matches wins."""

    rules: tuple[str, ...]
    groups: tuple[str, ...]
    targets: tuple[Target, ...]
    policy: Policy = Policy.LOCALITY
    keep: Keep = Keep()


@dataclass(frozen=True, slots=True)
class NeededFile:
    """A file of this machine that a deployment reads; `where` is `file:line:column: path` of its name."""

    deployment: str
    path: Path
    where: str


@dataclass(frozen=True, slots=True)
class Companion:
    """A whole, valid companion file. `where` gives `file:line:column` of each binding, by its index."""

    path: Path
    bindings: tuple[Binding, ...] = ()
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    where: tuple[str, ...] = ()
    files: tuple[NeededFile, ...] = ()

    def holder(self, name: str) -> Deployment | None:
        """The deployment that an address means: the one of that name, else the first whose filesystem is called so."""
        found = self.deployments.get(name)
        if found is not None:
            return found
        named = (d for d in self.deployments.values() if d.filesystem is not None and d.filesystem.name == name)
        return next(named, None)

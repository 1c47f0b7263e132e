"""Deployments and the locations they offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

CONTROLLER = "controller"
"""Name of the filesystem that Snakemake's working directory is on."""


@dataclass(frozen=True, slots=True)
class Wraps:
    """The inner deployment (and service, when it has several) that a deployment goes through."""

    deployment: str
    service: str | None = None


@dataclass(frozen=True, slots=True)
class FilesystemSpec:
    """A filesystem that the user named: `name` is what locations share, `shared` prefixes that look the same there."""

    name: str
    shared: tuple[PurePosixPath, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on what we use of one deployment at once; None is no cap."""

    jobs: int | None = None
    cores: float | None = None
    memory_b: int | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry of `deployments:`.

    `options` is the dataclass that `model.OPTIONS[type]` names. `workdir` None means the connector's default. `limit_b`
    caps what the workflow's files take on each filesystem of its locations; None is no cap.
    """

    name: str
    type: str
    options: Any
    external: bool = False
    lazy: bool = True
    workdir: PurePosixPath | None = None
    wraps: Wraps | None = None
    filesystem: FilesystemSpec | None = None
    limits: Limits = Limits()
    limit_b: int | None = None

    @property
    def tailors(self) -> bool:
        """Whether it has no locations but those that are made for one task each, as large as that asks for."""
        return getattr(self.options, "per_task", None) is not None

    def may_have(self, filesystem: str) -> bool:
        """Whether a filesystem of that name may be one of its locations'."""
        named = self.filesystem is not None and self.filesystem.name == filesystem
        return named or filesystem.partition("/")[0] == self.name


@dataclass(frozen=True, slots=True)
class Mount:
    """`path` at a location shows `source_path` of the filesystem `source`."""

    path: PurePosixPath
    source: str
    source_path: PurePosixPath


@dataclass(frozen=True, slots=True)
class Request:
    """What one task needs of one location: cores, bytes, and named custom resources."""

    cores: float = 1
    memory_b: int = 0
    disk_b: int = 0
    custom: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Location:
    """One instance of a service: the unit that jobs are scheduled on.

    Attributes:
        name: unique in the run, `DEPLOYMENT/SERVICE/INSTANCE` or `DEPLOYMENT/INSTANCE`.
        host: what the connector calls it (host name, container id).
        filesystem: what it sees in common with others; its own `name` when private.
        workdir: absolute; jobs run in it, and relative paths are below it. None: a default below the home directory.
        cores, memory_b, disk_b: what jobs may use; None when unknown (then filled in by the preflight).
        custom: named resources, for instance {"gpu": 2}.
        shared: path prefixes that mean the same here and at the controller.
        mounts: bind mounts.
        address: what the other locations of its deployment reach it by, where that is not `host`.
    """

    name: str
    deployment: str
    service: str
    host: str
    filesystem: str
    workdir: PurePosixPath | None = None
    cores: float | None = None
    memory_b: int | None = None
    disk_b: int | None = None
    custom: Mapping[str, int] = field(default_factory=dict)
    shared: tuple[PurePosixPath, ...] = ()
    mounts: tuple[Mount, ...] = ()
    address: str = ""

    @property
    def reach(self) -> str:
        """A name or address that the other locations of its deployment reach it by."""
        return self.address or self.host

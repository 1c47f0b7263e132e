# ruff: noqa: RUF009 - option() returns a dataclasses.field
"""The sections of the companion file as they are written: what the parser reads and the JSON Schema describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ..model import Policy
from ..model.machine import option

VERSION = "v1.0"
WORKFLOW_TYPE = "snakemake"


_PATTERN = {"quoted": True, "what": "a name or pattern", "single": "a name or pattern"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSection:
    """Where a rule may go."""

    deployment: str | None = option("name of a deployment", name=True)
    model: str | None = option("StreamFlow's old word for deployment", name=True, deprecated=True)
    service: str | None = option("service of the deployment; may be left out when there is one", name=True)
    locations: int | None = option("how many locations the job gets at once (default: 1)", minimum=1)
    resources: int | None = option("StreamFlow's old word for locations", minimum=1, deprecated=True)
    workdir: PurePosixPath | None = option("directory at the location that jobs run in")
    needs: tuple[str, ...] | None = option(
        "services of the deployment that have to be ready before a job starts; it is told where they are",
        one=True,
        name=True,
        what="a service",
        single="a service",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingSection:
    """Which rules or groups go where. The first binding that matches a job wins."""

    rule: tuple[str, ...] | None = option(
        "rule name or shell-style pattern, or a list",
        one=True,
        name=True,
        quoted=True,
        what="a name or pattern",
        single="a name or pattern",
    )
    group: tuple[str, ...] | None = option(
        "group name or shell-style pattern, or a list",
        one=True,
        name=True,
        quoted=True,
        what="a name or pattern",
        single="a name or pattern",
    )
    target: tuple[TargetSection, ...] = option(
        "where these may go; several: see policy", one=True, required=True, single="a target"
    )
    policy: Policy = option("how one of several locations is chosen", Policy.LOCALITY)
    keep: tuple[str, ...] | None = option(
        "on how many filesystems outputs are, or `on NAME` (a deployment, filesystem, controller); both in a list",
        one=True,
        what="a number of filesystems or `on NAME`",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapsSection:
    """The deployment that everything goes through."""

    deployment: str | None = option("name of a deployment", required=True)
    service: str | None = option("service of that deployment", name=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesystemSection:
    """The filesystem that the locations of a deployment see."""

    name: str | None = option("deployments that give the same name see the same files", required=True)
    shared: tuple[PurePosixPath, ...] = option("prefixes that look the same wherever this name is given", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSection:
    """Caps on what is used of one deployment at once."""

    jobs: int | None = option("jobs at once", minimum=1)
    cores: float | None = option("cores at once", above=0)
    memory: int | None = option("memory at once", size=True, minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSection:
    """One execution environment."""

    type: str | None = option("which connector speaks to it", required=True)
    config: Any = option("options of the type")
    external: bool = option("never brought up or taken down by the plugin", False)
    lazy: bool = option("brought up when the first job needs it; false: at the start", True)
    workdir: PurePosixPath | None = option("directory at the locations that jobs run in")
    wraps: str | WrapsSection | None = option("deployment that everything of this one goes through", name=True)
    filesystem: str | FilesystemSection | None = option("what the locations see in common", name=True)
    limits: LimitsSection | None = option("caps on what is used at once")
    limit: int | None = option("how much the workflow's files may take on each filesystem", size=True, minimum=1)
    scheduling_policy: str | None = option("accepted for StreamFlow files; not used", alias="scheduling_policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSection:
    """A binding in StreamFlow's form."""

    step: str | None = option("/RULE, or / for every rule", name=True)
    port: str | None = option("not used: refused with a message", deprecated=True)
    target: tuple[TargetSection, ...] | None = option("where the rule may go", one=True, single="a target")
    filters: tuple[str, ...] = option("accepted for StreamFlow files; not used", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSection:
    """A workflow in StreamFlow's form."""

    type: str | None = option("snakemake", required=True)
    config: Any = option("accepted for StreamFlow files; not used")
    bindings: tuple[StepSection, ...] = option("steps and their targets", (), items="bindings")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionSection:
    """The whole file."""

    version: str | None = option("version of the file format", required=True, choices=(VERSION,))
    bindings: tuple[BindingSection, ...] = option(
        "which rules go where; the first that matches wins", (), items="bindings"
    )
    deployments: Mapping[str, DeploymentSection] = option("execution environments by name", {}, items="deployments")
    models: Mapping[str, DeploymentSection] = option("StreamFlow's old word for deployments", {}, deprecated=True)
    workflows: Mapping[str, WorkflowSection] = option("StreamFlow's form of bindings", {})

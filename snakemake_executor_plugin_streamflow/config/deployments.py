"""The `deployments:` section."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ..model import CONTROLLER, OPTIONS, Deployment, FilesystemSpec, Limits, Wraps
from .foreign import TYPES_NOT_YET
from .nodes import Document, Place
from .options import check_options, check_scaled, services_of
from .reader import Reader
from .sections import CompanionSection, DeploymentSection, FilesystemSection, LimitsSection, WrapsSection
from .wraps import cycle, not_held, refusal

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Declared:
    """A deployment as far as it could be read; `options` is None when they, or the type, are wrong.

    `files` are those that it reads at this machine, and where they are named.
    """

    section: DeploymentSection
    options: Any
    files: tuple[tuple[Place, str], ...] = ()


def read_deployments(document: Document, reader: Reader, file: CompanionSection) -> dict[str, Declared | None]:
    """Read and check all deployments; None stands for one that is no mapping."""
    found: dict[str, Declared | None] = {}
    for field, sections in (("deployments", file.deployments), ("models", file.models)):
        node = reader.node(file, field)
        for name in node.entries if node else ():
            if name in found and node:
                document.problem(node.key_place(name), "given in deployments too")
            elif not NAME.fullmatch(name) and node:
                document.problem(node.key_place(name), "expected a name of letters, digits, '.', '_' and '-'")
            elif name == CONTROLLER and node:
                document.problem(
                    node.key_place(name), "this name means the machine that Snakemake runs on: give it another one"
                )
            section = sections.get(name)
            before = len(reader.files)
            options = _options(reader, section) if section else None
            found[name] = Declared(section, options, tuple(reader.files[before:])) if section else None
    _check_wraps(reader, found)
    return found


def deployment(name: str, declared: Declared) -> Deployment:
    """Return the deployment that a section without mistakes describes."""
    section = declared.section
    limits = section.limits
    return Deployment(
        name=name,
        type=section.type or "",
        options=declared.options,
        external=section.external,
        lazy=section.lazy,
        workdir=section.workdir,
        wraps=_wraps(section),
        filesystem=_filesystem(section),
        limits=_limits(limits, declared.options),
        limit_b=section.limit,
    )


def _limits(limits: LimitsSection | None, options: Any) -> Limits:
    """Return the caps; a queue has one of its own on jobs."""
    found = Limits(limits.jobs, limits.cores, limits.memory) if limits else Limits()
    most: int | None = getattr(options, "max_concurrent_jobs", None)
    return found if most is None or (found.jobs or most) < most else replace(found, jobs=most)


def _wraps(section: DeploymentSection) -> Wraps | None:
    if isinstance(section.wraps, WrapsSection):
        return Wraps(section.wraps.deployment, section.wraps.service) if section.wraps.deployment else None
    return Wraps(section.wraps) if section.wraps else None


def _filesystem(section: DeploymentSection) -> FilesystemSpec | None:
    if isinstance(section.filesystem, FilesystemSection):
        return FilesystemSpec(section.filesystem.name or "", section.filesystem.shared)
    return FilesystemSpec(section.filesystem) if section.filesystem else None


def _options(reader: Reader, section: DeploymentSection) -> Any:
    """Read `config:`; None when the type is not known or a value is wrong."""
    _check_filesystem(reader, section)
    if section.type is None:
        return None
    if section.type in TYPES_NOT_YET:
        shown = reader.hint(section, "type", ())
        reader.problem(section, "type", f"not supported yet: expected {' or '.join(OPTIONS)}, {shown}")
        return None
    if section.type not in OPTIONS:
        names = (*OPTIONS, *TYPES_NOT_YET)
        shown = reader.hint(section, "type", names, "StreamFlow's")
        reader.problem(section, "type", f"expected {' or '.join(OPTIONS)}, {shown}")
        return None
    options = reader.section(reader.node_or_empty(section, "config"), OPTIONS[section.type])
    if options is None:
        return None
    check_options(reader, options)
    check_scaled(reader, options, external=section.external)
    return options if reader.all_sound(options) else None


def _check_filesystem(reader: Reader, section: DeploymentSection) -> None:
    named = section.filesystem
    owner, field = (named, "name") if isinstance(named, FilesystemSection) else (section, "filesystem")
    name = named.name if isinstance(named, FilesystemSection) else named
    if name and not NAME.fullmatch(name):
        shown = reader.hint(owner, field, ())
        reader.problem(owner, field, f"expected a name of letters, digits, '.', '_' and '-', {shown}")


def _check_wraps(reader: Reader, declared: dict[str, Declared | None]) -> None:
    wraps = {name: found for name, one in declared.items() if one and (found := _wraps(one.section))}
    chain = {name: inner.deployment for name, inner in wraps.items()}
    told: set[str] = set()
    for name, inner in wraps.items():
        outer = declared[name]
        assert outer is not None
        written = outer.section.wraps
        owner, field = (written, "deployment") if isinstance(written, WrapsSection) else (outer.section, "wraps")
        if inner.deployment not in declared:
            shown = reader.hint(owner, field, [other for other in declared if other != name], "declared")
            reader.problem(owner, field, f"expected the name of a deployment, {shown}")
            continue
        if names := cycle(name, chain):
            if name not in told:
                reader.problem(owner, field, f"deployments wrap each other in a circle: {' → '.join(names)}")
            told.update(names)
            continue
        target = declared[inner.deployment]
        if message := _unsuited(outer, target, inner):
            reader.problem(owner, field, message)
        if inner.service is not None and target and target.options is not None:
            message = wrong_service(reader, written, inner.service, inner.deployment, target)
            if message:
                reader.problem(written, "service", message)


def _unsuited(outer: Declared, target: Declared | None, inner: Wraps) -> str | None:
    """Return why a deployment cannot go through another one."""
    above, below = outer.section.type, target.section.type if target else None
    if target is None or above not in OPTIONS or below not in OPTIONS:
        return None
    return refusal(above, below) or (not_held(below, target.options, inner.service) if target.options else None)


def wrong_service(reader: Reader, owner: object, service: str, name: str, declared: Declared) -> str | None:
    """Return what is wrong with the `service` of `owner`, a section that names one of deployment `name`."""
    services = services_of(declared.options)
    if services is None or service in services:
        return None
    if not services:
        return f"deployment {name!r} (type {declared.section.type}) has no services: remove this key"
    return f"expected a service of deployment {name!r}, {reader.hint(owner, 'service', services)}"

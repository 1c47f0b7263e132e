"""The `bindings:` section, and what all forms of bindings share: targets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..model import CONTROLLER, Binding, Keep, Target
from .deployments import Declared, wrong_service
from .nearest import did_you_mean
from .nodes import Kind
from .options import gives_nodes, must_choose, services_of, size_of
from .reader import Reader
from .sections import BindingSection, FilesystemSection, TargetSection

Declarations = Mapping[str, Declared | None]
_COUNT = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
Placed = tuple[Binding, str]
"""A binding and its `file:line:column`."""


def read_bindings(
    reader: Reader, sections: Sequence[BindingSection], declared: Declarations, file: Path
) -> list[Placed]:
    """Check the bindings and return those without mistakes."""
    found = []
    for section in sections:
        given = [name for name in ("rule", "group") if reader.node(section, name)]
        if not given:
            reader.report(section, "expected rule or group, and target")
        for name in given:
            if reader.sound(section, name) and not getattr(section, name):
                reader.problem(section, name, "expected a name or pattern or a list, got nothing")
        targets = read_targets(reader, section.target or (), declared)
        for target in targets if len(targets) > 1 else ():
            options = getattr(declared[target.deployment], "options", None)
            if getattr(options, "per_task", None):
                reader.report(section, f"expected {target.deployment!r} as the only target: perTask makes locations")
        keep = _keep(reader, section, declared)
        binding = Binding(section.rule or (), section.group or (), targets, section.policy, keep)
        found.append((binding, where(reader, section, file)))
    return found


def read_targets(reader: Reader, sections: Sequence[TargetSection], declared: Declarations) -> tuple[Target, ...]:
    """Check targets against the deployments and return those without mistakes."""
    return tuple(target for section in sections if (target := _target(reader, section, declared)))


def where(reader: Reader, section: object, file: Path) -> str:
    """Return `file:line:column` of a section."""
    place = reader.place(section)
    return f"{file}:{place.line}:{place.column}"


def _target(reader: Reader, section: TargetSection, declared: Declarations) -> Target | None:
    name = _one_of(reader, section, "deployment", "model")
    count = _one_of(reader, section, "locations", "resources", required=False)
    if name is None:
        return None
    deployment = getattr(section, name)
    if deployment not in declared:
        if declared:
            shown = reader.hint(section, name, declared, "declared")
        else:
            shown = "but the file declares none: add it below `deployments:`"
        reader.problem(section, name, f"expected the name of a deployment, {shown}")
        return None
    found = declared[deployment]
    locations = getattr(section, count) if count else 1
    if found and found.options is not None:
        if section.service is not None:
            message = wrong_service(reader, section, section.service, deployment, found)
            if message:
                reader.problem(section, "service", message)
        elif names := must_choose(found.options):
            reader.report(section, f"expected a service of deployment {deployment!r}: {' or '.join(names)}")
        size, noun = size_of(found.options)
        if count and locations > size:
            shown = reader.hint(section, count, ())
            message = f"expected at most {size}, the number of {noun} of deployment {deployment!r}, {shown}"
            reader.problem(section, count, message)
        _check_needs(reader, section, deployment, found)
    nodes = locations if found and found.options is not None and gives_nodes(found.options) else 1
    return Target(
        deployment, section.service, 1 if nodes > 1 else locations, section.workdir, section.needs or (), nodes
    )


def _check_needs(reader: Reader, section: TargetSection, deployment: str, found: Declared) -> None:
    services, node = services_of(found.options), reader.node(section, "needs")
    if services is None or node is None or not reader.sound(section, "needs"):
        return
    if not services:
        reader.problem(section, "needs", f"deployment {deployment!r} (type {found.section.type}) has no services")
        return
    for name, one in zip(section.needs or (), node.items or [node], strict=True):
        if name not in services:
            hint = did_you_mean(name, services)
            one.problem(f"expected a service of deployment {deployment!r}: {' or '.join(services)}, got {name!r}{hint}")


def _keep(reader: Reader, section: BindingSection, declared: Declarations) -> Keep:
    """Read `keep`: numbers, of which the largest counts, and `on NAME`."""
    node = reader.node(section, "keep")
    replicas, on = 1, []
    names = dict.fromkeys((CONTROLLER, *declared, *_filesystems(declared)))
    for one in (node.items or [node]) if node and reader.sound(section, "keep") else ():
        if one.scalar is None or one.kind is Kind.NOTHING:
            continue
        text, shown = one.scalar.text.strip(), one.scalar.shown
        word, _, name = text.partition(" ")
        if _COUNT.fullmatch(text):
            replicas = max(replicas, int(text))
        elif word != "on":
            one.problem(f"expected a number of filesystems, 1 or more, or `on NAME`, got {shown}")
        elif name.strip() not in names:
            end = did_you_mean(name.strip(), names, "declared") if one.scalar.literal else ""
            one.problem(f"expected the name of a deployment or filesystem after `on`, got {shown}{end}")
        else:
            on.append(name.strip())
    return Keep(replicas, tuple(dict.fromkeys(on)))


def _filesystems(declared: Declarations) -> Iterator[str]:
    for one in declared.values():
        named = one.section.filesystem if one else None
        if name := named.name if isinstance(named, FilesystemSection) else named:
            yield name


def _one_of(reader: Reader, section: TargetSection, new: str, old: str, *, required: bool = True) -> str | None:
    """Return which of two names for the same is given and sound."""
    given = [name for name in (new, old) if reader.node(section, name)]
    if len(given) == 2:
        reader.problem(section, old, f"given twice, also as {new}")
    elif not given and required:
        reader.problem(section, new, "expected the name of a deployment, got nothing")
    elif given and reader.sound(section, given[0]):
        if getattr(section, given[0]) is not None:
            return given[0]
        if required:
            reader.problem(section, given[0], "expected the name of a deployment, got nothing")
    return None

"""Which binding a rule has, and which bindings cannot be meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from ..model import Binding, Companion
from ..model.queue_options import QueueOptions
from .nearest import nearest

_DEVICE = re.compile(r"(?:^|_)(?:gpu|tpu|npu|fpga)s?(?:$|_)")


def binding_for(companion: Companion, rule: str, group: str | None) -> Binding | None:
    """Return the first binding that names the rule or the group; None: the job runs on the controller."""
    for binding in companion.bindings:
        if _matches(binding.rules, rule) or (group is not None and _matches(binding.groups, group)):
            return binding
    return None


def check_rules(companion: Companion, rules: Collection[str], groups: Collection[str]) -> list[str]:
    """Return a warning, `file:line:column: text`, for each binding that has no effect in this workflow.

    Patterns that match no rule or group, and bindings whose rules and groups are all caught by earlier ones.
    """
    warnings = []
    caught_rules: set[str] = set()
    caught_groups: set[str] = set()
    for place, binding in zip(companion.where, companion.bindings, strict=True):
        for noun, patterns, names in (("rule", binding.rules, rules), ("group", binding.groups, groups)):
            warnings += [f"{place}: {text}" for text in _unmatched(noun, patterns, names)]
        own_rules = {rule for rule in rules if _matches(binding.rules, rule)}
        own_groups = {group for group in groups if _matches(binding.groups, group)}
        nothing_left = own_rules <= caught_rules and own_groups <= caught_groups
        if (own_rules or own_groups) and (nothing_left or caught_rules.issuperset(rules)):
            names = ", ".join(sorted(own_rules) + sorted(own_groups))
            warnings.append(f"{place}: this binding never applies: earlier ones already bind {names}; move it up")
        caught_rules |= own_rules
        caught_groups |= own_groups
    return warnings


def check_devices(companion: Companion, wishes: Mapping[str, Collection[str]]) -> list[str]:
    """Return a warning for each bound rule that asks for a device which no deployment of its targets declares.

    Resources that nobody declares are for Snakemake alone; of a graphics card that is hardly what was meant.

    Args:
        wishes: the names of the resources that each rule asks for.
    """
    warnings = []
    for rule, names in wishes.items():
        binding = binding_for(companion, rule, None)
        if binding is None:
            continue
        deployments = dict.fromkeys(target.deployment for target in binding.targets)
        options = [companion.deployments[name].options for name in deployments]
        if any(isinstance(each, QueueOptions) for each in options):
            continue  # a queue knows its devices itself
        declared = {name for each in options for name in getattr(each, "resources", ())}
        asked = [name for name in names if _DEVICE.search(name) and name not in declared]
        if asked and not any(getattr(each, "gpus", None) for each in options):
            name, where = asked[0], ", ".join(deployments)
            warnings.append(
                f"rule {rule} asks for {', '.join(asked)}, which {where} does not declare: it is not looked at when "
                f"its jobs are placed there. If there are any: `config: {{resources: {{{name}: 1}}}}`"
            )
    return warnings


def applies(binding: Binding, rules: Iterable[str], groups: Iterable[str]) -> bool:
    """Whether a binding names any of these rules and groups."""
    return any(_matches(binding.rules, rule) for rule in rules) or any(_matches(binding.groups, g) for g in groups)


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _unmatched(noun: str, patterns: Iterable[str], names: Collection[str]) -> list[str]:
    found = []
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            close = nearest(pattern, names)
            end = f"; did you mean {close!r}?" if close else ""
            found.append(f"no {noun} matches {pattern!r}{end}")
    return found

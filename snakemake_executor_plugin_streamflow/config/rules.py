"""Which binding a rule has, and which bindings cannot be meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from ..model import Binding, Companion
from .nearest import nearest


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

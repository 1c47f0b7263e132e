"""Whatever the file holds, reading it ends with values or with a ConfigError that can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snakemake_executor_plugin_streamflow.config import binding_for, check_rules
from snakemake_executor_plugin_streamflow.errors import ConfigError

from .reading import read

GUIDE = (Path(__file__).parents[2] / "docs" / "companion-file.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
ENVIRON = {"USER": "tops3cret-value", "N": "3"}
LINE = re.compile(r"streamflow\.yml:[1-9]\d*:[1-9]\d*: \S.*: \S.*")

WORDS = st.sampled_from(
    [
        "version",
        "v1.0",
        "bindings",
        "rule",
        "group",
        "target",
        "policy",
        "deployment",
        "model",
        "service",
        "locations",
        "resources",
        "workdir",
        "deployments",
        "type",
        "config",
        "external",
        "lazy",
        "wraps",
        "filesystem",
        "name",
        "shared",
        "limits",
        "limit",
        "keep",
        "on controller",
        "jobs",
        "cores",
        "memory",
        "workflows",
        "step",
        "port",
        "ssh",
        "docker",
        "local",
        "slurm",
        "nodes",
        "hostname",
        "tunnel",
        "image",
        "containerId",
        "replicas",
        "pull",
        "env",
        "services",
        "${USER}",
        "${NOPE}",
        "${N}",
        "${",
        "$$",
        "/a",
        "/",
        "~/x",
        "~",
        "4GB",
        "-1",
        "1e400",
        ".inf",
        ".nan",
        "0x_",
        "0b1",
        "1:20",
        "2001-99-99",
        "yes",
        "<<",
        "=",
        "*a",
        "&a",
        "!x",
        "!!int",
        "!!binary",
    ]
)
SCALARS = st.one_of(
    WORDS, st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(), st.binary(max_size=4)
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=5),
    max_leaves=12,
)


def check(text: str | bytes) -> None:
    problems: tuple[str, ...] | None = None
    try:
        found = read(text, ENVIRON)
    except ConfigError as error:
        problems = error.problems
    if problems is None:
        assert len(found.where) == len(found.bindings)
        check_rules(found, {"a", "align"}, {"g"})
        binding_for(found, "align", "g")
        return
    assert problems
    for problem in problems:
        assert LINE.fullmatch(problem), problem
        assert ENVIRON["USER"] not in problem


@given(st.text(alphabet=st.characters(), max_size=200))
@example("\ud800")
@example('"\\ud800": "\\ud800"')
@example("? [a]\n: b\n")
@example("? {}\n: b\n? !!int x\n: c\n1: 2\nnull: 3")
@example("!!map version: v1.0")
@example("%YAML 999.1\n---\na")
@example("version: v1.0\ndeployments: {a: {type: ssh, config: " + "{tunnel: " * 150 + "}" * 150 + "}}")
def test_any_text_is_read_or_refused_with_positions(text: str) -> None:
    check(text)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_positions(content: bytes) -> None:
    check(content)


@given(st.lists(WORDS | st.sampled_from([*":-?{}[],#|>'\"\n \t", ": ", "- ", "\n  ", "\n    "]), max_size=60))
def test_any_text_of_yaml_words_is_read_or_refused_with_positions(parts: list[str]) -> None:
    check("".join(parts))


@given(TREES)
def test_any_tree_is_read_or_refused_with_positions(tree: Any) -> None:
    check(yaml.safe_dump(tree, allow_unicode=True))


def paths(tree: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [prefix, *(path for key, value in pairs for path in paths(value, (*prefix, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Return an example of the guide with some values replaced, removed or given another name."""
    tree = yaml.safe_load(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(1, 3))):
        if not isinstance(tree, dict):
            break
        choices = [path for path in paths(tree) if path]
        if not choices:
            break
        *way, last = draw(st.sampled_from(choices))
        owner = tree
        for key in way:
            owner = owner[key]
        change = draw(st.sampled_from(["replace", "remove", "rename"]))
        if change == "replace":
            owner[last] = draw(TREES)
        elif change == "remove" or isinstance(owner, list):
            del owner[last]
        else:
            owner[draw(WORDS | st.just(f"{last}x"))] = owner.pop(last)
    return tree


@given(mutated(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_change_of_a_valid_file_is_read_or_refused_with_positions(tree: Any, flow: bool) -> None:
    check(yaml.safe_dump(tree, default_flow_style=flow, width=60))

"""Environment variables in values."""

from __future__ import annotations

import pytest

from .reading import deployments, one_problem, problems, read

SECRET = "hunter2-a-secret"


def test_variables_are_replaced_in_texts_numbers_and_booleans() -> None:
    text = deployments(
        "a:", "  type: ssh", "  config:", "    nodes: ['${H}.org']", "    retries: ${N}", "    checkHostKey: ${B}"
    )
    options = read(text, {"H": "host", "N": "5", "B": "false"}).deployments["a"].options
    assert (options.nodes, options.retries, options.check_host_key) == (("host.org",), 5, False)


def test_a_quoted_variable_is_a_number_where_one_is_expected_and_text_where_text_is() -> None:
    text = deployments('a: {type: ssh, config: {nodes: [a], retries: "${N}", username: "${N}", env: {E: "${B}"}}}')
    options = read(text, {"N": "5", "B": "yes"}).deployments["a"].options
    assert (options.retries, options.username, options.env) == (5, "5", {"E": "yes"})


@pytest.mark.parametrize("value", ["yes", "", "null", "5", "${N}", "~x", "a: b", "*a"])
def test_the_value_of_a_variable_in_text_is_taken_as_it_is(value: str) -> None:
    text = deployments('a: {type: ssh, config: {nodes: [a], username: "${V}"}}')
    assert read(text, {"V": value}).deployments["a"].options.username == value


def test_two_dollars_are_one_and_a_lone_one_stays() -> None:
    text = deployments('a: {type: local, config: {env: {A: "$$HOME", B: "$${X}", C: "$HOME"}}}')
    assert read(text).deployments["a"].options.env == {"A": "$HOME", "B": "${X}", "C": "$HOME"}


def test_an_unset_variable_is_named_with_its_position() -> None:
    text = deployments("a:", "  type: ssh", "  config: {nodes: [a], username: '${NOPE}'}")
    assert one_problem(text) == "5:36: deployments.a.config.username: the environment variable NOPE is not set"


@pytest.mark.parametrize("value", ["${}", "${A-b}", "${ A}", "${"])
def test_a_malformed_variable_is_a_mistake(value: str) -> None:
    text = deployments(f"a: {{type: ssh, config: {{nodes: [a], username: '{value}'}}}}")
    assert "expected ${NAME} for an environment variable" in one_problem(text)


def test_an_unquoted_variable_inside_of_braces_gets_a_hint() -> None:
    text = deployments("a: {type: ssh, config: {nodes: [${A}]}}")
    assert 'must be in quotes: "${NAME}"' in problems(text)[0]


@pytest.mark.parametrize(
    "line",
    [
        'a: {type: "${V}"}',
        'a: {type: local, config: {locations: "${V}"}}',
        'a: {type: local, config: {memory: "${V}"}}',
        'a: {type: local, workdir: "${V}"}',
        'a: {type: local, external: "${V}"}',
        'a: {type: local, filesystem: "${V} /"}',
        'a: {type: docker, wraps: "${V}", config: {image: i}}',
        'a: {type: docker, config: {image: i, pull: "${V}"}}',
        'a: {type: docker, config: {image: i, volume: "${V}"}}',
        'a: {type: docker, config: "${V}"}',
        'a: "${V}"',
        'a: {type: ssh, config: {nodes: "${V}"}}',
        'a: {type: ssh, config: {nodes: [a], tunnel: {hostname: b, hostKeys: "${V}"}}}',
        'a: {type: local, config: {env: ["${V}"]}}',
    ],
)
def test_a_message_shows_the_variable_and_never_its_value(line: str) -> None:
    (problem,) = problems(deployments(line), {"V": SECRET})
    assert SECRET not in problem
    assert "${V}" in problem or "env: expected" in problem


@pytest.mark.parametrize("key", ["deployment", "service", "locations", "workdir"])
def test_a_message_about_a_target_never_shows_the_value_of_a_variable(key: str) -> None:
    target = {"deployment": "d", key: "${V}"}
    written = ", ".join(f'{name}: "{value}"' for name, value in target.items())
    text = f"version: v1.0\nbindings: [{{rule: r, target: {{{written}}}}}]\ndeployments: {{d: {{type: local}}}}\n"
    found = problems(text, {"V": SECRET})
    assert found
    assert not any(SECRET in problem for problem in found)

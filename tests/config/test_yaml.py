"""What YAML itself can do wrong, and what of it works."""

from __future__ import annotations

import pytest

from .reading import deployments, one_problem, problems, read


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "\ufeff"])
def test_an_empty_file_is_told_what_is_expected(text: str) -> None:
    assert one_problem(text).startswith("1:1: version: expected v1.0, got")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: v1.0\nbindings: [", "2:12: yaml: "),
        ("version: v1.0\n\tbindings: []", "2:1: yaml: a tab cannot indent"),
        ('version: "\\U00110000"', "1:13: yaml: not a valid YAML value"),
        ("version: *x", "1:10: yaml: found undefined alias 'x'"),
        ("version: v1.0\n---\nversion: v1.0", "2:1: yaml: expected a single document"),
        ("a: b\x00c", "1:5: yaml: the character U+0000 is not allowed"),
        ("- version", "1:1: file: expected a mapping (version: ...), got a list"),
        ("version", "1:1: file: expected a mapping (version: ...), got text"),
        ("version: *\n", '1:11: yaml: a text that begins with * or & must be in quotes: "*"'),
        ("[" * 1000, "1:1: yaml: nested too deeply"),
    ],
)
def test_text_that_is_no_companion_file_is_reported_with_its_position(text: str, expected: str) -> None:
    assert one_problem(text).startswith(expected)


def test_a_file_of_megabytes_is_refused_at_once() -> None:
    assert one_problem("version: v1.0\n" + "#\n" * 10**6) == "1:1: file: expected a file of at most 1 MB"


def test_aliases_that_stand_for_millions_of_values_are_refused_at_once() -> None:
    more = "".join(f"x-{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    helm = "deployments: {a: {type: helm, config: {chart: x/y, values: {much: *a11}}}}\n"
    expected = "1:1: yaml: holds more than 100000 values, aliases written out"
    assert one_problem(f"version: v1.0\nx-0: &a0 [x]\n{more}{helm}") == expected


def test_bytes_that_are_not_utf_8_are_reported_with_their_position() -> None:
    assert one_problem(b"version: v1.0\n# caf\xe9\n") == "2:6: file: expected UTF-8 text, got the byte 0xe9"


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert read("\ufeffversion: v1.0").bindings == ()


def test_a_key_given_twice_is_reported_at_the_second_place() -> None:
    text = deployments("a: {type: local}", "a: {type: local}")
    assert one_problem(text) == "4:3: deployments.a: given twice, first in line 3"


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    found = read(
        """\
        version: v1.0
        x-base: &base {username: me, retries: 7}
        x-more: &more {retries: 9, nodes: [b]}
        deployments:
          a: {type: ssh, config: {<<: *base, nodes: [a], username: you}}
          b: {type: ssh, config: {<<: [*base, *more]}}
        """
    ).deployments
    a, b = found["a"].options, found["b"].options
    assert (a.username, a.retries, a.nodes) == ("you", 7, ("a",))
    assert (b.username, b.retries, b.nodes) == ("me", 7, ("b",))


@pytest.mark.parametrize(
    "text",
    [
        "&a {version: v1.0, <<: *a}",
        "version: v1.0\nx-a: &a {<<: *a}\nbindings: [*a]",
        deployments("a: {type: ssh, config: {nodes: [a], tunnel: &t {hostname: b, tunnel: *t}}}"),
    ],
)
def test_a_value_that_contains_itself_is_a_mistake(text: str) -> None:
    assert any("itself" in problem for problem in problems(text))


def test_aliases_of_aliases_do_not_take_exponential_time() -> None:
    lines = ["version: v1.0", "x-0: &a0 {k: v}"]
    for level in range(1, 60):
        lines.append(f"x-{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}")
    lines.append("deployments: {d: {type: ssh, config: {nodes: [a], services: *a59}}}")
    assert set(read("\n".join(lines)).deployments["d"].options.services) == {"k"}


@pytest.mark.parametrize("value", ["!!binary aGk=", "!secret x", "!!set {a}", "!x [a]"])
def test_tags_without_a_meaning_are_mistakes(value: str) -> None:
    text = deployments("a:", "  type: ssh", f"  config: {{nodes: [a], username: {value}}}")
    assert "has no meaning here" in one_problem(text)


def test_a_missing_file_is_a_mistake(tmp_path) -> None:
    from snakemake_executor_plugin_streamflow.config import read_companion
    from snakemake_executor_plugin_streamflow.errors import ConfigError

    with pytest.raises(ConfigError, match=r"none\.yml:1:1: file: cannot be read: No such file"):
        read_companion(tmp_path / "none.yml", {})


def test_files_below_the_present_directory_are_named_relative_to_it(tmp_path, monkeypatch) -> None:
    from snakemake_executor_plugin_streamflow.config import read_companion
    from snakemake_executor_plugin_streamflow.errors import ConfigError

    monkeypatch.chdir(tmp_path)
    (tmp_path / "streamflow.yml").write_text("version: 2")
    with pytest.raises(ConfigError) as caught:
        read_companion(tmp_path / "streamflow.yml", {})
    assert caught.value.problems == ("streamflow.yml:1:10: version: expected v1.0, got '2'",)

"""The `bindings:` and `workflows:` sections."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.model import Binding, Keep, Policy, Target

from .reading import bindings, one_problem, problems, read


def test_every_key_of_a_binding_is_read() -> None:
    found = read(
        bindings(
            "- rule: [x, y*]",
            "  group: g",
            "  policy: spread",
            "  target: [{deployment: farm, service: queue, locations: 2, workdir: /w}, {deployment: box}]",
            "- {rule: z, target: {model: farm, resources: 2}}",
        )
    )
    targets = (Target("farm", "queue", 2, PurePosixPath("/w")), Target("box"))
    assert found.bindings == (
        Binding(("x", "y*"), ("g",), targets, Policy.SPREAD),
        Binding(("z",), (), (Target("farm", None, 2),)),
    )
    assert [place.rpartition("streamflow.yml:")[2] for place in found.where] == ["6:5", "10:5"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2", Keep(2)),
        ("on controller", Keep(1, ("controller",))),
        ("[3, on box, on nas, on box]", Keep(3, ("box", "nas"))),
        ("'${N}'", Keep(2)),
    ],
)
def test_keep_is_a_number_or_names(written: str, expected: Keep) -> None:
    text = bindings(f"- {{rule: r, target: {{deployment: box}}, keep: {written}}}")
    text = text.replace("image: i}", "image: i}, filesystem: {name: nas}")
    assert read(text, {"N": "2"}).bindings[0].keep == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0", "keep: expected a number of filesystems, 1 or more, or `on NAME`, got '0'"),
        ("two", "got 'two'"),
        ("on bx", "after `on`, got 'on bx'; did you mean 'box'?"),
        ("on", "keep: expected a number of filesystems or `on NAME`, got a boolean: put on in quotes"),
        ("{on: box}", "keep: expected a number of filesystems or `on NAME`, got a mapping"),
        ("''", "got ''"),
        ("'on ${N}'", "got 'on ${N}'"),
    ],
)
def test_mistakes_in_keep(written: str, expected: str) -> None:
    found = problems(bindings(f"- {{rule: r, target: {{deployment: box}}, keep: {written}}}"), {"N": "secret"})
    assert len(found) == 1
    assert expected in found[0]
    assert "secret" not in found[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("- {target: {deployment: box}}", "6:5: bindings[0]: expected rule or group, and target"),
        ("- {rule: r}", "6:5: bindings[0].target: expected a target or a list, got nothing"),
        ("- {rule: r, target: []}", "bindings[0].target: expected a target or a list, got nothing"),
        ("- {rule: [], target: {deployment: box}}", "rule: expected a name or pattern or a list, got nothing"),
        ("- {rule: '', target: {deployment: box}}", "bindings[0].rule: expected a name or pattern, got an empty one"),
        ("- {rules: r, rule: r, target: {deployment: box}}", "unknown key 'rules'; did you mean 'rule'?"),
        (
            "- {rule: r, target: {deployment: bx}}",
            "6:36: bindings[0].target.deployment: expected the name of a deployment, ",
        ),
        ("- {rule: r, target: {deployment: bx}}", "got 'bx'; did you mean 'box'?"),
        ("- {rule: r, target: {service: s}}", "6:23: bindings[0].target.deployment: expected the name of a deployment"),
        ("- {rule: r, target: {deployment: box, model: box}}", "target.model: given twice, also as deployment"),
        ("- {rule: r, target: {deployment: box, service: s}}", "deployment 'box' (type docker) has no services"),
        ("- {rule: r, target: {deployment: farm, service: que}}", "got 'que'; did you mean 'queue'?"),
        (
            "- {rule: r, target: {deployment: farm, locations: 3}}",
            "at most 2, the number of nodes of deployment 'farm', got '3'",
        ),
        (
            "- {rule: r, target: {deployment: farm, locations: 0}}",
            "locations: expected a whole number of 1 or more, got '0'",
        ),
        ("- {rule: r, target: {deployment: box, workdir: w}}", "target.workdir: expected an absolute path"),
        (
            "- {rule: r, policy: lokality, target: {deployment: box}}",
            "random or order, got 'lokality'; did you mean 'locality'?",
        ),
        ("- 7", "6:5: bindings[0]: expected a mapping (rule: ...), got a number"),
    ],
)
def test_a_mistake_in_a_binding_is_reported_where_it_stands(line: str, expected: str) -> None:
    assert expected in one_problem(bindings(line))


def test_deployments_that_are_wrong_are_still_known_by_name() -> None:
    text = (
        "version: v1.0\nbindings: [{rule: r, target: {deployment: a, service: s, locations: 4}}]\ndeployments: {a: 4}"
    )
    assert one_problem(text) == "3:18: deployments.a: expected a mapping (type: ...), got a number"


def test_a_target_in_a_file_without_deployments_says_what_to_add() -> None:
    text = "version: v1.0\nbindings: [{rule: r, target: {deployment: a}}]"
    assert "the file declares none: add it below `deployments:`" in one_problem(text)


@pytest.mark.parametrize("version", ["1.0", "v2.0", "[v1.0]", "''"])
def test_the_version_must_be_the_one_that_is_known(version: str) -> None:
    assert one_problem(f"version: {version}").startswith("1:10: version: expected v1.0, got ")


def test_an_unknown_section_is_a_mistake_and_streamflow_sections_are_not() -> None:
    assert one_problem("version: v1.0\nbinding: []") == "2:1: binding: unknown key 'binding'; did you mean 'bindings'?"
    assert read("{version: v1.0, database: {type: x}, scheduling: 4, failureManager: [], x-mine: !y z}").bindings == ()


STREAMFLOW = """\
version: v1.0
bindings: [{{rule: first, target: {{deployment: here}}}}]
workflows:
  w:
    type: {type}
    config: {{file: Snakefile, anything: else}}
    bindings:
      - {binding}
      - {{step: /sub/align, target: [{{deployment: here}}], filters: [shuffle]}}
deployments: {{here: {{type: local, config: {{}}}}}}
"""


def test_steps_of_streamflow_are_bindings_and_everything_comes_last() -> None:
    found = read(STREAMFLOW.format(type="snakemake", binding="{step: /, target: {deployment: here}}"))
    assert [binding.rules for binding in found.bindings] == [("first",), ("align",), ("*",)]
    assert [place.rpartition("yml:")[2] for place in found.where] == ["2:12", "9:9", "8:9"]


def test_workflows_of_other_types_are_refused() -> None:
    message = one_problem(STREAMFLOW.format(type="cwl", binding="{step: /, target: {deployment: here}}"))
    assert message.startswith("5:11: workflows.w.type: expected snakemake, got 'cwl': only Snakemake workflows")


@pytest.mark.parametrize(
    ("binding", "expected"),
    [
        ("{port: /a, target: {deployment: here}}", "w.bindings[0].port: ports are not bound: remove this binding"),
        ("{step: /a, target: {deployment: her}}", "w.bindings[0].target.deployment: expected the name of a deployment"),
        ("{target: {deployment: here}}", "w.bindings[0].step: expected /RULE, or / for every rule"),
        ("{step: /a}", "w.bindings[0].target: expected a target or a list, got nothing"),
    ],
)
def test_a_mistake_in_a_step_is_reported_where_it_stands(binding: str, expected: str) -> None:
    found = problems(STREAMFLOW.format(type="snakemake", binding=binding))
    assert len(found) == 1
    assert found[0].startswith("8:")
    assert expected in found[0]

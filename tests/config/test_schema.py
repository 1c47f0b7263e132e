"""The JSON Schema."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from snakemake_executor_plugin_streamflow.config import json_schema
from snakemake_executor_plugin_streamflow.config.schema import FILE, text

from .reading import bindings, deployments, problems

ROOT = Path(__file__).parents[2]
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_the_file_is_current() -> None:
    command = "python -m snakemake_executor_plugin_streamflow.config.schema"
    assert (ROOT / FILE).read_text(encoding="utf-8") == text(), f"run: {command}"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "line",
    [
        "a: {type: ssh, config: {nodes: [h], retries: '${N}', ssh_key: k, max_connections: 2}}",
        "a: {type: local, config: {memory: 4gib, env: {A: 1, B: yes}, cores: 1.5}}",
        "a: {type: docker, config: {image: i, rm: true, entrypoint: sh}}",
    ],
)
def test_what_the_schema_must_accept(line: str) -> None:
    assert problems(deployments(line), {"N": "3"}) == []
    VALIDATOR.validate(yaml.safe_load(deployments(line)))


@pytest.mark.parametrize(
    "text",
    [
        "bindings: []",
        "version: 1.0",
        "{version: v1.0, binding: []}",
        deployments("a: {type: sssh}"),
        deployments("a: {config: {}}"),
        deployments("a: {type: ssh, config: {nodes: []}}"),
        deployments("a: {type: ssh, config: {nodes: [h], sshkey: k}}"),
        deployments("a: {type: ssh, config: {nodes: [h], retries: -1}}"),
        deployments("a: {type: ssh, config: {nodes: [{username: u}]}}"),
        deployments("a: {type: local, config: {memory: 4G}}"),
        deployments("a: {type: local, config: {cores: 0}}"),
        deployments("a: {type: local, workdir: w}"),
        deployments("a: {type: docker, config: {image: i, pull: maybe}}"),
        bindings("- {target: {deployment: box}}"),
        bindings("- {rule: r}"),
        bindings("- {rule: r, target: {deployment: box, locations: 0}}"),
        bindings("- {rule: r, policy: x, target: {deployment: box}}"),
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(text: str) -> None:
    assert not VALIDATOR.is_valid(yaml.safe_load(text))
    assert problems(text)

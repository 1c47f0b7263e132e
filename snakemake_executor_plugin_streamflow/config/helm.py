"""What the options of a Helm deployment say together, and whether this machine can do it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..model import HelmOptions
from .helm_set import content, set_one, set_values, typed
from .reader import Reader

RELEASE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LONGEST = 53
INSTALL = (
    "this machine has no helm: install helm 3.13 or newer (https://helm.sh), "
    "or `pip install snakemake-executor-plugin-streamflow[helm]`"
)

COMMAND_ONLY = (
    *("cascade", "content_cache", "dep_up", "dependency_update", "devel", "disable_openapi_validation", "enable_dns"),
    *("ca_file", "cert_file", "key_file", "keyring", "verify", "pass_credentials", "insecure_skip_tls_verify"),
    *("no_hooks", "post_renderer", "replace", "skip_crds", "skip_schema_validation", "take_ownership"),
    *("registry_config", "repository_config", "repository_cache", "wait_for_jobs"),
)
"""Options that the command line has and the library has not."""


def check_helm(reader: Reader, options: HelmOptions) -> None:
    """Note what contradicts itself, and what is not there."""
    _check_files(reader, options)
    _check_values(reader, options)
    name = options.release_name
    if name and reader.sound(options, "release_name") and not (RELEASE.fullmatch(name) and len(name) <= LONGEST):
        message = f"expected at most {LONGEST} small letters, digits, '-' and '.', a letter or digit first and last"
        reader.problem(options, "release_name", message)
    if options.in_cluster and (options.kubeconfig or options.kube_context) and reader.sound(options, "in_cluster"):
        reader.problem(options, "in_cluster", "contradicts kubeconfig and kubeContext")
    if options.in_cluster and options.kube_apiserver and reader.sound(options, "in_cluster"):
        reader.problem(options, "in_cluster", "contradicts kubeApiserver")
    for one, other in (("username", "password"), ("password", "username")):
        if getattr(options, one) and not getattr(options, other):
            reader.problem(options, one, f"expected {other} too")
    if options.password and options.username and not options.repo:
        reader.problem(options, "password", "expected repo too; for an oci:// registry use `helm registry login`")


def check_machine(reader: Reader, options: HelmOptions) -> None:
    """Note what this machine lacks; for deployments that a binding names."""
    if shutil.which("helm") is None:
        _check_library(reader, options)


def _check_files(reader: Reader, options: HelmOptions) -> None:
    chart = Path(options.chart or ".")
    if reader.sound(options, "chart") and chart.is_absolute():
        if not chart.exists():
            reader.problem(options, "chart", f"there is no {chart}")
        elif chart.is_dir() and not (chart / "Chart.yaml").exists():
            reader.problem(options, "chart", f"{chart} is no chart: it has no Chart.yaml")
    node = reader.node(options, "yaml_values")
    if node is not None and reader.sound(options, "yaml_values"):
        for file in options.yaml_values:
            if "://" not in file and not Path(file).is_file():
                node.problem(f"there is no file {file}")


def _check_values(reader: Reader, options: HelmOptions) -> None:
    lists: dict[str, Callable[[str], Any]] = {
        "command_line_values": typed,
        "string_values": str,
        "file_values": content,
    }
    for name, value in lists.items():
        text = getattr(options, name)
        if text and reader.sound(options, name):
            try:
                set_values({}, text, value)
            except ValueError as error:
                reader.problem(options, name, str(error))
    singles: dict[str, Callable[[str], Any]] = {"set_json": json.loads, "set_literal": str}
    for name, value in singles.items():
        for text in getattr(options, name):
            try:
                set_one({}, text, value)
            except ValueError as error:
                reader.problem(
                    options, name, "not valid JSON" if isinstance(error, json.JSONDecodeError) else str(error)
                )


def _check_library(reader: Reader, options: HelmOptions) -> None:
    if find_spec("helm_python") is None:
        reader.report(options, INSTALL)
        return
    for name in COMMAND_ONLY:
        if getattr(options, name):
            reader.problem(
                options, name, "needs the helm command, which is not on the PATH (helm-python-sdk cannot do it)"
            )
    if any("://" in file for file in options.yaml_values):
        reader.problem(options, "yaml_values", "URLs need the helm command, which is not on the PATH")

"""The `config:` of a Helm release. Names are StreamFlow's where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .bounds import Bounds
from .kubernetes_options import ClusterOptions
from .machine import option

WAITS = {"watcher": True, "legacy": True, "hookOnly": False}
"""Helm 4's words for waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelmOptions(ClusterOptions):
    """The pods of a release of a chart; each container of a pod is a location."""

    chart: str = option(
        "folder or archive of a chart, URL, oci:// reference, NAME in `repo`, or REPOSITORY/NAME of the local Helm",
        required=True,
        reference=True,
    )
    chart_version: str | None = option("version of the chart, or a range of them (default: the latest)")
    repo: str | None = option("URL of the repository that `chart` is in")
    release_name: str | None = option("name of the release (default: one of its own for each run)")
    create_namespace: bool = option("make the namespace when it is not there; it stays", False)
    kube_apiserver: str | None = option("URL of the cluster's API (default: the kubeconfig's)")
    kube_token: str | None = option("token to log in with")
    kube_as_user: str | None = option("user to act for")
    kube_as_group: tuple[str, ...] = option("groups to act for", (), one=True)
    kube_ca_file: str | None = option("certificates that the API's is checked with", path=True, read=True)
    kube_tls_server_name: str | None = option("name in the API's certificate", alias="kubeTLSServerName")
    kube_insecure_skip_tls_verify: bool = option(
        "do not check the API's certificate (dangerous)", False, alias="kubeInsecureSkipTLSVerify"
    )
    scale: Mapping[str, Bounds] = option(
        "CONTAINER: {min: N, max: N, idle: SECONDS}: its Deployment or StatefulSet has as many pods as jobs wait for",
        {},
    )
    values: Mapping[str, Any] = option("values of the chart, as in a values.yaml", {}, tree=True)
    yaml_values: tuple[str, ...] = option("files or URLs with values, later ones on top", (), reference=True, one=True)
    command_line_values: str | None = option("key1=value1,key2=value2, as `helm --set`")
    string_values: str | None = option("the same with texts only, as `helm --set-string`")
    file_values: str | None = option("key1=path1,key2=path2: contents of files, as `helm --set-file`")
    set_json: tuple[str, ...] = option("KEY=JSON, as `helm --set-json`", ())
    set_literal: tuple[str, ...] = option("KEY=TEXT, as `helm --set-literal`", ())
    wait: bool = option(
        "wait until everything is ready; also watcher, legacy (true), hookOnly (false)", True, words=WAITS
    )
    timeout: int = option("seconds to wait for that, or 5m, 1h30m", 300, minimum=1, duration=True)
    wait_for_jobs: bool = option("wait until Jobs of the chart have ended, too", False)
    dependency_update: bool = option("update missing dependencies of the chart first", False)
    dep_up: bool = option("older name of dependencyUpdate", False)
    devel: bool = option("development versions, too", False)
    description: str | None = option("description of the release")
    labels: str | None = option("labels of the release, key1=value1,key2=value2")
    no_hooks: bool = option("run no hooks", False)
    skip_crds: bool = option("make no custom resource definitions", False)
    skip_schema_validation: bool = option("do not check values against the chart's schema", False)
    disable_openapi_validation: bool = option("do not check objects against the cluster's schema", False)
    enable_dns: bool = option("templates may look up names", False)
    take_ownership: bool = option("take over objects that exist", False)
    replace: bool = option("use the name of a release that was uninstalled with its history kept", False)
    post_renderer: str | None = option("program (Helm 3) or plugin (Helm 4) that changes the rendered objects")
    post_renderer_args: tuple[str, ...] = option("its arguments", ())
    username: str | None = option("user at the repository")
    password: str | None = option("password there")
    pass_credentials: bool = option("send them to other hosts that the repository names, too", False)
    ca_file: str | None = option("certificates that the repository's is checked with", path=True)
    cert_file: str | None = option("client certificate for the repository", path=True)
    key_file: str | None = option("its key", path=True)
    insecure_skip_tls_verify: bool = option(
        "do not check the repository's certificate", False, alias="insecureSkipTLSVerify"
    )
    plain_http: bool = option("the registry speaks HTTP", False)
    verify: bool = option("check the signature of the chart", False)
    keyring: str | None = option("public keys for that", path=True)
    registry_config: str | None = option("file with credentials of registries", path=True)
    repository_config: str | None = option("file with repositories that Helm knows", path=True)
    repository_cache: str | None = option("folder with their indexes", path=True)
    content_cache: str | None = option("folder with downloaded charts (Helm 4)", path=True)
    burst_limit: int | None = option("requests to the API at once")
    queries_per_second: float | None = option("requests to the API in a second", above=0)
    cascade: str | None = option(
        "how dependents are deleted: background, foreground or orphan", choices=("background", "foreground", "orphan")
    )
    keep_history: bool = option("keep the history of the release when it is uninstalled", False)

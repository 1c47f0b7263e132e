"""The helm command: what it is told, how it is run. Versions 3.13 and newer, and 4."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import DeployError
from ..model import HelmOptions
from .helm_values import own_values
from .tool import run_tool

STATES = ("--deployed", "--failed", "--pending", "--superseded", "--uninstalling")
"""A release in any of these has its name; one that was uninstalled with its history kept needs `replace`."""

REPOSITORY = "streamflow"

FLAGS = {
    "create_namespace": "--create-namespace",
    "dep_up": "--dependency-update",
    "dependency_update": "--dependency-update",
    "devel": "--devel",
    "disable_openapi_validation": "--disable-openapi-validation",
    "enable_dns": "--enable-dns",
    "insecure_skip_tls_verify": "--insecure-skip-tls-verify",
    "no_hooks": "--no-hooks",
    "pass_credentials": "--pass-credentials",
    "plain_http": "--plain-http",
    "replace": "--replace",
    "skip_crds": "--skip-crds",
    "skip_schema_validation": "--skip-schema-validation",
    "take_ownership": "--take-ownership",
    "verify": "--verify",
    "wait_for_jobs": "--wait-for-jobs",
}
TEXTS = {
    "ca_file": "--ca-file",
    "cert_file": "--cert-file",
    "chart_version": "--version",
    "description": "--description",
    "key_file": "--key-file",
    "keyring": "--keyring",
    "post_renderer": "--post-renderer",
}
EVERYWHERE = {
    "burst_limit": "--burst-limit",
    "content_cache": "--content-cache",
    "kube_context": "--kube-context",
    "kubeconfig": "--kubeconfig",
    "queries_per_second": "--qps",
    "registry_config": "--registry-config",
    "repository_cache": "--repository-cache",
    "repository_config": "--repository-config",
}


class HelmCommand:
    """One release, by the helm command of this machine."""

    def __init__(self, options: HelmOptions, name: str, namespace: str) -> None:
        self._options = options
        self._name = name
        self._namespace = namespace

    async def there(self, labels: Mapping[str, str] | None = None) -> bool:
        """Tell whether there is a release of the name that carries these labels."""
        words = list_words(self._name, labels or {})
        return bool(json.loads(await self._run(words) or "[]"))

    async def install(self, labels: Mapping[str, str]) -> None:
        """Install the chart under the name. When cancelled, helm is ended first; the release may be there.

        Raises:
            DeployError: with helm's words.
        """
        with tempfile.TemporaryDirectory(prefix="streamflow-helm-") as folder:  # nobody else may enter it
            values = Path(folder, "values.yaml")
            _write(values, json.dumps(own_values(self._options)))
            repository: list[str] = []
            if self._options.password:
                repository = await self._log_in(Path(folder))
            await self._run([*install_words(self._options, self._name, labels, str(values)), *repository])

    async def manifest(self) -> str:
        """Return the objects of the release as YAML.

        Raises:
            DeployError: there is no such release, in helm's words.
        """
        return await self._run(["get", "manifest", self._name])

    async def uninstall(self) -> None:
        """Remove the release and its objects.

        Raises:
            DeployError: with helm's words.
        """
        await self._run(uninstall_words(self._options, self._name))

    def shown(self, *words: str) -> str:
        """Return a command about the release for people to type."""
        return " ".join(("helm", *words, self._name, *self._everywhere()))

    async def _log_in(self, folder: Path) -> list[str]:
        """Put the credentials of the repository where helm reads them: its command line is for everybody to see."""
        file = folder / "repositories.yaml"
        _write(file, yaml.safe_dump({"apiVersion": "", "repositories": [repository_entry(self._options)]}))
        words = ["--repository-config", str(file), "--repository-cache", str(folder / "cache")]
        await self._run(["repo", "update", *words])
        return words

    async def _run(self, words: Sequence[str]) -> str:
        helm = shutil.which("helm")
        if helm is None:
            raise DeployError("there is no helm on this machine any more")
        return await run_tool([helm, *self._everywhere(), *words], environment(self._options))

    def _everywhere(self) -> list[str]:
        return ["--namespace", self._namespace, *_texts(self._options, EVERYWHERE)]


def list_words(name: str, labels: Mapping[str, str]) -> list[str]:
    """Return the arguments that list a release of exactly this name; it may be in any state."""
    words = ["list", "--filter", f"^{name.replace('.', '[.]')}$", *STATES, "--output", "json"]
    return [*words, "--selector", ",".join(f"{key}={value}" for key, value in labels.items())] if labels else words


def install_words(options: HelmOptions, name: str, labels: Mapping[str, str], values: str) -> list[str]:
    """Return the arguments of `install`; `values` is the file with the options' own values."""
    chart = f"{REPOSITORY}/{options.chart}" if options.password else options.chart
    words = ["install", name, chart, "--timeout", f"{options.timeout}s", "--output", "json", "--hide-notes"]
    for file in options.yaml_values:
        words += ["--values", file]
    words += ["--values", values]
    words += dict.fromkeys(flag for name, flag in FLAGS.items() if getattr(options, name))
    words += _texts(options, TEXTS)
    if options.repo and not options.password:
        words += ["--repo", options.repo]
    for argument in options.post_renderer_args:
        words += ["--post-renderer-args", argument]
    if options.wait:
        words.append("--wait")
    own = ",".join(f"{key}={value}" for key, value in labels.items())
    return [*words, "--labels", f"{options.labels},{own}" if options.labels else own]


def uninstall_words(options: HelmOptions, name: str) -> list[str]:
    """Return the arguments of `uninstall`."""
    words = ["uninstall", name, "--timeout", f"{options.timeout}s"]
    if options.cascade:
        words += ["--cascade", options.cascade]
    words += ["--no-hooks"] if options.no_hooks else []
    return [*words, "--keep-history"] if options.keep_history else words


def repository_entry(options: HelmOptions) -> dict[str, Any]:
    """Return what a file of repositories says of the chart's."""
    return {
        "name": REPOSITORY,
        "url": options.repo,
        "username": options.username,
        "password": options.password,
        "caFile": options.ca_file or "",
        "certFile": options.cert_file or "",
        "keyFile": options.key_file or "",
        "insecure_skip_tls_verify": options.insecure_skip_tls_verify,
        "pass_credentials_all": options.pass_credentials,
    }


def environment(options: HelmOptions) -> dict[str, str]:
    """Return the environment of the command: what the companion file says is not overridden by it.

    Who we are is told there, too: a command line is for everybody to see.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HELM_KUBE", "HELM_NAMESPACE"))}
    given = {
        "HELM_KUBEAPISERVER": options.kube_apiserver,
        "HELM_KUBETOKEN": options.kube_token,
        "HELM_KUBEASUSER": options.kube_as_user,
        "HELM_KUBEASGROUPS": ",".join(options.kube_as_group),
        "HELM_KUBECAFILE": options.kube_ca_file,
        "HELM_KUBETLS_SERVER_NAME": options.kube_tls_server_name,
        "HELM_KUBEINSECURE_SKIP_TLS_VERIFY": "true" if options.kube_insecure_skip_tls_verify else None,
        "KUBECONFIG": os.devnull if options.in_cluster else None,
    }
    return kept | {name: value for name, value in given.items() if value}


def _texts(options: HelmOptions, flags: Mapping[str, str]) -> list[str]:
    given = {flag: getattr(options, name) for name, flag in flags.items()}
    return [word for flag, value in given.items() if value is not None for word in (flag, str(value))]


def _write(file: Path, text: str) -> None:
    """Write a file that only we may read, from its first byte on."""
    file.touch(mode=0o600)
    file.write_text(text, "utf-8")

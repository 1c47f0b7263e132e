"""Where the API server of a cluster is, and what shows who we are."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from kubernetes import client, config

from ..errors import DeployError
from ..model import ClusterOptions, HelmOptions

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(slots=True)
class Access:
    """How a cluster is reached.

    Attributes:
        configuration: the official client's; it renews tokens, and then forgets what was changed of the addresses.
        host: URL of the server; `server_name`: the name in its certificate, when that is another one.
        identity: headers that say for whom we act.
    """

    configuration: client.Configuration
    namespace: str
    host: str
    server_name: str | None
    proxy: str | None
    identity: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, options: ClusterOptions) -> Access:
        """Read the credentials, which takes a while.

        Raises:
            DeployError: they cannot be used.
        """
        found, namespace = _configuration(options)
        identity = _override(found, options) if isinstance(options, HelmOptions) else ()
        server_name, proxy = found.tls_server_name or None, found.proxy or None
        return cls(found, options.namespace or namespace, found.host, server_name, proxy, identity)

    def through(self, port: int) -> None:
        """From now on, go through a port of this machine."""
        parts = urlsplit(self.host)
        self.server_name = self.configuration.tls_server_name = self.server_name or parts.hostname
        self.proxy = self.configuration.proxy = None
        self.host = f"{parts.scheme}://127.0.0.1:{port}{parts.path}"

    def url(self, path: str, query: Sequence[tuple[str, Any]]) -> str:
        """Return the URL of a request."""
        return f"{self.host.rstrip('/')}{path}" + (f"?{urlencode(query)}" if query else "")

    def headers(self) -> list[tuple[str, str]]:
        """Return what shows who we are; a token that has expired is renewed, which takes a while."""
        given = self.configuration.auth_settings().values()
        token = [(one["key"], one["value"]) for one in given if one["in"] == "header" and one["value"]]
        return [*token, *self.identity]

    def tls(self) -> ssl.SSLContext | None:
        """Return how websockets are encrypted; None: not at all."""
        if not self.host.startswith("https"):
            return None
        found = self.configuration
        context = ssl.create_default_context(cafile=found.ssl_ca_cert)
        if not found.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if found.cert_file:
            context.load_cert_chain(found.cert_file, found.key_file)
        return context


def _configuration(options: ClusterOptions) -> tuple[client.Configuration, str]:
    """Read the credentials; return them and the namespace."""
    found = client.Configuration()
    found.connection_pool_maxsize = 32
    file = options.kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    there = any(Path(one).exists() for one in file.split(os.pathsep))
    try:
        if options.in_cluster or (not there and not options.kubeconfig and ACCOUNT.exists()):
            config.load_incluster_config(client_configuration=found)
            return found, (ACCOUNT / "namespace").read_text("utf-8").strip()
        if not there:
            if getattr(options, "kube_apiserver", None) and not options.kubeconfig:
                return found, "default"
            raise DeployError(f"no kubeconfig at {file}: name one by kubeconfig or KUBECONFIG, or say inCluster: true")
        config.load_kube_config(file, options.kube_context, client_configuration=found, persist_config=False)
        contexts, current = config.list_kube_config_contexts(file)
        wanted = options.kube_context or current["name"]
        context = next(one for one in contexts if one["name"] == wanted)["context"]
    except (config.ConfigException, OSError, ValueError, TypeError) as error:
        raise DeployError(f"the kubeconfig ({file}) cannot be used: {error}") from error
    return found, context.get("namespace") or "default"


def _override(found: client.Configuration, options: HelmOptions) -> tuple[tuple[str, str], ...]:
    """Have what Helm is told by options of its own; return whom we act for."""
    if options.kube_apiserver:
        found.host = options.kube_apiserver
    if options.kube_ca_file:
        found.ssl_ca_cert = options.kube_ca_file
    if options.kube_insecure_skip_tls_verify:
        found.verify_ssl = False
    if options.kube_tls_server_name:
        found.tls_server_name = options.kube_tls_server_name
    if options.kube_token:
        found.refresh_api_key_hook = None
        found.api_key = {"authorization": f"Bearer {options.kube_token}"}
        found.cert_file = found.key_file = None
    user = [("Impersonate-User", options.kube_as_user)] if options.kube_as_user else []
    return (*user, *(("Impersonate-Group", group) for group in options.kube_as_group))

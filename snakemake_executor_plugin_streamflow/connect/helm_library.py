"""Helm as a Python package, where there is no helm command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import helm_python

from ..errors import DeployError, quote_tail
from ..model import HelmOptions
from .helm_values import all_values

T = TypeVar("T")


class HelmLibrary:
    """One release, by helm-python-sdk: Helm 4."""

    def __init__(self, options: HelmOptions, name: str, namespace: str) -> None:
        self._options = options
        self._name = name
        self._namespace = namespace

    async def there(self, labels: Mapping[str, str] | None = None) -> bool:
        """Tell whether there is a release of the name that carries these labels."""
        wanted = (labels or {}).items()

        def look(helm: helm_python.Config) -> bool:
            found = helm.list(all_states=True, name_filter=f"^{re.escape(self._name)}$")
            return any(one["status"] != "uninstalled" and wanted <= one["labels"].items() for one in found)

        return await self._do(look)

    async def install(self, labels: Mapping[str, str]) -> None:
        """Install the chart under the name. When cancelled, Helm is stopped first; the release may be there.

        Raises:
            DeployError: with Helm's words.
        """
        options, token = self._options, helm_python.HelmContext()
        values = await asyncio.to_thread(all_values, options)
        own = dict(one.split("=", 1) for one in (options.labels or "").split(",") if "=" in one)

        def install(helm: helm_python.Config) -> None:
            with tempfile.TemporaryDirectory(prefix="streamflow-helm-") as folder:
                chart = self._pulled(folder) if options.password else options.chart
                helm.install(
                    chart,
                    self._name,
                    values,
                    context=token,
                    namespace=self._namespace,
                    timeout=options.timeout,
                    wait="watcher" if options.wait else "hookOnly",
                    create_namespace=options.create_namespace,
                    description=options.description,
                    labels={**own, **labels},
                    chart_repo_url=None if options.password else options.repo,
                    chart_version=None if options.password else options.chart_version,
                    plain_http=options.plain_http,
                )

        running = asyncio.ensure_future(self._do(install))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            token.cancel()
            while not running.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([running])
            running.exception()
            raise

    async def manifest(self) -> str:
        """Return the objects of the release as YAML.

        Raises:
            DeployError: there is no such release, in Helm's words.
        """
        return await self._do(lambda helm: str(helm.status(self._name)["manifest"]))

    async def uninstall(self) -> None:
        """Remove the release and its objects.

        Raises:
            DeployError: with Helm's words.
        """
        options = self._options
        await self._do(
            lambda helm: helm.uninstall(
                self._name, keep_history=options.keep_history, timeout=options.timeout, ignore_not_found=True
            )
        )

    def shown(self, *words: str) -> str:
        """Return a command about the release for people to type."""
        context = ("--kube-context", self._options.kube_context) if self._options.kube_context else ()
        return " ".join(("helm", *words, self._name, "--namespace", self._namespace, *context))

    def _pulled(self, folder: str) -> str:
        options = self._options
        helm_python.pull(
            options.chart,
            destination=folder,
            version=options.chart_version,
            repo_url=options.repo,
            username=options.username,
            password=options.password,
        )
        return str(next(Path(folder).glob("*.tgz")))

    async def _do(self, action: Callable[[helm_python.Config], T]) -> T:
        """Do something in a thread; a configuration serves one action at a time."""
        options = self._options

        def do() -> T:
            with helm_python.Config(
                kubeconfig_path=os.devnull if options.in_cluster else options.kubeconfig,
                kube_context=options.kube_context,
                kube_token=options.kube_token,
                kube_apiserver=options.kube_apiserver,
                kube_ca_file=options.kube_ca_file,
                kube_tls_server_name=options.kube_tls_server_name,
                kube_insecure_skip_tls_verify=options.kube_insecure_skip_tls_verify,
                kube_as_user=options.kube_as_user,
                kube_as_groups=list(options.kube_as_group) or None,
                burst_limit=options.burst_limit,
                qps=options.queries_per_second,
                namespace=self._namespace,
            ) as helm:
                return action(helm)

        try:
            return await asyncio.to_thread(do)
        except helm_python.HelmError as error:
            raise DeployError(quote_tail(str(error))) from error

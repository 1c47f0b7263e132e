"""The pods of a Helm release: installed, used, uninstalled."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Protocol

from ..errors import DeployError, SiteError
from ..model import HelmOptions
from .helm_command import HelmCommand
from .kubernetes_apply import Objects
from .kubernetes_manifests import Json, parse_manifests, pod_spec
from .kubernetes_pods import PodsConnector, selector
from .kubernetes_ready import hopeless, why
from .kubernetes_scale import workload_of
from .undisturbed import undisturbed

LOOK_S = 2.0
LONGEST_NAME = 53


class Release(Protocol):
    """One release, by the helm command or by the library."""

    async def there(self, labels: Mapping[str, str] | None = None) -> bool: ...
    async def install(self, labels: Mapping[str, str]) -> None: ...
    async def manifest(self) -> str: ...
    async def uninstall(self) -> None: ...
    def shown(self, *words: str) -> str: ...


class HelmConnector(PodsConnector):
    """Installs a chart, and uninstalls the release at the end."""

    options: HelmOptions
    _manifests: list[Json] | None = None

    async def deploy(self) -> None:
        """Install the chart; Helm waits until everything is ready.

        A release of the same name that somebody else installed is left alone: that is an error.
        """
        release = await self._release()
        if await release.there():
            if not await release.there(self.labels()):
                raise DeployError(
                    f"{self.deployment.name}: there is a release {self._name()} already: choose another releaseName, "
                    f"remove it with `{release.shown('uninstall')}`, or say `external: true` to use it"
                )
            await self.undeploy()
        self.log.debug(f"{self.deployment.name}: installing {self.options.chart} as {self._name()}")
        try:
            await self._install(release)
            if not any(pod_spec(one) for one in await self._objects(release)):
                raise DeployError(f"the chart {self.options.chart} makes no pods")
            for service in self.options.scale:
                workload_of(await self.manifests(), service)
        except BaseException as error:
            said = await self._why(release) if isinstance(error, DeployError) else ""
            await undisturbed(self._give_up())
            if isinstance(error, DeployError):
                message = f"{self.deployment.name}: release {self._name()} cannot be installed:\n{error}\n{said}"
                raise DeployError(message.rstrip(), transient=error.transient) from error
            raise

    async def undeploy(self) -> None:
        release = await self._release()
        try:
            if not await release.there(self.labels()):
                return
            pods: Sequence[Json] = ()
            if self.options.grace_period is not None:
                pods = await self.pods_of(await self._objects(release))
            await release.uninstall()
            if pods:
                marked = [{**pod, "apiVersion": "v1", "kind": "Pod"} for pod in pods]
                await Objects(self._cluster).delete(marked, grace_s=self.options.grace_period)
        except SiteError as error:
            message = f"something may be left: {error}\nRemove it with `{release.shown('uninstall')}`"
            raise DeployError(f"{self.deployment.name}: {message}", transient=error.transient) from error
        finally:
            self._manifests = None

    async def pods(self) -> Sequence[Json]:
        try:
            return await self.pods_of(await self._objects(await self._release()))
        except DeployError as error:
            message = f"{self.deployment.name}: the pods of release {self._name()} cannot be found: {error}"
            raise DeployError(message, transient=error.transient) from error

    async def manifests(self) -> list[Json]:
        return await self._objects(await self._release())

    def handle(self) -> str:
        return f"Helm release {self._name()} with label {selector(self.labels())}"

    def _name(self) -> str:
        if self.options.release_name:
            return self.options.release_name
        return f"streamflow-{self.run}-{_plain(self.deployment.name)}"[:LONGEST_NAME].rstrip("-")

    async def _release(self) -> Release:
        namespace = await self._cluster.namespace()
        if shutil.which("helm"):
            return HelmCommand(self.options, self._name(), namespace)
        try:
            from .helm_library import HelmLibrary  # an optional extra
        except ImportError as error:
            raise DeployError(f"{self.deployment.name}: this machine has neither helm nor helm-python-sdk") from error
        return HelmLibrary(self.options, self._name(), namespace)

    async def _objects(self, release: Release) -> list[Json]:
        """Return the objects of the release; they stay the same as long as nobody upgrades it."""
        if self._manifests is None:
            self._manifests = parse_manifests(await release.manifest(), f"the manifest of release {self._name()}")
        return self._manifests

    async def _install(self, release: Release) -> None:
        """Install, and stop waiting when pods show that it is in vain: Helm itself waits for as long as it may."""
        running = asyncio.ensure_future(release.install(self.labels()))
        try:
            while not (await asyncio.wait([running], timeout=LOOK_S))[0]:
                with contextlib.suppress(SiteError):  # the release may not be there yet
                    if reason := hopeless(await self.pods_of(await self._objects(release))):
                        self.log.debug(f"{self.deployment.name}: {reason}")
                        break
            else:
                await running
                return
        finally:
            running.cancel()
            await asyncio.wait([running])
        raise DeployError(reason)

    async def _why(self, release: Release) -> str:
        """Return what the cluster says of the release's pods."""
        try:
            objects = await self._objects(release)
            return await why(self._cluster, objects, await self.pods_of(objects))
        except SiteError:
            return ""

    async def _give_up(self) -> None:
        try:
            await self.undeploy()
        except SiteError as error:
            self.log.warning(str(error))


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")

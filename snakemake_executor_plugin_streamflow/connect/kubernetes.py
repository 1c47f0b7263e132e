"""Pods of manifests: applied, waited for, used, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ..errors import DeployError, SiteError
from ..model import KubernetesOptions, bounds_of
from .kubernetes_apply import Objects
from .kubernetes_manifests import (
    Json,
    in_order,
    kustomized,
    marked,
    name_of,
    pod_spec,
    read_manifests,
)
from .kubernetes_pods import RUN, PodsConnector, instances, selector
from .kubernetes_ready import hopeless, unready, why
from .kubernetes_scale import workload_of
from .undisturbed import undisturbed

LOOK_S = (0.2, 2.0)
"""Between two looks at pods that are not ready yet: at first, and at most."""

SETTLE_S = 1.0


class KubernetesConnector(PodsConnector):
    """Applies manifests, and deletes what it made of them."""

    options: KubernetesOptions
    _read: list[Json] | None = None

    async def deploy(self) -> None:
        """Make what the manifests say, and wait until all pods are ready.

        What is there already and was not made by this run is an error, but for namespaces: those are used.
        """
        objects, cluster = Objects(self._cluster), self._cluster
        manifests = [marked(one, self.labels()) for one in await self.manifests()]
        for service, bounds in bounds_of(self.options).items():
            workload_of(manifests, service)["spec"]["replicas"] = bounds.min
        for one in manifests:
            await objects.kind(one) if one["kind"] != "Namespace" else None  # a typing error is found before any start
        try:
            await self.bring_up(objects, manifests)
        except BaseException as error:
            await undisturbed(self._give_up())
            if isinstance(error, DeployError):
                message = f"{self.deployment.name} cannot be brought up in {await cluster.namespace()}: {error}"
                raise DeployError(message, transient=error.transient) from error
            raise

    async def undeploy(self) -> None:
        try:
            objects = Objects(self._cluster)
            manifests = await self.manifests()
            # The pods at last: those of a workload go with it, those that stand alone have none.
            made = await objects.labelled(reversed(manifests), selector(self.labels()))
            await objects.delete(made, grace_s=self.options.grace_period)
            if self.options.grace_period is not None:
                left = await self.labelled(selector(self.labels()), await self._namespaces())
                pods = [{**pod, "apiVersion": "v1", "kind": "Pod"} for pod in left]
                await objects.delete(pods, grace_s=self.options.grace_period)
        except SiteError as error:
            message = f"{self.deployment.name}: something may be left: {error}\nRemove it with {await self._removal()}"
            raise DeployError(message, transient=error.transient) from error

    async def pods(self) -> Sequence[Json]:
        if not self.deployment.external:  # else what is there is somebody else's, without our labels
            return await self.labelled(selector(self.labels()), await self._namespaces())
        if self.options.selector:
            return await self.labelled(self.options.selector)
        return await self.pods_of(await self.manifests())

    def handle(self) -> str:
        return f"Kubernetes objects with label {selector(self.labels())}"

    async def manifests(self) -> list[Json]:
        """Return the objects to apply, in their order.

        Raises:
            DeployError: they cannot be read, or are none.
        """
        if self._read is None:
            found = await asyncio.to_thread(read_manifests, self.options.files)
            if self.options.kustomize:
                found += await kustomized(self.options.kustomize)
            if not any(pod_spec(one) for one in found):
                what = "`selector` needs `external: true`" if self.options.selector else "the manifests make no pods"
                raise DeployError(f"{self.deployment.name}: {what}")
            self._read = in_order(found)
        return self._read

    async def bring_up(self, objects: Objects, manifests: Sequence[Json]) -> None:
        """Make objects, and wait until they are ready.

        Raises:
            DeployError: with the cluster's words; what was made is there.
        """
        await self.make(objects, manifests, self.pods)

    async def make(
        self, objects: Objects, manifests: Sequence[Json], pods: Callable[[], Awaitable[Sequence[Json]]]
    ) -> None:
        """Make objects, and wait until their pods, which `pods` lists, are ready. Raises as `bring_up` does."""
        made = [await self._make(objects, one) for one in manifests]
        self.log.debug(f"{self.deployment.name}: made {', '.join(map(name_of, made))}")
        if self.options.wait:
            await self._ready(objects, made, pods)

    async def _make(self, objects: Objects, manifest: Json) -> Json:
        made = await objects.create(manifest, timeout_s=self.options.timeout)
        if made is not None:
            return {**made, "apiVersion": manifest["apiVersion"], "kind": manifest["kind"]}
        there = await objects.get(manifest)
        labels = (there or {}).get("metadata", {}).get("labels") or {}
        if manifest["kind"] == "Namespace" or labels.get(RUN) == self.run:
            return there or manifest
        whose = f"was left by run {labels[RUN]}" if RUN in labels else "is not ours"
        raise DeployError(
            f"{name_of(manifest)} is there already, and {whose}: delete it, choose another namespace, "
            "or say `external: true` to use what is there"
        )

    async def _ready(
        self, objects: Objects, made: Sequence[Json], list_pods: Callable[[], Awaitable[Sequence[Json]]]
    ) -> None:
        pause_s, longest_s = LOOK_S
        seen: list[Json] = list(made)
        pods: Sequence[Json] = ()
        told = ""
        up: set[str] | None = None
        try:
            async with asyncio.timeout(self.options.timeout):
                while True:
                    seen = [await objects.get(one) or one for one in made if pod_spec(one)]
                    pods = await list_pods()
                    if not (waiting := unready(seen)):
                        now_up = {one.host for one in instances(pods)}
                        if now_up == up:
                            return
                        up = now_up  # what fails at once was ready for a moment, and its successor may be
                        await asyncio.sleep(SETTLE_S)
                        continue
                    up = None
                    if reason := hopeless(pods):
                        raise DeployError(f"{reason}\n{await why(self._cluster, made, pods)}")
                    if told != (now := ", ".join(waiting)):
                        told = now
                        self.log.debug(f"{self.deployment.name}: waiting for {now}")
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, longest_s)
        except TimeoutError:
            said = await why(self._cluster, made, pods)
            what = f"{', '.join(unready(seen))} not ready within {self.options.timeout} s (option timeout)"
            raise DeployError(f"{what}\n{said}".rstrip(), transient=True) from None

    async def _give_up(self) -> None:
        try:
            await self.undeploy()
        except SiteError as error:
            self.log.warning(str(error))

    async def _namespaces(self) -> list[str]:
        objects = Objects(self._cluster)
        return list(dict.fromkeys([await objects.namespace(one) for one in await self.manifests() if pod_spec(one)]))

    async def _removal(self) -> str:
        try:
            manifests = await self.manifests()
            kinds = ",".join(dict.fromkeys(one["kind"].lower() for one in manifests))
            where = f"-n {await self._cluster.namespace()}"
        except SiteError:
            kinds, where = "all,configmap,secret,pvc", ""
        return f"`kubectl delete {kinds} {where} -l {selector(self.labels())}`"

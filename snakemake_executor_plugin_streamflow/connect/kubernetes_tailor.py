"""Jobs of batch/v1 that are made for one task each, and wait for their room in the cluster."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext

from ..errors import DeployError, SiteError
from .base import Log
from .kubernetes_api import Cluster
from .kubernetes_apply import Objects
from .kubernetes_manifests import Json, marked
from .kubernetes_pods import instances, selector
from .kubernetes_ready import hopeless, why, words_of
from .undisturbed import undisturbed

TASK = "streamflow.task"
"""Label of what was made for a task."""

PAUSE_S = 0.3
"""Between two looks, however many tasks wait."""
TOLD_S = 20.0
"""After this time it is told why a task waits."""


class Tailor:
    """The Jobs of one deployment that are there for one task each.

    Args:
        most: tasks that may have Jobs at once.
        timeout_s: how long pods may take to become ready once they have a node.
        pods: lists those of the deployment.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        *,
        most: int,
        timeout_s: int,
        grace_s: int | None,
        pods: Callable[[], Awaitable[Sequence[Json]]],
        log: Log,
    ) -> None:
        self._cluster, self._name, self._log = cluster, name, log
        self._timeout_s, self._grace_s, self._pods = timeout_s, grace_s, pods
        self._room = asyncio.Semaphore(most)
        self._several = asyncio.Lock()  # two tasks, each with one of the two pods that it needs, would wait for ever
        self._jobs: dict[str, Json] = {}
        self._owner: dict[str, str] = {}
        self._seen: asyncio.Future[Sequence[Json]] | None = None
        self._seen_at = 0.0

    def owner(self, pod: str) -> str | None:
        """Return what a pod was made for."""
        return self._owner.get(pod)

    async def make(self, manifest: Json, service: str, count: int) -> str:
        """Make Jobs for a task, wait until their pods are ready, and return what they are called together.

        There is no limit to how long they may wait for a node, as in a queue.

        Raises:
            DeployError: with the cluster's words; nothing is left.
        """
        await self._room.acquire()
        own = f"{service}.{secrets.token_hex(4)}"
        self._jobs[own] = one = marked(manifest, {TASK: own})
        objects = Objects(self._cluster)
        try:
            async with self._several if count > 1 else nullcontext():
                made = [await objects.create(one, timeout_s=self._timeout_s) or one for _ in range(count)]
                pods = await self._ready(own, made)
        except BaseException as error:
            await undisturbed(self._give_up(own))
            if isinstance(error, DeployError):
                message = f"{self._name}: a Job for a task of service {service} does not come up: {error}"
                raise DeployError(message, transient=error.transient) from error
            raise
        self._owner |= dict.fromkeys((pod["metadata"]["name"] for pod in pods), own)
        return own

    async def discard(self, own: str) -> None:
        """Delete the Jobs of a task, with their pods. Idempotent.

        Raises:
            DeployError: something is left.
        """
        if (like := self._jobs.pop(own, None)) is None:
            return
        self._room.release()
        pods = [pod for pod, owner in self._owner.items() if owner == own]
        self._owner = {pod: owner for pod, owner in self._owner.items() if owner != own}
        objects = Objects(self._cluster)
        made = await objects.labelled([like], selector({TASK: own}))
        await objects.delete(made, grace_s=None)
        if self._grace_s is not None:
            space = await objects.namespace(like)
            there = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": space}} for pod in pods]
            await objects.delete(there, grace_s=self._grace_s)

    async def _give_up(self, own: str) -> None:
        try:
            await self.discard(own)
        except SiteError as error:
            self._log.warning(f"{self._name}: something may be left, with label {selector({TASK: own})}: {error}")

    async def _ready(self, own: str, made: Sequence[Json]) -> Sequence[Json]:
        """Wait for the pods, and return them."""
        loop = asyncio.get_running_loop()
        begin, told, pods = loop.time(), False, list[Json]()
        on_nodes_at = answered_at = begin
        while True:
            await asyncio.sleep(PAUSE_S)
            try:
                pods = [pod for pod in await self._look() if pod["metadata"]["labels"].get(TASK) == own]
                answered_at = loop.time()
            except SiteError as error:  # a busy API: the pods come all the same
                if not error.transient or loop.time() - answered_at > self._timeout_s:
                    raise
                continue
            if len(instances(pods)) >= len(made):
                return pods
            if reason := hopeless(pods) or _ended(pods):
                raise DeployError(f"{reason}\n{await why(self._cluster, made, pods)}")
            if len(pods) < len(made) or not all(pod["spec"].get("nodeName") for pod in pods):
                on_nodes_at = loop.time()
            elif loop.time() - on_nodes_at > self._timeout_s:
                said = await why(self._cluster, made, pods)
                raise DeployError(f"not ready within {self._timeout_s} s (option timeout)\n{said}", transient=True)
            if not told and loop.time() - begin > TOLD_S:
                told = True
                said = "; ".join(words_of(pods)) or await why(self._cluster, made, pods)
                self._log.info(f"{self._name}: a task waits for its Job: {said}")

    async def _look(self) -> Sequence[Json]:
        """Return all pods as they were a moment ago: those who wait at the same time share one look."""
        now = asyncio.get_running_loop().time()
        if self._seen is None or (self._seen.done() and now - self._seen_at >= PAUSE_S):
            self._seen_at, self._seen = now, asyncio.ensure_future(self._pods())
        return await asyncio.shield(self._seen)


def _ended(pods: Sequence[Json]) -> str | None:
    """Return which pod has ended before it was used."""
    over = ("Failed", "Succeeded")
    return next(
        (f"pod {pod['metadata']['name']} has ended" for pod in pods if pod["status"].get("phase") in over), None
    )

"""Objects of any kind in a cluster: made, found by their labels, deleted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ..errors import DeployError
from .kubernetes_api import Cluster, Refused
from .kubernetes_manifests import Json, name_of

PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, as the API names it."""

    version: str
    name: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        """Return where its objects are, or one of them."""
        root = "/api/v1" if self.version == "v1" else f"/apis/{self.version}"
        folder = f"/namespaces/{quote(namespace)}" if self.namespaced else ""
        return f"{root}{folder}/{self.plural}" + (f"/{quote(name)}" if name else "")


class UnknownKind(DeployError):
    """The cluster does not know such objects: it has none."""


class Objects:
    """Objects of one cluster; what they are called by the API is asked of it once for each version."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[str, dict[str, Kind]] = {}

    async def kind(self, manifest: Json) -> Kind:
        """Return the kind of an object.

        Raises:
            UnknownKind: the cluster does not know it.
        """
        version, name = manifest["apiVersion"], manifest["kind"]
        if name not in self._known.get(version, {}):  # a definition may have been made a moment ago
            path = "/api/v1" if version == "v1" else f"/apis/{version}"
            try:
                found = (await self._cluster.call("GET", path))["resources"]
            except Refused as error:
                if error.status != 404:
                    raise
                found = []
            self._known[version] = {
                one["kind"]: Kind(version, one["kind"], one["name"], one["namespaced"])
                for one in found
                if "/" not in one["name"]
            }
        try:
            return self._known[version][name]
        except KeyError:
            raise UnknownKind(f"{name_of(manifest)}: the cluster knows no kind {name} in {version}") from None

    async def namespace(self, manifest: Json) -> str:
        """Return the namespace that an object is in, or is to be in."""
        return str(manifest["metadata"].get("namespace") or await self._cluster.namespace())

    async def create(self, manifest: Json, *, timeout_s: float) -> Json | None:
        """Make an object and return it as it came to be; None: it was there. One that is being deleted is awaited.

        Raises:
            DeployError: with the server's words.
        """
        kind, namespace = await self.kind(manifest), await self.namespace(manifest)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        return await self._cluster.call("POST", kind.path(namespace), body=manifest)
                    except Refused as error:
                        if error.status != 409 or not await self._is_ending(kind, namespace, manifest, error):
                            raise
                    await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            raise DeployError(f"{name_of(manifest)}: an older one is still being deleted", transient=True) from None
        except Refused as error:
            if error.status == 409:
                return None
            raise DeployError(f"{name_of(manifest)} cannot be made: {error}", transient=error.transient) from error

    async def get(self, manifest: Json) -> Json | None:
        """Return an object as it is now; None: there is none."""
        kind, namespace = await self.kind(manifest), await self.namespace(manifest)
        try:
            return await self._cluster.call("GET", kind.path(namespace, manifest["metadata"]["name"]))
        except Refused as error:
            if error.status == 404:
                return None
            raise

    async def labelled(self, like: Iterable[Json], selector: str) -> list[Json]:
        """Return all objects that a selector finds, of the kinds and in the namespaces of others, in their order."""
        found: list[Json] = []
        places: dict[tuple[Kind, str], None] = {}
        for one in like:
            with contextlib.suppress(UnknownKind):
                places[await self.kind(one), await self.namespace(one)] = None
        for kind, namespace in places:
            try:
                items = (await self._cluster.call("GET", kind.path(namespace), {"labelSelector": selector}))["items"]
            except Refused as error:
                if error.status == 404:
                    continue
                raise
            found += ({**one, "apiVersion": kind.version, "kind": kind.name} for one in items)
        return found

    async def delete(self, objects: Sequence[Json], *, grace_s: int | None) -> None:
        """Delete objects, with all that the cluster made for them; what has vanished is no error.

        The cluster has taken note of it when this returns; pods get their time to stop.

        Raises:
            DeployError: with the server's words; the others are deleted all the same.
        """
        problems: list[DeployError] = []
        for one in objects:
            kind, namespace = await self.kind(one), await self.namespace(one)
            body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
            if grace_s is not None and kind.name == "Pod":
                body["gracePeriodSeconds"] = grace_s
            try:
                await self._cluster.call("DELETE", kind.path(namespace, one["metadata"]["name"]), body=body)
            except Refused as error:
                if error.status != 404:
                    problems.append(DeployError(f"{name_of(one)}: {error}", transient=error.transient))
        if problems:
            raise problems[0]

    async def _is_ending(self, kind: Kind, namespace: str, manifest: Json, error: Refused) -> bool:
        name = manifest["metadata"].get("name")
        if name is None:
            return False
        try:
            there = await self._cluster.call("GET", kind.path(namespace, name))
        except Refused:
            return True  # it has gone meanwhile
        return "deletionTimestamp" in there["metadata"]

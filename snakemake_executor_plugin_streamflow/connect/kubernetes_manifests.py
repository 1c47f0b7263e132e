"""Manifests: reading them, the order in which they are applied, and what is added to them. No network."""

from __future__ import annotations

import asyncio
import copy
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import DeployError, quote_tail

Json = dict[str, Any]

FIRST = (
    "Namespace",
    "ResourceQuota",
    "LimitRange",
    "CustomResourceDefinition",
    "PriorityClass",
    "StorageClass",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "NetworkPolicy",
    "Service",
)
"""What others rely on, in the order of need; the rest follows as it is written."""

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController")
KUSTOMIZE_S = 120


def read_manifests(files: Iterable[str]) -> list[Json]:
    """Return the objects of manifests, lists taken apart.

    Raises:
        DeployError: a file cannot be read, or holds something else.
    """
    found: list[Json] = []
    for file in files:
        try:
            found += parse_manifests(Path(file).read_text("utf-8"), file)
        except (OSError, UnicodeDecodeError) as error:
            raise DeployError(f"cannot read the manifest {file}: {error}") from error
    return found


def parse_manifests(text: str, where: str) -> list[Json]:
    """Return the objects of a text, lists taken apart.

    Raises:
        DeployError: it is no YAML, or holds something else.
    """
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise DeployError(f"cannot read the manifest {where}: {error}") from error
    numbered = enumerate(documents, 1)
    return [one for number, document in numbered for one in _objects(document, f"{where}, document {number}")]


async def kustomized(folder: str) -> list[Json]:
    """Return the objects that kubectl builds of a kustomization.

    Raises:
        DeployError: there is no kubectl, or it says why not.
    """
    if shutil.which("kubectl") is None:
        raise DeployError(f"kustomize {folder} needs kubectl on this machine, which has none: install it, or use files")
    process = await asyncio.create_subprocess_exec(
        "kubectl", "kustomize", folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(KUSTOMIZE_S):
            out, err = await process.communicate()
    except BaseException as error:
        process.kill()
        if isinstance(error, TimeoutError):
            raise DeployError(f"`kubectl kustomize {folder}` gave nothing within {KUSTOMIZE_S} s") from error
        raise
    if process.returncode:
        raise DeployError(f"`kubectl kustomize {folder}` failed:\n{quote_tail(err)}")
    return parse_manifests(out.decode("utf-8", "replace"), f"kustomize {folder}")


def in_order(objects: Iterable[Json]) -> list[Json]:
    """Return objects as they are to be applied."""
    rank = {kind: number for number, kind in enumerate(FIRST)}
    return sorted(objects, key=lambda one: rank.get(one["kind"], len(rank)))


def marked(manifest: Json, labels: Mapping[str, str]) -> Json:
    """Return an object that carries labels, and so do its pods."""
    found = copy.deepcopy(manifest)
    _label(found, labels)
    spec = found.get("spec")
    if found["kind"] in WORKLOADS and isinstance(spec, dict) and isinstance(spec.get("template"), dict):
        _label(spec["template"], labels)
    return found


def pod_spec(manifest: Json) -> Json | None:
    """Return the specification of an object's pods; None when it has none that are ours to use."""
    spec = manifest.get("spec") or {}
    if manifest["kind"] == "Pod":
        return dict(spec)
    template = spec.get("template") if manifest["kind"] in WORKLOADS else None
    return template.get("spec") if isinstance(template, dict) else None


def pod_selector(manifest: Json) -> str | None:
    """Return the label selector of a workload's pods; None for other objects."""
    if manifest["kind"] not in WORKLOADS:
        return None
    given = (manifest.get("spec") or {}).get("selector") or {}
    terms = [f"{key}={value}" for key, value in (given.get("matchLabels") or {}).items()]
    for one in given.get("matchExpressions") or ():
        key, values = one["key"], ",".join(one.get("values") or ())
        word = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms.append(word.get(one["operator"], f"!{key}"))
    return ",".join(terms) or None


def containers(objects: Iterable[Json]) -> tuple[str, ...]:
    """Return the names of the containers of all pods, in the order of the manifests."""
    specs = (pod_spec(one) for one in objects)
    return tuple(dict.fromkeys(str(one["name"]) for spec in specs if spec for one in spec.get("containers") or ()))


def name_of(manifest: Json) -> str:
    """Return how messages name an object."""
    meta = manifest["metadata"]
    return f"{manifest['kind'].lower()}/{meta.get('name') or meta.get('generateName')}"


def _objects(document: Any, where: str) -> list[Json]:
    if document is None:
        return []
    if isinstance(document, dict) and isinstance(document.get("items"), list) and document.get("kind") == "List":
        return [one for item in document["items"] for one in _objects(item, where)]
    named = isinstance(document, dict) and isinstance(document.get("metadata"), dict)
    if not named or not all(isinstance(document.get(key), str) for key in ("apiVersion", "kind")):
        raise DeployError(f"{where} is no Kubernetes object: expected apiVersion, kind and metadata")
    if not (document["metadata"].get("name") or document["metadata"].get("generateName")):
        raise DeployError(f"{where}: {document['kind']} has no metadata.name")
    return [document]


def _label(owner: Json, labels: Mapping[str, str]) -> None:
    meta = owner.setdefault("metadata", {})
    meta["labels"] = {**(meta.get("labels") or {}), **labels}

"""A namespace in the cluster that KUBECONFIG names. Where it names none, tests that need one are skipped, and say so.

STREAMFLOW_TEST_IMAGE is the image of the pods (with a POSIX shell); STREAMFLOW_TEST_NAMESPACE a namespace to use, where
none may be made.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

MISSING = "NOT TESTED: KUBECONFIG names no cluster: nothing of Kubernetes but the protocol of exec is tested"
IMAGE = os.environ.get("STREAMFLOW_TEST_IMAGE", "debian:12")
SLEEP = ["sh", "-c", 'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done']


def kubectl(*words: str, stdin: str | None = None) -> str:
    """What kubectl prints."""
    done = subprocess.run(["kubectl", *words], capture_output=True, text=True, check=True, input=stdin, timeout=120)
    return done.stdout


@pytest.fixture(scope="session")
def namespace() -> Iterator[str]:
    """A namespace of our own."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip(MISSING)
    if given := os.environ.get("STREAMFLOW_TEST_NAMESPACE"):
        yield given
        return
    name = f"streamflow-test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    account_made(name)
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def account_made(name: str) -> None:
    """Wait for the account that every pod of a namespace needs."""
    end = time.monotonic() + 30
    while "default" not in kubectl("-n", name, "get", "serviceaccounts", "-o", "name"):
        assert time.monotonic() < end
        time.sleep(0.1)


def pod(name: str, **container: Any) -> dict[str, Any]:
    """A pod that sleeps, with 8 MiB at /small."""
    main = {"name": "worker", "image": IMAGE, "command": SLEEP, "imagePullPolicy": "IfNotPresent"}
    mount = {"volumeMounts": [{"name": "small", "mountPath": "/small"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{**main, **mount, **container}],
            "volumes": [{"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}],
        },
    }


def workload(kind: str, name: str, replicas: int, **container: Any) -> dict[str, Any]:
    """A Deployment or StatefulSet of such pods."""
    template = pod(name, **container)
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
    }
    more = {"serviceName": name, "podManagementPolicy": "Parallel"} if kind == "StatefulSet" else {}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": {**spec, **more}}


def manifest(folder: Path, *objects: dict[str, Any]) -> str:
    """Write objects as a manifest and return its path."""
    file = folder / f"{secrets.token_hex(4)}.yml"
    file.write_text("---\n".join(yaml.safe_dump(one) for one in objects))
    return str(file)


def names(namespace: str, kinds: str, *more: str) -> list[str]:
    """The objects of some kinds that are there and not being deleted."""
    items = json.loads(kubectl("-n", namespace, "get", kinds, "-o", "json", *more))["items"]
    return [
        f"{one['kind']}/{one['metadata']['name']}"
        for one in items
        if "deletionTimestamp" not in one["metadata"]
        and one["metadata"]["name"] not in ("kube-root-ca.crt", "kubernetes")
    ]

"""The part of a Kubernetes API server that takes Jobs: each gets a pod at once, whose image says what becomes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from .kubernetes_exec import kubeconfig

KIND = {"kind": "Job", "name": "jobs", "namespaced": True}
MISSING, FORBIDDEN = "missing", "forbidden"
"""Images: one that cannot be pulled, one whose pods a quota does not allow."""


class BatchServer(ThreadingHTTPServer):
    """A server on the loopback interface. `jobs` are those that are there, by name; `busy` deletions are put off."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.busy = 0
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(kubeconfig(f"http://127.0.0.1:{self.server_port}")))


class _Handler(BaseHTTPRequestHandler):
    server: BatchServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        jobs, name = self.server.jobs, where.path.rsplit("/", 1)[1]
        chosen = dict(one.split("=") for one in parse_qs(where.query).get("labelSelector", [""])[0].split(",") if one)
        mine = [one for one in jobs.values() if chosen.items() <= one["metadata"]["labels"].items()]
        if name == "v1":
            self._reply({"resources": [KIND]})
        elif name in ("jobs", "pods", "events"):
            self._reply({"items": {"jobs": mine, "pods": [pod(one) for one in mine]}.get(name, [])})
        else:
            self._reply(jobs.get(name) or {"message": "not found"}, 200 if name in jobs else 404)

    def do_POST(self) -> None:
        found = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if image(found) == FORBIDDEN:
            self._reply({"message": "exceeded quota: small"}, 403)
            return
        name = f"{found['metadata']['generateName']}{len(self.server.jobs)}"
        found["metadata"] |= {"name": name, "namespace": "lab", "uid": name}
        found["status"] = {"ready": 0 if image(found) == MISSING else 1}
        self.server.jobs[name] = found
        self._reply(found, 201)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.busy:
            self.server.busy -= 1
            self._reply({"message": "too many requests"}, 429, {"Retry-After": "0"})
            return
        self.server.jobs.pop(self.path.rsplit("/", 1)[1], None)
        self._reply({})

    def _reply(self, content: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def image(job: dict[str, Any]) -> str:
    """The image of a Job."""
    return str(job["spec"]["template"]["spec"]["containers"][0]["image"])


def pod(job: dict[str, Any]) -> dict[str, Any]:
    """The pod of a Job."""
    template, name = job["spec"]["template"], job["metadata"]["name"]
    fits = image(job) != MISSING
    state = {"running": {}} if fits else {"waiting": {"reason": "ImagePullBackOff"}}
    one = {"name": template["spec"]["containers"][0]["name"], "ready": fits, "state": state, "containerID": name}
    return {
        "metadata": {**template["metadata"], "name": f"{name}-x", "namespace": "lab", "uid": f"{name}-x"},
        "spec": template["spec"],
        "status": {"phase": "Running" if fits else "Pending", "containerStatuses": [one]},
    }


@contextmanager
def batch_server(folder: Path) -> Iterator[BatchServer]:
    """A server that runs."""
    with BatchServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)

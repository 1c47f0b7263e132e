"""What the benchmarks share: sites, workflows, timed runs, environments to compare with.

Sites are the servers of the tests: ssh hosts need root, containers need an engine (DOCKER_HOST, or a dockerd to start).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from snakemake_executor_plugin_streamflow.connect.base import Connector  # noqa: E402
from snakemake_executor_plugin_streamflow.connect.docker import DockerConnector  # noqa: E402
from snakemake_executor_plugin_streamflow.connect.ssh import SshConnector  # noqa: E402
from snakemake_executor_plugin_streamflow.model import Deployment, DockerOptions, SshOptions  # noqa: E402

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode

SNAKEMAKE = "snakemake==9.27.1"
_POLL_S = 0.02


class Quiet:
    """A log that nobody reads."""

    def info(self, message: str) -> None: ...
    def debug(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """One command that ended well: its time, that of the processor, its main process's peak memory, what it printed."""

    seconds: float
    cpu_s: float
    peak_mib: float
    output: str


def run(argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> Run:
    """Run a command in a folder and measure it. Raises RuntimeError with its output when it fails."""
    peak = 0
    with tempfile.TemporaryFile() as output:
        started, before = time.perf_counter(), os.times()
        process = subprocess.Popen(
            argv, cwd=folder, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        # the kernel's own high-water mark, which wait4 would mix with that of the children
        status = Path(f"/proc/{process.pid}/status")
        while True:
            with contextlib.suppress(OSError, ValueError):
                if found := re.search(r"VmHWM:\s+(\d+)", status.read_text()):
                    peak = max(peak, int(found[1]))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
                break
        seconds, after = time.perf_counter() - started, os.times()
        cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with code {process.returncode}:\n{text[-3000:]}")
    return Run(seconds, cpu_s, peak / 1024, text)


def snakemake(*args: str, python: str = sys.executable) -> list[str]:
    """Return the command that runs Snakemake in an environment."""
    return [python, "-m", "snakemake", *args]


@contextlib.contextmanager
def workflow(snakefile: str, companion: Mapping[str, object] | None = None) -> Iterator[Path]:
    """Give a folder with a Snakefile, and with a companion file when there is one."""
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    try:
        (folder / "Snakefile").write_text(snakefile)
        if companion is not None:
            (folder / "streamflow.yml").write_text(json.dumps(companion))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(name: str, *packages: str) -> str:
    """Return the Python of a virtual environment with these packages; it is made once and kept."""
    folder = Path(tempfile.gettempdir(), f"streamflow-bench-{os.getuid()}", name)
    python = folder / "bin/python"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "done").touch()
    return str(python)


def companion(*deployments: tuple[str, Mapping[str, object]], policy: str = "locality") -> dict[str, object]:
    """Return a companion file that binds every rule to these deployments."""
    return {
        "version": "v1.0",
        "bindings": [{"rule": "*", "policy": policy, "target": [{"deployment": name} for name, _ in deployments]}],
        "deployments": dict(deployments),
    }


def local_sites(below: Path, cores: int) -> dict[str, object]:
    """Return a companion file for two sites of this machine, with files of their own."""
    return companion(
        *((name, {"type": "local", "workdir": str(below / name), "config": {"cores": cores}}) for name in ("a", "b")),
        policy="spread",
    )


@contextlib.contextmanager
def ssh_options() -> Iterator[dict[str, object]]:
    """Start two ssh hosts and give the options that reach them."""
    from tests.servers.ssh import SshHosts

    with SshHosts(2) as hosts:
        yield {
            "nodes": hosts.hosts,
            "username": "root",
            "ssh_key": str(hosts.key),
            "known_hosts": str(hosts.known_hosts),
        }


@contextlib.contextmanager
def docker_options() -> Iterator[dict[str, object]]:
    """Find or start an engine and give the options of two containers with bash and GNU tools."""
    from tests.servers import docker

    with docker.DockerEngine() as engine:
        image = docker.ensure(
            engine, docker.DEBIAN_IMAGE, docker._gnu_tree, ["ENV PATH=/usr/bin LANG=C.UTF-8", 'CMD ["/bin/bash"]']
        )
        yield {"image": image, "pull": "never", "replicas": 2, "docker_host": engine.address}


@contextlib.contextmanager
def apptainer_options() -> Iterator[dict[str, object]]:
    """Give the options of two instances of an image with the same tools as the containers'."""
    from tests.servers import apptainer

    with tempfile.TemporaryDirectory(prefix="streamflow-bench-") as folder:
        yield {"image": str(apptainer.make_image(Path(folder))), "replicas": 2}


@contextlib.contextmanager
def kubernetes_options() -> Iterator[dict[str, object]]:
    """Give the options of two pods in the cluster that KUBECONFIG names."""
    from tests.servers import kubernetes

    with tempfile.TemporaryDirectory(prefix="streamflow-bench-") as folder:
        pods = kubernetes.workload("Deployment", "streamflow-bench", 2)
        yield {"files": [kubernetes.manifest(Path(folder), pods)], "gracePeriod": 1}


def pods_or_instances(kind: str) -> contextlib.AbstractContextManager[dict[str, object]]:
    """Give the options of two locations that are compared with two containers."""
    return kubernetes_options() if kind == "kubernetes" else apptainer_options()


def connector(kind: str, options: Mapping[str, object], name: str = "bench") -> Connector:
    """Return a connector of the package for these options."""
    own = f"b{os.getpid()}"
    if kind == "ssh":
        nodes = {**options, "nodes": tuple(options["nodes"])}  # type: ignore[arg-type]
        return SshConnector(Deployment(name, "ssh", SshOptions(**nodes)), run=own, inner=None, log=Quiet())
    return DockerConnector(Deployment(name, "docker", DockerOptions(**options)), run=own, inner=None, log=Quiet())


def alternate(rounds: int, ways: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure each way once a round, in an order that turns from round to round."""
    figures: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            figures[name].append(ways[name]())
    return figures


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def say(what: str, figure: float, target: float, *, at_least: bool = False, unit: str = "", more: str = "") -> None:
    """Print one figure with its target and the load of the machine."""
    met = figure >= target if at_least else figure <= target
    sign = ">=" if at_least else "<="
    verdict = "met" if met else "MISSED"
    load = f"[load {os.getloadavg()[0]:.1f}]"
    print(f"{what}: {figure:.2f}{unit} (target {sign} {target:g}{unit}: {verdict}) {more} {load}", flush=True)

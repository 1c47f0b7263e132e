"""Options of a docker deployment, written as `docker run` takes them, as arguments of the Docker SDK. No I/O."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

from docker.types import DeviceRequest, Mount, Ulimit
from docker.utils import parse_bytes
from docker.utils.ports import build_port_bindings

from ..errors import DeployError
from ..model import DockerOptions

SLEEP = ("sh", "-c", 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done')
"""Keeps a container up with what every image with a shell has (`sleep infinity` is not everywhere)."""

T = TypeVar("T")


def container_arguments(options: DockerOptions, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of `APIClient.create_container` but image, name and host configuration.

    The image's entrypoint would run our sleeping command as its argument; it is used only with a command of the user's.
    """
    entrypoint = options.entrypoint if options.entrypoint is not None else None if options.command else ()
    user_labels = dict(_pairs(options.label))
    anonymous = [text for text in options.volume if ":" not in text]
    return {
        "command": list(options.command if options.command is not None else SLEEP),
        "entrypoint": None if entrypoint is None else list(entrypoint),
        "hostname": options.hostname,
        "domainname": options.domainname,
        "user": options.user,
        "environment": dict(options.env),
        "working_dir": options.working_dir,
        "labels": {**user_labels, **labels},
        "volumes": anonymous or None,
        "ports": [tuple(port.split("/", 1)) if "/" in port else port for port in _ports(options)] or None,
    }


def host_arguments(options: DockerOptions, home: str, here: str) -> dict[str, Any]:
    """Return the arguments of `APIClient.create_host_config`.

    Args:
        options: what the user wrote.
        home: what `~` in a source path means on the engine's host.
        here: what a relative source path is relative to there.

    Raises:
        DeployError: an option that `docker run` would not take either.
    """
    arguments: dict[str, Any] = {
        "binds": [_bind(text, home, here) for text in options.volume if ":" in text],
        "mounts": [_each("mount", text, lambda t: _mount(t, home, here)) for text in options.mount],
        "port_bindings": _ports(options),
        "network_mode": options.network[0] if options.network else None,
        "device_requests": _gpu_request(options.gpus),
        "nano_cpus": None if options.cpus is None else round(options.cpus * 1e9),
        "mem_limit": options.memory_limit,
        "shm_size": options.shm_size,
        "tmpfs": {path: more for path, _, more in (text.partition(":") for text in options.tmpfs)},
        "extra_hosts": dict(_pairs(options.add_host, ":")),
        "cap_add": list(options.cap_add),
        "cap_drop": list(options.cap_drop),
        "devices": list(options.device),
        "dns": list(options.dns),
        "ipc_mode": options.ipc,
        "pid_mode": options.pid,
        "privileged": options.privileged,
        "security_opt": list(options.security_opt),
        "init": options.init,
        "ulimits": [_each("ulimit", text, _ulimit) for text in options.ulimit],
        "read_only": options.read_only or None,
        "runtime": options.runtime,
    }
    return {name: value for name, value in arguments.items() if value not in (None, [], {})}


def gpu_count(gpus: str | None) -> int | None:
    """Return how many GPUs a container sees; None when that cannot be told from the option."""
    wanted = _gpus(gpus)
    if wanted is None:
        return None
    return len(wanted.get("device_ids", ())) or (wanted["count"] if wanted.get("count", -1) > 0 else None)


def _gpu_request(gpus: str | None) -> list[DeviceRequest]:
    wanted = _gpus(gpus)
    return [] if wanted is None else [DeviceRequest(capabilities=[["gpu"]], **wanted)]


def _gpus(gpus: str | None) -> dict[str, Any] | None:
    if not gpus:
        return None
    text = str(gpus).strip().strip("\"'")
    if text == "all":
        return {"count": -1}
    if text.startswith("device="):
        return {"device_ids": text.removeprefix("device=").split(",")}
    return {"count": _each("gpus", text, int)}


def _bind(text: str, home: str, here: str) -> str:
    source, _, rest = text.partition(":")
    return f"{absolute_source(source, home, here)}:{rest}"


def absolute_source(source: str, home: str, here: str) -> str:
    """Return the absolute form of `~/x`, `.` and `./x`; anything else is absolute already, or a volume's name."""
    if source == "~" or source.startswith("~/"):
        source = home + source[1:]
    elif source in (".", "..") or source.startswith(("./", "../")) or ("/" in source and not source.startswith("/")):
        source = f"{here}/{source}"
    return os.path.normpath(source) if source.startswith("/") else source


def _mount(text: str, home: str, here: str) -> Mount:
    given = {key.strip().lower(): value for key, _, value in (part.partition("=") for part in text.split(","))}
    kind: Any = given.get("type", "volume")
    source = given.get("source", given.get("src", ""))
    if kind == "bind":
        source = absolute_source(source if source.startswith(("/", "~", ".")) else f"./{source}", home, here)
    target = given.get("target") or given.get("destination") or given.get("dst")
    if not target or not PurePosixPath(target).is_absolute():
        raise ValueError("target=PATH is missing, or is not absolute")
    more: dict[str, Any] = {}
    if size := given.get("tmpfs-size"):
        more["tmpfs_size"] = parse_bytes(size)
    if mode := given.get("tmpfs-mode"):
        more["tmpfs_mode"] = int(mode, 8)
    if propagation := given.get("bind-propagation"):
        more["propagation"] = propagation
    if _yes(given, "volume-nocopy"):
        more["no_copy"] = True
    known = {"type", "source", "src", "target", "destination", "dst", "tmpfs-size", "tmpfs-mode", "bind-propagation"}
    if unknown := set(given) - known - {"volume-nocopy", "readonly", "ro"}:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    return Mount(target, source or None, kind, read_only=_yes(given, "readonly") or _yes(given, "ro"), **more)


def _yes(given: Mapping[str, str], key: str) -> bool:
    return key in given and given[key].lower() in ("", "1", "true")


def _ulimit(text: str) -> Ulimit:
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    return Ulimit(name=name, soft=int(soft), hard=int(hard or soft))


def _ports(options: DockerOptions) -> dict[str, Any]:
    ports: dict[str, Any] = _each("publish", options.publish, build_port_bindings)
    return ports


def _pairs(texts: Iterable[str], separator: str = "=") -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (text.partition(separator) for text in texts)]


def _each(option: str, text: Any, parse: Callable[[Any], T]) -> T:
    try:
        return parse(text)
    except Exception as error:  # the SDK's parsers raise whatever comes
        raise DeployError(f"{option} {text!r} is not what `docker run` takes: {error}") from error

# ruff: noqa: RUF009 - option() returns a dataclasses.field
"""The `config:` of each deployment type.

One dataclass per type, read by the companion file's parser, by the JSON Schema and by the connector. Field names are
ours; `metadata["alias"]` is the name in the YAML when it is not the camelCase of ours. A field without a default is
required. Types in use: str, int, float, bool, tuple[...], Mapping[str, ...], nested option classes, and `| None`.
`metadata["size"]` marks a number of bytes that may be written as `4GB`; `metadata["path"]` a path on the controller,
`~` allowed, `metadata["read"]` that it is a file which must be there when a run starts.
`config/reader.py` lists the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .apptainer_options import ApptainerOptions
from .bounds import Bounds
from .compose_options import ComposeOptions
from .helm_options import HelmOptions
from .kubernetes_options import KubernetesJobOptions, KubernetesOptions
from .machine import Machine, option
from .queue_options import QUEUE_OPTIONS

HOST_KEYS = ("known", "accept-new", "any")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions(Machine):
    """This machine: in place, or, when the deployment has a `workdir`, a site of its own there."""

    locations: int = option("how many sites; each gets its own folder below the workdir", 1, minimum=1)
    transfer_buffer_size: int = option("accepted for StreamFlow files; not used", 65536)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshHop:
    """How to log in to one host, or through it."""

    hostname: str = option("HOST or HOST:PORT, or a Host of ~/.ssh/config", required=True)
    username: str | None = option("user to log in as (default: ~/.ssh/config, then the present user)")
    ssh_key: str | None = option("private key file", path=True, read=True)
    ssh_key_passphrase_file: str | None = option("file that holds the key's passphrase", path=True, read=True)
    password_file: str | None = option("file that holds the password", path=True, read=True)
    check_host_key: bool | None = option("false: accept any host key (dangerous)")
    host_keys: str | None = option(
        "'known' (default), 'accept-new': remember unknown hosts, or 'any'", choices=HOST_KEYS
    )
    tunnel: SshHop | None = option("host to go through (jump host)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshOptions(Machine):
    """Hosts that are reached by ssh."""

    nodes: tuple[str | SshHop, ...] = option(
        "hosts: HOST, HOST:PORT, or a mapping with hostname, username ...", required=True, items="hosts"
    )
    username: str | None = option("user to log in as (default: ~/.ssh/config, then the present user)")
    ssh_key: str | None = option("private key file", path=True, read=True)
    ssh_key_passphrase_file: str | None = option("file that holds the key's passphrase", path=True, read=True)
    password_file: str | None = option("file that holds the password", path=True, read=True)
    check_host_key: bool = option("false: accept any host key (dangerous)", True)
    host_keys: str = option(
        "'known' (default), 'accept-new': remember unknown hosts, or 'any'", "known", choices=HOST_KEYS
    )
    known_hosts: str | None = option("known hosts file (default: ~/.ssh/known_hosts)", path=True)
    config_file: str | None = option("ssh configuration file (default: ~/.ssh/config)", path=True, read=True)
    tunnel: str | SshHop | None = option("host to go through (jump host)")
    data_transfer_connection: str | SshHop | None = option("accepted for StreamFlow files; bytes use the same host")
    connect_timeout: int = option("seconds to wait for a connection", 30, minimum=1)
    retries: int = option("how often a failed connection is tried again", 3)
    retry_delay: int = option("seconds before the first new try", 1)
    keep_alive: int = option("seconds between keep-alive messages", 15)
    max_concurrent_sessions: int = option(
        "sessions in one connection; sshd's own limit (MaxSessions) is 10", 10, minimum=1
    )
    max_connections: int = option("connections to one host", 4, minimum=1)
    direct: str = option(
        "how these hosts log in to other sites, to exchange files: 'own' (default): with what they have; 'agent': with "
        "our keys, lent for the time of a transfer; 'no'",
        "own",
        choices=("own", "agent", "no"),
    )
    shared_paths: tuple[str, ...] = option("prefixes that look the same here and at the controller", (), absolute=True)
    services: Mapping[str, Any] = option(
        "accepted for StreamFlow files; one service per entry, all on the same hosts", {}
    )
    file: str | None = option("accepted for StreamFlow files; not used", path=True)
    transfer_buffer_size: int = option("accepted for StreamFlow files; not used", 65536)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerOptions(Machine):
    """Containers of one Docker engine, made from an image or existing ones."""

    image: str | None = option("image to run")
    container_id: str | None = option("existing container to use; never started, stopped or removed by us")
    build: str | None = option("folder with a Dockerfile; the image is built and tagged as `image`", path=True)
    replicas: int | Bounds = option(
        "how many containers, or {min: N, max: N, idle: SECONDS}: as many as jobs wait for", 1, minimum=1
    )
    pull: str = option("'missing' (default), 'always' or 'never'", "missing", choices=("missing", "always", "never"))
    docker_host: str | None = option(
        "engine's address, for instance unix:///run/docker.sock (default: DOCKER_HOST, then the usual socket)"
    )
    volume: tuple[str, ...] = option("SOURCE:PATH[:ro], as `docker run -v`", ())
    mount: tuple[str, ...] = option("type=bind,source=S,target=T, as `docker run --mount`", ())
    user: str | None = option("user in the container")
    network: tuple[str, ...] = option("networks to join", ())
    gpus: str | None = option("'all' or a number, as `docker run --gpus`")
    cpus: float | None = option("CPU limit of each container", above=0)
    memory_limit: int | None = option("memory limit of each container", size=True)
    shm_size: int | None = option("size of /dev/shm", size=True)
    tmpfs: tuple[str, ...] = option("PATH[:OPTIONS], as `docker run --tmpfs`", ())
    add_host: tuple[str, ...] = option("NAME:ADDRESS", ())
    cap_add: tuple[str, ...] = option("capabilities to add", ())
    cap_drop: tuple[str, ...] = option("capabilities to drop", ())
    device: tuple[str, ...] = option("devices, as `docker run --device`", ())
    dns: tuple[str, ...] = option("DNS servers", ())
    domainname: str | None = option("domain name")
    hostname: str | None = option("host name of the container")
    ipc: str | None = option("IPC namespace")
    pid: str | None = option("PID namespace")
    privileged: bool = option("privileged containers", False)
    security_opt: tuple[str, ...] = option("security options", ())
    entrypoint: tuple[str, ...] | None = option("entrypoint instead of the image's", one=True)
    command: tuple[str, ...] | None = option("command that keeps the container up (default: a sleeping shell)")
    init: bool = option("an init process that reaps dead ones", True)
    label: tuple[str, ...] = option("KEY=VALUE", ())
    publish: tuple[str, ...] = option("HOST:CONTAINER ports", ())
    ulimit: tuple[str, ...] = option("NAME=SOFT[:HARD]", ())
    working_dir: str | None = option("directory of the container's main process", alias="workdir", absolute=True)
    read_only: bool = option("root filesystem read-only", False)
    runtime: str | None = option("container runtime")
    transfer_buffer_size: int = option("accepted for StreamFlow files; not used", 65536)


OPTIONS: dict[str, type] = dict(
    sorted(
        {
            "apptainer": ApptainerOptions,
            "docker": DockerOptions,
            "docker-compose": ComposeOptions,
            **dict.fromkeys(("helm", "helm3", "helm4"), HelmOptions),
            "kubernetes": KubernetesOptions,
            "kubernetes-job": KubernetesJobOptions,
            "local": LocalOptions,
            "podman": DockerOptions,
            "singularity": ApptainerOptions,
            "ssh": SshOptions,
            **QUEUE_OPTIONS,
        }.items()
    )
)

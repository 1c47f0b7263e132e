"""The `config:` of a Compose project. Names are StreamFlow's where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .bounds import Bounds
from .machine import Machine, option


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeOptions(Machine):
    """The services of a Compose project; each container is a location."""

    files: tuple[str, ...] = option(
        "Compose files, later ones on top of earlier ones", required=True, path=True, read=True
    )
    project_name: str | None = option("name of the project (default: one of its own for each run)")
    project_directory: str | None = option(
        "what relative paths in the files are relative to (default: the first file's folder)", path=True
    )
    docker_host: str | None = option("engine's address (default: DOCKER_HOST, then the usual socket)", alias="host")
    profiles: tuple[str, ...] = option("profiles to bring up", ())
    scale: Mapping[str, int | Bounds] = option(
        "SERVICE: number of containers, or {min: N, max: N, idle: SECONDS}: as many as jobs wait for", {}
    )
    env_file: tuple[str, ...] = option("files with variables of the Compose files", (), path=True, read=True)
    pull: str | None = option(
        "'missing', 'always' or 'never' (default: what the files say)", choices=("missing", "always", "never")
    )
    build: bool = option("build images before the start", False)
    no_build: bool = option("build no image, even when it is missing", False)
    wait: bool = option("wait until services are healthy, or run when they have no health check", True)
    wait_timeout: int = option("seconds to wait for that", 300, minimum=1)
    timeout: int = option("seconds that containers get to stop", 10)
    compatibility: bool = option("run Compose in its backward compatibility mode", False)
    no_deps: bool = option("do not bring up linked services", False)
    force_recreate: bool = option("make containers anew even when nothing changed", False)
    always_recreate_deps: bool = option("make containers of dependencies anew", False)
    no_recreate: bool = option("keep containers that exist", False)
    renew_anon_volumes: bool = option("anonymous volumes start empty", False)
    remove_orphans: bool = option("remove containers of services that are not in the files", False)
    remove_volumes: bool = option("remove the project's named volumes at the end", False)
    user: str | None = option("user that jobs run as in the containers (default: the container's)")
    transfer_buffer_size: int = option("accepted for StreamFlow files; not used", 65536)

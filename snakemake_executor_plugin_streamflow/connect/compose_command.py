"""The Compose command: where it is, what it is told, how it is run."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from ..errors import DeployError
from ..model import ComposeOptions, least
from .tool import run_tool

INSTALL = "install Docker's Compose plugin (docker-compose-plugin), or docker-compose of version 2 or newer"
OWN_VARIABLES = ("COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "DOCKER_CONTEXT", "DOCKER_HOST")


async def compose_command() -> tuple[str, ...]:
    """Return the words that start Compose: the plugin of the docker command, or a command of its own.

    Raises:
        DeployError: there is none of version 2 or newer.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    candidates: list[tuple[str, ...]] = []
    if docker := shutil.which("docker", path=path):
        candidates.append((docker, "compose"))
    if standalone := shutil.which("docker-compose", path=path):
        candidates.append((standalone,))
    for words in candidates:
        with contextlib.suppress(DeployError):
            version = (await run_tool([*words, "version", "--short"], os.environ)).strip().lstrip("v")
            if version.partition(".")[0].isdigit() and int(version.partition(".")[0]) >= 2:
                return words
    raise DeployError(f"there is no `docker compose` on this machine: {INSTALL}")


def project_words(options: ComposeOptions, project: str | None) -> list[str]:
    """Return the arguments that say which project is meant."""
    words = ["--ansi", "never", "--progress", "plain"]
    for file in options.files:
        words += ["--file", file]
    for profile in options.profiles:
        words += ["--profile", profile]
    for file in options.env_file:
        words += ["--env-file", file]
    if options.project_directory:
        words += ["--project-directory", options.project_directory]
    if options.compatibility:
        words.append("--compatibility")
    return [*words, "--project-name", project] if project else words


def up_words(options: ComposeOptions) -> list[str]:
    """Return the arguments of `up`."""
    words = ["up", "--detach", "--timeout", str(options.timeout)]
    flags = {
        "--build": options.build,
        "--no-build": options.no_build,
        "--no-deps": options.no_deps,
        "--force-recreate": options.force_recreate,
        "--always-recreate-deps": options.always_recreate_deps,
        "--no-recreate": options.no_recreate,
        "--renew-anon-volumes": options.renew_anon_volumes,
        "--remove-orphans": options.remove_orphans,
    }
    words += [flag for flag, wanted in flags.items() if wanted]
    if options.pull:
        words += ["--pull", options.pull]
    if options.wait:
        words += ["--wait", "--wait-timeout", str(options.wait_timeout)]
    for service, number in options.scale.items():
        words += ["--scale", f"{service}={least(number)}"]
    return words


def grow_words(options: ComposeOptions, service: str, count: int) -> list[str]:
    """Return the arguments that add containers of one service, and leave everything else as it is."""
    words = ["up", "--detach", "--no-recreate", "--no-deps", "--no-build", "--timeout", str(options.timeout)]
    if options.wait:
        words += ["--wait", "--wait-timeout", str(options.wait_timeout)]
    return [*words, "--scale", f"{service}={count}", service]


def down_words(options: ComposeOptions, project: str) -> list[str]:
    """Return the arguments that remove all that carries the project's label, whatever the files say by now."""
    words = ["--ansi", "never", "--progress", "plain", "--project-name", project]
    words += ["down", "--remove-orphans", "--timeout", str(options.timeout)]
    return [*words, "--volumes"] if options.remove_volumes else words


def environment(address: str | None) -> dict[str, str]:
    """Return the environment of the command: what the companion file says is not overridden by it."""
    kept = {key: value for key, value in os.environ.items() if key not in OWN_VARIABLES}
    return kept | ({"DOCKER_HOST": address} if address else {})

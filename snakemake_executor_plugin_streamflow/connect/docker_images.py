"""Images at a Docker engine: looked up, pulled, built. Blocking: call it in a thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, BuildError, DockerException, ImageNotFound
from docker.utils import parse_repository_tag

from ..errors import DeployError, quote_tail

PROGRESS_S = 10
Progress = Callable[[str], None]


class Stopped(Exception):
    """Nobody waits for the image any more."""


def ensure_image(client: DockerClient, image: str, pull: str, progress: Progress, stop: threading.Event) -> None:
    """See to it that the engine has an image.

    Args:
        client: the engine.
        image: name, with a tag or digest; `latest` without.
        pull: missing, always or never.
        progress: is told how far a pull is, every 10 s.
        stop: makes a pull give up, with `Stopped`.

    Raises:
        DeployError: it is not there and cannot be had; with the engine's words.
    """
    if pull != "always":
        try:
            client.images.get(image)
            return
        except ImageNotFound as error:
            if pull == "never":
                advice = "pull or build it, or set pull to 'missing'"
                raise DeployError(
                    f"the engine has no image {image!r}, and pull is 'never' ({error.explanation}): {advice}"
                ) from error
    progress(f"pulling image {image}")
    repository, tag = parse_repository_tag(image)
    try:
        _follow_pull(image, client.api.pull(repository, tag or "latest", stream=True, decode=True), progress, stop)
    except APIError as error:
        raise DeployError(
            f"image {image!r} cannot be pulled: {_words(error)}", transient=error.is_server_error()
        ) from error
    progress(f"pulled image {image}")


def build_image(
    client: DockerClient, folder: Path, tag: str, pull: bool, progress: Progress, stop: threading.Event
) -> None:
    """Send a folder to the engine and have its Dockerfile built as `tag`.

    Raises:
        DeployError: with the last lines that the build printed.
    """
    if not (folder / "Dockerfile").is_file():
        raise DeployError(f"build {str(folder)!r}: there is no Dockerfile in that folder")
    progress(f"building image {tag} from {folder}")
    said: deque[str] = deque(maxlen=40)
    try:
        for item in client.api.build(path=str(folder), tag=tag, rm=True, forcerm=True, pull=pull, decode=True):
            if stop.is_set():
                raise Stopped
            if text := item.get("stream", "").rstrip():
                said.append(text)
                if text.startswith("Step "):
                    progress(f"{tag}: {text}")
            if failure := item.get("error"):
                said.append(str(failure))
                raise DeployError(f"image {tag!r} could not be built from {folder}:\n{quote_tail(chr(10).join(said))}")
    except (APIError, BuildError, TypeError, OSError) as error:
        raise DeployError(f"image {tag!r} could not be built from {folder}: {_words(error)}") from error


def _follow_pull(image: str, items: Iterable[Mapping[str, Any]], progress: Progress, stop: threading.Event) -> None:
    layers: dict[str, tuple[int, int]] = {}
    told = time.monotonic()
    for item in items:
        if stop.is_set():
            raise Stopped
        if failure := item.get("error"):
            raise DeployError(f"image {image!r} cannot be pulled: {failure}", transient=True)
        detail = item.get("progressDetail") or {}
        if item.get("status") == "Downloading" and "total" in detail:
            layers[str(item["id"])] = (int(detail["current"]), int(detail["total"]))
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            have, total = (sum(column) / 1e6 for column in zip(*layers.values(), strict=True)) if layers else (0.0, 0.0)
            progress(f"pulling image {image}: {have:.0f} of at least {total:.0f} MB")


def _words(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error) if isinstance(error, DockerException) else str(error)

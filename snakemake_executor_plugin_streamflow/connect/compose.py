"""The containers of a Compose project, here or at the engine of an inner deployment."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DeployError, SiteError
from ..model import ComposeOptions, Location
from .base import READY_S
from .compose_command import compose_command, down_words, environment, grow_words, project_words, up_words
from .containers import ContainersConnector
from .tool import run_tool
from .undisturbed import undisturbed

PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
NUMBER, ONE_OFF = "com.docker.compose.container-number", "com.docker.compose.oneoff"
_NOT_HEALTHY = re.compile(r"\((unhealthy|health: starting)\)")


class ComposeConnector(ContainersConnector):
    """Brings up a project with the Compose command of this machine; each container is a location."""

    options: ComposeOptions
    _name: str | None = None

    async def deploy(self) -> None:
        """Bring the project up, or what is missing of one that this run brought up.

        A project of the same name that somebody else has brought up is left alone: that is an error.
        """
        project = await self._project()
        if self.options.project_name and await self._list({PROJECT: project}, every=True):
            raise DeployError(
                f"{self.deployment.name}: project {project!r} has containers already: say `external: true` to use "
                f"them, remove them with {self._removal(project)}, or choose another projectName"
            )
        self.log.debug(f"{self.deployment.name}: compose project {project}")
        try:
            await self._compose([*project_words(self.options, project), *up_words(self.options)])
            if not await self._list({PROJECT: project}, every=False):
                raise DeployError("no container of it goes on running: a service's command must not end by itself")
        except BaseException as error:
            await undisturbed(self._give_up(project))
            if isinstance(error, DeployError):
                message = f"{self.deployment.name}: project {project} cannot be brought up:\n{error}"
                raise DeployError(message, transient=error.transient) from error
            raise

    async def undeploy(self) -> None:
        project = await self._project()
        try:
            await self._compose(down_words(self.options, project))
        except SiteError as error:
            message = f"containers may be left: {error}\nRemove them with {self._removal(project)}"
            raise DeployError(f"{self.deployment.name}: {message}", transient=error.transient) from error

    async def locations(self, service: str | None) -> Sequence[Location]:
        name, project = self.deployment.name, await self._project()
        found = [one for one in await self._list({PROJECT: project}, every=False) if _is_service(one)]
        if not found:
            raise DeployError(f"{name}: no container of project {project} is running", transient=True)
        running = sorted({one["Labels"][SERVICE] for one in found})
        if service and service not in running:
            raise DeployError(f"{name} has no service {service!r} that is running; it has {', '.join(running)}")
        wanted = [one for one in found if service in (None, "", one["Labels"][SERVICE])]
        return [self._location(one) for one in sorted(wanted, key=_place)]

    async def ready(self, service: str) -> Sequence[Location]:
        """Wait until all containers of a service that have a health check are healthy."""
        end = time.monotonic() + READY_S
        while True:
            found = await super().ready(service)
            hosts = {location.host for location in found}
            states = await self._list({PROJECT: await self._project()}, every=False)
            waiting = [one["Names"][0] for one in states if one["Id"] in hosts and _NOT_HEALTHY.search(one["Status"])]
            if not waiting:
                return found
            if time.monotonic() > end:
                names = ", ".join(waiting)
                message = f"{self.deployment.name}: {names} did not become healthy within {READY_S:.0f} s"
                raise DeployError(message, transient=True)
            await asyncio.sleep(0.3)

    async def scale(self, service: str, count: int, *, spare: Collection[str]) -> None:
        """Add containers by Compose. Those that go are removed one by one: Compose would choose others."""
        project = await self._project()
        mine = await self._list({PROJECT: project, SERVICE: service}, every=False)
        running = sorted(filter(_is_service, mine), key=_place)
        if len(running) < count:
            await self._compose([*project_words(self.options, project), *grow_words(self.options, service, count)])
        surplus = [one for one in running if self._location(one).name not in spare]
        for one in surplus[len(surplus) - max(len(running) - count, 0) :]:
            await self._engine.call("POST", f"/containers/{one['Id']}/stop?t={self.options.timeout}")
            reply = await self._engine.call("DELETE", f"/containers/{one['Id']}?v=1&force=1")
            if not reply.ok and reply.status != 404:
                raise DeployError(f"{self._location(one).name} cannot be removed: {reply.text}")

    def handle(self) -> str:
        return f"compose project {self._own_name()}"

    def _own_name(self) -> str:
        if self.options.project_name:
            return self.options.project_name
        return f"streamflow-{self.run}-{re.sub('[^a-z0-9_-]', '-', self.deployment.name.lower())}"

    async def _project(self) -> str:
        """The project's name; that of an external one is, unless it is given, what Compose takes from the files."""
        if self._name is None:
            self._name = self._own_name()
            if self.deployment.external and not self.options.project_name:
                said = await self._compose([*project_words(self.options, None), "config", "--format", "json"])
                self._name = str(json.loads(said)["name"])
        return self._name

    async def _compose(self, words: Sequence[str]) -> str:
        command = await compose_command()
        address = (await self._engine.address()).url
        self.log.debug(f"{self.deployment.name}: {' '.join((*command, *words))}")
        folder = self.options.project_directory or Path(self.options.files[0]).parent
        down = "down" in words
        return await run_tool([*command, *words], environment(address), "/" if down else str(folder))

    async def _give_up(self, project: str) -> None:
        try:
            await self._compose(down_words(self.options, project))
        except SiteError as error:
            self.log.warning(
                f"{self.deployment.name}: containers may be left: {error}; remove them with {self._removal(project)}"
            )

    def _removal(self, project: str) -> str:
        return self._engine.command(f"compose --project-name {project} down")

    def _location(self, container: dict[str, Any]) -> Location:
        service, number = container["Labels"][SERVICE], container["Labels"].get(NUMBER, "1")
        return replace(self._at(f"{self.deployment.name}/{service}/{number}", container), service=service)


def _is_service(container: dict[str, Any]) -> bool:
    labels = container["Labels"]
    return SERVICE in labels and str(labels.get(ONE_OFF, "False")).lower() != "true"


def _place(container: dict[str, Any]) -> tuple[str, int]:
    labels = container["Labels"]
    return labels[SERVICE], int(labels.get(NUMBER, 1))

"""Containers of one Docker engine, here or through an inner deployment."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docker import DockerClient
from docker.errors import NotFound

from ..errors import DeployError, SiteError, quote_tail
from ..model import DockerOptions, Location, least
from .containers import ContainersConnector
from .docker_engine import control
from .docker_images import build_image, ensure_image
from .docker_run import container_arguments, gpu_count, host_arguments
from .undisturbed import undisturbed

RUN, DEPLOYMENT, REPLICA = "streamflow.run", "streamflow.deployment", "streamflow.replica"
SETTLE_S = 0.1


class DockerConnector(ContainersConnector):
    """Brings up containers of one image, or uses an existing container."""

    options: DockerOptions

    async def deploy(self) -> None:
        """Bring up what is missing of the containers; those of this run that are up already stay as they are."""
        if self.options.container_id is not None:
            await self._existing(self.options.container_id)
            return
        await self._have(range(1, least(self.options.replicas) + 1))

    async def scale(self, service: str, count: int, *, spare: Collection[str]) -> None:
        running = {number: one for one in await self._ours(every=False) if (number := _number(one))}
        less = len(running) - count
        if less > 0:
            gone = sorted(number for number in running if f"{self.deployment.name}/{number}" not in spare)[-less:]
            await self._remove(await self._engine.client(), [_name(running[number]) for number in gone])
        elif less < 0:
            free = (number for number in itertools.count(1) if number not in running)
            await self._have(list(itertools.islice(free, -less)))

    async def _have(self, numbers: Iterable[int]) -> None:
        """Bring up those of the containers that do not run; on failure none of these is left."""
        client = await self._engine.client()
        image = await self._image(client)
        folders = await self._engine.folders()
        there = {_number(container): container for container in await self._ours(every=True)}
        made: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                for number in numbers:
                    old = there.get(number)
                    if old is None or old["State"] != "running":
                        group.create_task(self._bring_up(client, image, number, folders, made, old))
            await asyncio.sleep(SETTLE_S)  # a main process that fails does so at once
            for name in made:
                await self._check(client, name)
        except BaseException as error:
            await undisturbed(self._give_up(client, made))
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise

    async def undeploy(self) -> None:
        if self.options.container_id is not None:
            return
        left = [self._name(number) for number in range(1, least(self.options.replicas) + 1)]
        try:
            client = await self._engine.client()
            left = [_name(container) for container in await self._ours(every=True)]
            await self._remove(client, left)
        except SiteError as error:
            command = self._engine.command(f"rm -f {' '.join(left)}")
            message = f"{self.deployment.name}: containers may be left: {error}; remove them with {command}"
            raise DeployError(message, transient=error.transient) from error

    async def locations(self, service: str | None) -> Sequence[Location]:
        name = self.deployment.name
        if service:
            raise DeployError(f"{name} has no service {service!r}: a docker deployment has one, without a name")
        if self.options.container_id is not None:
            existing = await self._existing(self.options.container_id)
            return [self._location(existing, existing["Name"].removeprefix("/"))]
        running = await self._ours(every=False)
        if not running:
            raise DeployError(f"{name}: none of its containers is running", transient=True)
        running.sort(key=_number)
        return [self._location(c, c["Labels"].get(REPLICA, _name(c))) for c in running]

    def handle(self) -> str:
        if self.options.container_id is not None:
            return ""
        return "containers with " + " and ".join(f"label={key}={value}" for key, value in self._labels().items())

    def _name(self, number: int) -> str:
        return f"streamflow-{self.run}-{re.sub('[^A-Za-z0-9_.-]', '_', self.deployment.name)}-{number}"

    def _labels(self) -> dict[str, str]:
        return {RUN: self.run, DEPLOYMENT: self.deployment.name}

    async def _image(self, client: DockerClient) -> str:
        options, stop, tell = self.options, threading.Event(), self.log.info
        if options.build is not None:
            folder = _local_folder(options.build)
            image = options.image or f"streamflow/{re.sub('[^a-z0-9]+', '-', self.deployment.name.lower()).strip('-')}"
            await control(partial(build_image, client, folder, image, options.pull == "always", tell, stop), stop=stop)
            return image
        if options.image is None:
            raise DeployError(f"{self.deployment.name}: one of image, build and containerId is needed")
        await control(partial(ensure_image, client, options.image, options.pull, tell, stop), stop=stop)
        return options.image

    async def _bring_up(
        self, client: DockerClient, image: str, number: int, folders: tuple[str, str], made: list[str], old: Any
    ) -> None:
        name = self._name(number)
        if old is not None:
            await self._remove(client, [_name(old)])
        arguments = container_arguments(self.options, {**self._labels(), REPLICA: str(number)})
        host = client.api.create_host_config(**host_arguments(self.options, *folders))
        made.append(name)
        try:
            await control(partial(client.api.create_container, image, name=name, host_config=host, **arguments))
        except DeployError as error:
            made.remove(name)  # nothing came to be; the name may be somebody else's container
            raise DeployError(f"{self.deployment.name}: container {name} cannot be created: {error}") from error
        try:
            for network in self.options.network[1:]:
                await control(partial(client.api.connect_container_to_network, name, network))
            await control(partial(client.api.start, name))
        except DeployError as error:
            raise DeployError(f"{self.deployment.name}: container {name} cannot be started: {error}") from error
        self.log.debug(f"container {name} is up")

    async def _check(self, client: DockerClient, name: str) -> None:
        state = (await control(partial(client.api.inspect_container, name)))["State"]
        if not state["Running"]:
            said = quote_tail(await control(lambda: b"".join(client.api.logs(name, tail=15, stream=True))))
            message = (
                f"container {name} ended at once with code {state['ExitCode']}: its command must go on until stopped"
            )
            raise DeployError(f"{self.deployment.name}: {message}\n{said}".rstrip())

    async def _give_up(self, client: DockerClient, made: Sequence[str]) -> None:
        try:
            ours = {_name(container) for container in await self._ours(every=True)}
            await self._remove(client, ours.intersection(made))
        except SiteError as error:
            command = self._engine.command(f"rm -f {' '.join(made)}")
            self.log.warning(f"{self.deployment.name}: containers may be left: {error}; remove them with {command}")

    async def _remove(self, client: DockerClient, names: Iterable[str]) -> None:
        def remove(name: str) -> None:
            with contextlib.suppress(NotFound):
                client.api.remove_container(name, v=True, force=True)

        try:
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(control(partial(remove, name)))
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from None

    async def _ours(self, *, every: bool) -> list[dict[str, Any]]:
        return await self._list(self._labels(), every=every)

    async def _existing(self, container: str) -> dict[str, Any]:
        reply = await self._engine.call("GET", f"/containers/{quote(container, safe='')}/json")
        if not reply.ok:
            raise DeployError(f"{self.deployment.name}: {reply.text}", transient=reply.status >= 500)
        found: dict[str, Any] = reply.json()
        if not found["State"]["Running"]:
            start_it = self._engine.command(f"start {container}")
            raise DeployError(f"{self.deployment.name}: container {container} is not running: start it with {start_it}")
        return found

    def _location(self, container: Mapping[str, Any], instance: str) -> Location:
        options, found = self.options, self._at(f"{self.deployment.name}/{instance}", container)
        gpus = gpu_count(options.gpus)
        return replace(
            found,
            cores=found.cores if found.cores is not None else options.cpus,
            memory_b=found.memory_b if found.memory_b is not None else options.memory_limit,
            custom={**({} if gpus is None else {"gpu": gpus}), **found.custom},
        )


def _name(container: Mapping[str, Any]) -> str:
    names: list[str] = container["Names"]
    return names[0].removeprefix("/") if names else str(container["Id"])


def _number(container: Mapping[str, Any]) -> int:
    return int(container["Labels"].get(REPLICA, 0))


def _local_folder(text: str) -> Path:
    return Path(text).expanduser().absolute()

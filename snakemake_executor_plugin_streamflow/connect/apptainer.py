"""Containers of Apptainer or SingularityCE, at this machine or at an inner location."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from shlex import join, quote

from ..errors import DeployError, SiteError, quote_tail
from ..model import CONTROLLER, ApptainerOptions, Deployment, FilesystemSpec, LocalOptions, Location
from .apptainer_words import ADDRESS, Program, absolute, fetch, flags, mounts, probe, sees_home
from .base import Channel, Connector, Entrance, Inner, Log
from .local import LocalConnector
from .spell_out import spell_out
from .undisturbed import undisturbed

STOP_S = 5


class ApptainerConnector(Connector):
    """Runs processes in containers of one image: in instances, or each in one of its own.

    The working directory is a folder of the host, bound under its own name: its files are the inner location's.
    """

    programs = ("apptainer", "singularity")
    options: ApptainerOptions

    def __init__(self, deployment: Deployment, *, run: str, inner: Inner | None, log: Log) -> None:
        super().__init__(deployment, run=run, inner=inner, log=log)
        self.ephemeral = self.options.instances
        self._host = inner
        self._program: Program | None = None
        self._probing = asyncio.Lock()
        self._fetched = False

    async def deploy(self) -> None:
        """Start what is missing of the instances; without instances, see whether the image runs."""
        options, name = self.options, self.deployment.name
        program = await self._find()
        if program.workdir is not None:
            await self._ask(f"mkdir -p {quote(program.workdir)}", "its working directory cannot be made")
        elif not sees_home(options):
            raise DeployError(f"{name}: containers do not see the home directory: give the deployment a `workdir`")
        if options.instance_name is not None:
            return
        image = await self._image(program)
        if not options.instances:
            text = join([program.path, "exec", *flags(options, program), image, "true"])
            await self._ask(text, f"image {options.image} does not run")
            return
        made: list[str] = []
        try:
            there = await self._running()
            for instance in self._names():
                if instance not in there:
                    made.append(instance)
                    text = join([program.path, "instance", "start", *flags(options, program), image, instance])
                    await self._ask(text, f"instance {instance} cannot be started")
        except BaseException:
            await undisturbed(self._give_up(made))
            raise

    async def undeploy(self) -> None:
        if not self.options.instances or self.options.instance_name is not None:
            return
        names = self._names()
        try:
            running = await self._running()
            await self._stop([name for name in names if name in running])
        except SiteError as error:
            message = f"{self.deployment.name}: instances may be left: {error}; stop them with {self._stopping(names)}"
            raise DeployError(message, transient=error.transient) from error

    async def locations(self, service: str | None) -> Sequence[Location]:
        name, options = self.deployment.name, self.options
        if service:
            raise DeployError(f"{name} has no service {service!r}: an {self.deployment.type} deployment has none")
        program = await self._find()
        if not options.instances:
            return [await self._location(program, str(n), str(n)) for n in range(1, options.replicas + 1)]
        running = await self._running()
        if options.instance_name is not None:
            if options.instance_name not in running:
                raise DeployError(f"{name}: there is no instance {options.instance_name!r} there: start it")
            return [await self._location(program, options.instance_name, options.instance_name)]
        found = [
            await self._location(program, str(number), instance)
            for number, instance in enumerate(self._names(), 1)
            if instance in running
        ]
        if not found:
            raise DeployError(f"{name}: none of its instances is running", transient=True)
        return found

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        program, host = await self._find(), await self._login()
        self.log.debug(f"{location.name}: exec {argv!r}")
        argv, env = spell_out(argv, {**self.options.env, **(env or {})})
        variables = {program.prefix + key: value for key, value in env.items()}
        command = [*await self._enter(program, location), *argv]
        return await host.connector.open(host.location, command, variables or None)

    def handle(self) -> str:
        if not self.options.instances or self.options.instance_name is not None:
            return ""
        return f"instances {', '.join(self._names())}"

    def entrance(self, location: Location) -> Entrance | None:
        if self.inner is None or self.inner.connector.deployment.type == "local" or self._program is None:
            return None
        if not self.options.instances:
            return None
        return Entrance(self.inner, (self._program.path, "exec", f"instance://{location.host}"))

    async def _enter(self, program: Program, location: Location) -> list[str]:
        start = [program.path, "--silent", "exec", *(["--no-eval"] if program.no_eval else [])]
        if self.options.instances:
            return [*start, *(["--cleanenv"] if self.options.cleanenv else []), f"instance://{location.host}"]
        return [*start, *flags(self.options, program), await self._image(program)]

    async def _image(self, program: Program) -> str:
        """Return the image's path at the host; one with an address is fetched to the user's cache, once."""
        image = self.options.image or ""
        if not ADDRESS.match(image):
            return absolute(image, program)
        digest = hashlib.sha256(image.encode()).hexdigest()[:12]
        file = f"{program.home}/.cache/streamflow/images/{re.sub('[^A-Za-z0-9.]+', '-', image)}-{digest}.sif"
        if not self._fetched and self.options.pull != "never":
            text = fetch(program, image, file, always=self.options.pull == "always")
            await self._ask(text, f"image {image} cannot be fetched")
            self._fetched = True
        return file

    def _names(self) -> list[str]:
        stem = f"streamflow-{self.run}-{self.deployment.name}"
        return [f"{stem}-{number}" for number in range(1, self.options.replicas + 1)]

    async def _running(self) -> set[str]:
        program = await self._find()
        said = await self._ask(join([program.path, "instance", "list", "--json"]), "it does not list its instances")
        return {str(one["instance"]) for one in json.loads(said or "{}").get("instances") or ()}

    async def _stop(self, names: Sequence[str]) -> None:
        program = await self._find()
        stop = f"{quote(program.path)} instance stop --timeout {STOP_S}"
        lines = [f'{stop} {quote(name)} & p="$p $!"' for name in names]
        await self._ask(
            "\n".join(["p=; r=0", *lines, "for q in $p; do wait $q || r=1; done; exit $r"]), "a stop failed"
        )

    async def _give_up(self, names: Sequence[str]) -> None:
        try:
            running = await self._running()
            await self._stop([name for name in names if name in running])
        except SiteError as error:
            left = f"instances may be left: {error}; stop them with {self._stopping(names)}"
            self.log.warning(f"{self.deployment.name}: {left}")

    def _stopping(self, names: Sequence[str]) -> str:
        where = f" at {self.inner.location.name}" if self.inner else ""
        return "; ".join(f"`{self.programs[0]} instance stop {name}`" for name in names) + where

    async def _login(self) -> Inner:
        """The host: the inner location, or this machine."""
        if self._host is None:
            here = Deployment(self.deployment.name, "local", LocalOptions(), workdir=self.deployment.workdir)
            local = LocalConnector(here, run=self.run, inner=None, log=self.log)
            self._host = Inner(local, (await local.locations(None))[0])
        return self._host

    async def _find(self) -> Program:
        """Ask the host for its command, once. Raises DeployError, Unreachable."""
        async with self._probing:
            if self._program is None:
                host = (await self._login()).location
                said = (await self._ask(probe(self.programs), "its containers cannot be run")).split("\n")
                workdir = str(self.deployment.workdir or host.workdir or "") or None
                here = workdir or said[3]
                if self.inner is None or host.filesystem == CONTROLLER:
                    here = str(Path.cwd())
                    workdir = workdir or here
                self._program = Program(said[0], said[1], said[2] != "0", said[3], here, workdir)
            return self._program

    async def _location(self, program: Program, instance: str, host: str) -> Location:
        login, options = (await self._login()).location, self.options
        spec = self.deployment.filesystem
        if spec is None:
            # The ledger knows a path by its filesystem: another folder there must have another name.
            same = self.deployment.workdir in (None, login.workdir)
            spec = FilesystemSpec(login.filesystem if same else self.deployment.name, login.shared)
        source = CONTROLLER if (await self._login()).connector.on_controller else login.filesystem
        return Location(
            name=f"{self.deployment.name}/{instance}",
            deployment=self.deployment.name,
            service="",
            host=host,
            filesystem=spec.name,
            workdir=PurePosixPath(program.workdir) if program.workdir else None,
            cores=options.cores if options.cores is not None else options.cpus,
            memory_b=options.memory if options.memory is not None else options.memory_limit,
            disk_b=options.disk,
            custom=options.resources,
            shared=spec.shared,
            mounts=mounts(options, program, source),
        )

    async def _ask(self, text: str, wrong: str) -> str:
        """Run shell text at the host and return what it prints. Raises DeployError with its own words, Unreachable."""
        host = await self._login()
        async with await host.connector.open(host.location, ["sh", "-c", text]) as channel:
            await channel.close_stdin()
            said = b""
            while data := await channel.read():
                said += data
            code = await channel.wait()
            if code:
                raise DeployError(f"{self.deployment.name}: {wrong}: {quote_tail(channel.errors)}")
        return os.fsdecode(said).strip("\n")


class SingularityConnector(ApptainerConnector):
    """The same; where both commands are installed, the other one is taken."""

    programs = ("singularity", "apptainer")

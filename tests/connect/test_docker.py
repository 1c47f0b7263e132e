"""The docker connector against a real engine."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from docker.models.containers import Container

from snakemake_executor_plugin_streamflow.conformance.odd import NASTY
from snakemake_executor_plugin_streamflow.connect.base import Channel, Connector, Inner
from snakemake_executor_plugin_streamflow.connect.docker import DockerConnector
from snakemake_executor_plugin_streamflow.connect.docker_channel import Frames
from snakemake_executor_plugin_streamflow.connect.docker_run import gpu_count, host_arguments
from snakemake_executor_plugin_streamflow.errors import DeployError, SiteError, Unreachable
from snakemake_executor_plugin_streamflow.model import (
    CONTROLLER,
    Deployment,
    DockerOptions,
    FilesystemSpec,
    LocalOptions,
    Location,
    Mount,
)

from ..servers.docker import DockerEngine, busybox_image, debian_image, docker_engine  # noqa: F401 - fixtures

LOG = logging.getLogger(__name__)
NAME = "box"
MADE: list[str] = []
"""The run of every connector that `make` made."""


@dataclass(frozen=True)
class Completed:
    code: int
    stdout: bytes
    stderr: bytes


async def run(
    connector: Connector,
    location: Location,
    argv: Sequence[str],
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> Completed:
    async with await connector.open(location, argv, env) as channel:
        async with asyncio.TaskGroup() as group:
            group.create_task(feed(channel, stdin))
            out = group.create_task(drain(channel))
        return Completed(await channel.wait(), out.result(), channel.errors)


async def feed(channel: Channel, data: bytes) -> None:
    await channel.write(data)
    await channel.close_stdin()


async def drain(channel: Channel) -> bytes:
    parts = []
    while data := await channel.read():
        parts.append(data)
    return b"".join(parts)


def make(address: str, inner: Inner | None = None, name: str = NAME, **options: Any) -> DockerConnector:
    filesystem = options.pop("filesystem", None)
    workdir = options.pop("workdir", None)
    options = {"docker_host": address, "pull": "never", **options}
    deployment = Deployment(name, "docker", DockerOptions(**options), filesystem=filesystem, workdir=workdir)
    MADE.append(f"t{secrets.token_hex(4)}")
    return DockerConnector(deployment, run=MADE[-1], inner=inner, log=LOG)


class Box:
    """A busybox container that is up for the whole module."""

    def __init__(self, connector: DockerConnector) -> None:
        self.connector = connector

    def use(self, work: Callable[[DockerConnector, Location], Awaitable[None]]) -> None:
        async def go() -> None:
            await work(self.connector, (await self.connector.locations(None))[0])

        asyncio.run(go())

    def run(self, argv: Sequence[str], stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Completed:
        async def go() -> Completed:
            return await run(self.connector, (await self.connector.locations(None))[0], argv, stdin, env)

        return asyncio.run(go())


@pytest.fixture(scope="module")
def box(docker_engine: DockerEngine, busybox_image: str) -> Iterator[Box]:
    connector = make(docker_engine.address, image=busybox_image)
    asyncio.run(connector.deploy())
    yield Box(connector)
    asyncio.run(connector.undeploy())
    asyncio.run(connector.close())


@pytest.fixture
def engine(docker_engine: DockerEngine) -> Iterator[DockerEngine]:
    """The engine; the test has failed when a container of its deployments is left."""
    before = len(MADE)
    yield docker_engine
    assert not left_over(docker_engine, MADE[before:])


@pytest.fixture
def foreign(engine: DockerEngine, busybox_image: str) -> Iterator[Container]:
    """A container that is none of ours."""
    with engine.client() as client:
        volumes = ["/usr/share:/data/shared:ro"]
        container = client.containers.run(busybox_image, ["sleep", "600"], detach=True, init=True, volumes=volumes)
        yield container
        container.remove(force=True)


def left_over(engine: DockerEngine, runs: Sequence[str]) -> list[str]:
    """Return the containers of some runs, by label or by name: others may use the engine at the same time."""
    with engine.client() as client:
        every = client.api.containers(all=True)
    return [
        str(one["Names"])
        for one in every
        if one["Labels"].get("streamflow.run") in runs or any(run in name for run in runs for name in one["Names"])
    ]


def deployed(connector: DockerConnector, work: Callable[[Sequence[Location]], Awaitable[None]]) -> None:
    """Do some work while a deployment is up."""

    async def go() -> None:
        try:
            await connector.deploy()
            await work(await connector.locations(None))
        finally:
            await connector.undeploy()
            await connector.close()

    asyncio.run(go())


class TestProcess:
    @pytest.mark.parametrize("code", [0, 1, 7, 127])
    def test_exit_codes_arrive_unchanged(self, box: Box, code: int) -> None:
        assert box.run(["sh", "-c", f"exit {code}"]).code == code

    @pytest.mark.parametrize("number", [9, 15])
    def test_death_by_a_signal_is_128_and_its_number(self, box: Box, number: int) -> None:
        assert box.run(["sh", "-c", f"kill -{number} $$"]).code == 128 + number

    def test_a_missing_program_is_127_and_the_engines_words_are_no_output(self, box: Box) -> None:
        done = box.run(["no-such-program"])
        assert (done.code, done.stdout) == (127, b"")
        assert b"no-such-program" in done.stderr

    def test_stdout_and_stderr_are_apart(self, box: Box) -> None:
        done = box.run(["sh", "-c", "echo out; echo err >&2; echo out"])
        assert (done.stdout, done.stderr) == (b"out\nout\n", b"err\n")

    def test_all_bytes_pass_both_ways(self, box: Box) -> None:
        data = bytes(range(256)) * 3 + b" \n\n "
        assert box.run(["cat"], data).stdout == data
        assert box.run(["sh", "-c", "cat >&2"], data).stderr == data

    def test_arguments_arrive_byte_equal(self, box: Box) -> None:
        done = box.run(["sh", "-c", 'printf "%s\\0" "$@"', "sh", *NASTY])
        assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in NASTY]

    def test_undecodable_arguments_arrive_byte_equal(self, box: Box) -> None:
        arguments = [os.fsdecode(b"\xff\xfe"), "x\n", os.fsdecode(b"a'\xc3\n\n")]
        done = box.run(["printf", "%s\\0", *arguments], env={"ODD": os.fsdecode(b"\xff\n")})
        assert done.stdout.split(b"\0")[:-1] == [os.fsencode(argument) for argument in arguments]
        odd = box.run(["sh", "-c", 'printf %s "$ODD"'], env={"ODD": os.fsdecode(b"\xff\n")})
        assert odd.stdout == b"\xff\n"

    def test_environment_arrives_byte_equal(self, box: Box) -> None:
        wanted = {f"V{index}": value for index, value in enumerate(NASTY)}
        done = box.run(
            ["sh", "-c", 'for n in "$@"; do eval "printf \'%s\\0\' \\"\\$$n\\""; done', "sh", *wanted], env=wanted
        )
        assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in NASTY]

    def test_ten_megabytes_of_output_arrive(self, box: Box) -> None:
        assert box.run(["head", "-c", "10000000", "/dev/zero"]).stdout == bytes(10_000_000)

    def test_output_that_nobody_reads_holds_the_process_back_and_is_not_lost(self, box: Box) -> None:
        async def work(connector: DockerConnector, location: Location) -> None:
            async with await connector.open(location, ["head", "-c", "50000000", "/dev/zero"]) as channel:
                await asyncio.sleep(1)
                buffered: int = channel._buffered_b  # type: ignore[attr-defined]
                assert buffered < 5 * 1024 * 1024
                assert len(await drain(channel)) == 50_000_000
                assert await channel.wait() == 0

        box.use(work)

    def test_only_the_end_of_a_long_stderr_is_kept(self, box: Box) -> None:
        done = box.run(["sh", "-c", "seq 1 100000 >&2; echo end >&2"])
        assert len(done.stderr) == 64 * 1024
        assert done.stderr.endswith(b"100000\nend\n")

    def test_output_comes_after_the_input_was_closed(self, box: Box) -> None:
        assert box.run(["sh", "-c", "wc -c; sleep 0.3; echo more"], b"x" * 3_000_000).stdout.split() == [
            b"3000000",
            b"more",
        ]

    def test_input_that_the_process_leaves_unread_spoils_nothing(self, box: Box) -> None:
        async def work(connector: DockerConnector, location: Location) -> None:
            async with await connector.open(location, ["head", "-c", "1"]) as channel:
                with pytest.raises(Unreachable):
                    await channel.write(bytes(50_000_000))
                assert await drain(channel) == b"\0"
                assert await channel.wait() == 0

        box.use(work)

    def test_a_conversation_goes_on_over_one_channel(self, box: Box) -> None:
        async def work(connector: DockerConnector, location: Location) -> None:
            async with await connector.open(location, ["cat"]) as channel:
                for number in range(100):
                    await channel.write(b"%d\n" % number)
                    assert await channel.read() == b"%d\n" % number
                await channel.close_stdin()
                await channel.close_stdin()
                assert await channel.read() == b""
                assert await channel.wait() == 0

        box.use(work)

    def test_killing_a_channel_ends_a_shell_that_reads_its_commands(self, box: Box) -> None:
        async def work(connector: DockerConnector, location: Location) -> None:
            channel = await connector.open(location, ["sh"])
            await channel.write(b"echo $$\n")
            pid = (await channel.read()).decode().strip()
            await channel.kill()
            await channel.kill()
            with pytest.raises(Unreachable):
                await channel.wait()
            with pytest.raises(Unreachable):
                await channel.write(b"x")
            until = time.monotonic() + 5
            while (await run(connector, location, ["kill", "-0", pid])).code == 0:
                assert time.monotonic() < until

        box.use(work)

    def test_a_background_process_does_not_hold_the_result_back(self, box: Box) -> None:
        started = time.monotonic()
        assert box.run(["sh", "-c", "sleep 20 & echo done"]).stdout == b"done\n"
        assert time.monotonic() - started < 10

    def test_thirty_processes_run_at_once(self, box: Box) -> None:
        async def work(connector: DockerConnector, location: Location) -> None:
            argv = ["sh", "-c", "read n; sleep 1; exit $n"]
            done = await asyncio.gather(*(run(connector, location, argv, b"%d\n" % n) for n in range(30)))
            assert [one.code for one in done] == list(range(30))

        box.use(work)


class TestDeployment:
    def test_replicas_are_separate_locations_in_stable_order(self, engine: DockerEngine, busybox_image: str) -> None:
        connector = make(engine.address, image=busybox_image, replicas=3)

        async def work(locations: Sequence[Location]) -> None:
            assert [location.name for location in locations] == [f"{NAME}/{n}" for n in (1, 2, 3)]
            assert len({location.host for location in locations}) == 3
            assert [location.filesystem for location in locations] == [location.name for location in locations]
            hosts = await asyncio.gather(*(run(connector, location, ["hostname"]) for location in locations))
            assert [one.stdout.decode().strip() for one in hosts] == [location.host[:12] for location in locations]
            with pytest.raises(DeployError, match="no service 'x'"):
                await connector.locations("x")

        deployed(connector, work)

    def test_undeploy_is_idempotent_and_touches_nothing_else(
        self,
        engine: DockerEngine,
        busybox_image: str,
        foreign: Container,
    ) -> None:
        mine, other = (make(engine.address, image=busybox_image, replicas=2) for _ in range(2))

        async def work(locations: Sequence[Location]) -> None:
            await mine.undeploy()
            await mine.deploy()
            with engine.client() as client:
                client.api.remove_container((await mine.locations(None))[0].host, force=True)
            await mine.undeploy()
            await mine.undeploy()
            assert len(await other.locations(None)) == 2
            with pytest.raises(DeployError, match="none of its containers is running"):
                await mine.locations(None)

        deployed(other, work)
        foreign.reload()
        assert foreign.status == "running"

    def test_deploy_keeps_what_runs_and_replaces_what_does_not(self, engine: DockerEngine, busybox_image: str) -> None:
        connector = make(engine.address, image=busybox_image, replicas=2)

        async def work(locations: Sequence[Location]) -> None:
            with engine.client() as client:
                client.api.kill(locations[0].host)
            assert await connector.locations(None) == locations[1:]
            await connector.deploy()
            again = await connector.locations(None)
            assert again[1] == locations[1]
            assert again[0].name == locations[0].name
            assert again[0].host != locations[0].host

        deployed(connector, work)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"image": "streamflow-test/none:9"}, "streamflow-test/none"),
            ({"volume": ("rel/../..:::",)}, "cannot be created"),
            ({"volume": ("/tmp:relative",)}, "relative"),
            ({"mount": ("type=bind,source=/no/such/folder,target=/x",)}, "/no/such/folder"),
            ({"mount": ("type=bind,source=/tmp",)}, "target=PATH"),
            ({"network": ("none-such-network",)}, "none-such-network"),
            ({"network": ("bridge", "none-such-network")}, "none-such-network"),
            ({"command": ("no-such-program",), "init": False}, "no-such-program"),
            ({"command": ("sh", "-c", "echo I am ill >&2; exit 3")}, "code 3[^$]*I am ill"),
            ({"ulimit": ("nofile=many",)}, "ulimit 'nofile=many'"),
            ({"publish": ("x:y",)}, "publish"),
        ],
    )
    def test_a_deploy_that_fails_says_why_and_leaves_nothing(
        self,
        engine: DockerEngine,
        busybox_image: str,
        options: dict[str, Any],
        words: str,
    ) -> None:
        connector = make(engine.address, **{"image": busybox_image, "replicas": 2, **options})
        with pytest.raises(DeployError, match=words):
            asyncio.run(connector.deploy())

    def test_an_image_that_cannot_be_pulled_is_an_error_in_the_engines_words(self, engine: DockerEngine) -> None:
        connector = make(engine.address, image="127.0.0.1:1/none:1", pull="missing")
        with pytest.raises(DeployError, match=r"'127.0.0.1:1/none:1' cannot be pulled: .*refused"):
            asyncio.run(connector.deploy())

    @pytest.mark.parametrize("delay_s", [0.02, 0.1, 0.2, 0.4])
    def test_a_deploy_that_is_cancelled_leaves_nothing(
        self,
        engine: DockerEngine,
        busybox_image: str,
        delay_s: float,
    ) -> None:
        connector = make(engine.address, image=busybox_image, replicas=6)

        async def go() -> None:
            task = asyncio.create_task(connector.deploy())
            await asyncio.sleep(delay_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(go())

    def test_a_name_that_is_taken_is_left_alone(self, engine: DockerEngine, busybox_image: str) -> None:
        connector = make(engine.address, image=busybox_image, replicas=2)
        with engine.client() as client:
            taken = client.containers.create(busybox_image, "true", name=connector._name(2))
            try:
                with pytest.raises(DeployError, match="already in use"):
                    asyncio.run(connector.deploy())
                taken.reload()
                mine = {"label": f"streamflow.run={connector.run}"}
                assert client.containers.list(all=True, ignore_removed=True, filters=mine) == []
            finally:
                taken.remove()

    def test_an_image_with_an_entrypoint_works_and_is_built_on_request(
        self,
        engine: DockerEngine,
        busybox_image: str,
        tmp_path: Path,
    ) -> None:
        tag = f"streamflow-test/built:{secrets.token_hex(4)}"
        (tmp_path / "hello").write_text("hello")
        lines = [f"FROM {busybox_image}", "COPY hello /hello", 'ENTRYPOINT ["/bin/cat", "/hello"]', 'CMD ["x"]']
        (tmp_path / "Dockerfile").write_text("\n".join(lines))
        connector = make(engine.address, image=tag, build=str(tmp_path))

        async def work(locations: Sequence[Location]) -> None:
            assert (await run(connector, locations[0], ["cat", "/hello"])).stdout == b"hello"

        deployed(connector, work)
        with engine.client() as client:
            client.images.remove(tag)  # it stayed

    def test_a_build_that_fails_shows_what_it_printed(
        self,
        engine: DockerEngine,
        busybox_image: str,
        tmp_path: Path,
    ) -> None:
        (tmp_path / "Dockerfile").write_text(f"FROM {busybox_image}\nRUN echo this is wrong; exit 5\n")
        with pytest.raises(DeployError, match=r"this is wrong[^$]*code: 5"):
            asyncio.run(make(engine.address, build=str(tmp_path)).deploy())
        with pytest.raises(DeployError, match="no Dockerfile"):
            asyncio.run(make(engine.address, build=str(tmp_path / "none")).deploy())

    def test_options_are_applied(self, engine: DockerEngine, busybox_image: str, tmp_path: Path) -> None:
        (tmp_path / "here").write_text("bound")
        tmp_path.chmod(0o755)
        volume = f"streamflow-test-{secrets.token_hex(4)}"
        connector = make(
            engine.address,
            image=busybox_image,
            env={"GREETING": "good day"},
            user="1000:1000",
            cpus=0.5,
            memory_limit=64 * 2**20,
            shm_size=2**21,
            tmpfs=("/scratch:size=1m,mode=1777",),
            ulimit=("nofile=77",),
            hostname="boxed",
            add_host=("elsewhere:10.9.8.7",),
            volume=(f"{tmp_path}:/bound:ro", f"{volume}:/kept", "/anonymous"),
            mount=(f"type=bind,source={tmp_path},target=/mounted",),
            cap_drop=("NET_RAW",),
            label=("who=me",),
            working_dir="/scratch",
            workdir=PurePosixPath("/scratch/run"),
            resources={"licence": 1},
            filesystem=FilesystemSpec("lab", (PurePosixPath("/bound"),)),
        )
        script = """id -u; echo $GREETING; ulimit -n; hostname; cat /bound/here /mounted/here; echo
            grep -c 10.9.8.7 /etc/hosts; df -k /scratch | tail -n 1 | tr -s ' ' | cut -d' ' -f2
            touch /bound/x || echo ro"""

        async def work(locations: Sequence[Location]) -> None:
            (location,) = locations
            lines = (await run(connector, location, ["sh", "-c", script])).stdout.decode().split("\n")
            assert lines == ["1000", "good day", "77", "boxed", "boundbound", "1", "1024", "ro", ""]
            with engine.client() as client:
                found = client.api.inspect_container(location.host)
            host = found["HostConfig"]
            assert (host["NanoCpus"], host["Memory"], host["ShmSize"]) == (500_000_000, 64 * 2**20, 2**21)
            assert (host["Init"], host["CapDrop"]) == (True, ["NET_RAW"])
            assert found["Config"]["Labels"]["who"] == "me"
            assert found["Config"]["WorkingDir"] == "/scratch"
            assert (location.cores, location.memory_b, location.custom) == (0.5, 64 * 2**20, {"licence": 1})
            assert location.workdir == PurePosixPath("/scratch/run")
            assert (location.filesystem, location.shared) == ("lab", (PurePosixPath("/bound"),))
            there = PurePosixPath(tmp_path)
            assert location.mounts == tuple(Mount(PurePosixPath(p), CONTROLLER, there) for p in ("/bound", "/mounted"))

        deployed(connector, work)
        with engine.client() as client:
            client.volumes.get(volume).remove()  # it stayed

    def test_several_networks_are_joined(self, engine: DockerEngine, busybox_image: str) -> None:
        with engine.client() as client:
            networks = [client.networks.create(f"streamflow-test-{secrets.token_hex(4)}") for _ in range(2)]
            names = tuple(str(network.name) for network in networks)

            async def work(locations: Sequence[Location]) -> None:
                assert set(client.api.inspect_container(locations[0].host)["NetworkSettings"]["Networks"]) == set(names)

            try:
                deployed(make(engine.address, image=busybox_image, network=names), work)
            finally:
                for network in networks:
                    network.remove()

    def test_the_gnu_image_runs_bash(self, engine: DockerEngine, debian_image: str) -> None:
        connector = make(engine.address, image=debian_image)

        async def work(locations: Sequence[Location]) -> None:
            script = (
                "set -o pipefail; a=(1 2); stat -c %s /etc/passwd | grep -q . && ps -o pid= | wc -l && echo ${a[1]}"
            )
            assert (await run(connector, locations[0], ["bash", "-c", script])).stdout.split()[-1] == b"2"

        deployed(connector, work)


class TestLoss:
    @pytest.mark.parametrize("end", ["kill", "remove", "stop"])
    def test_a_container_that_ends_is_noticed(self, engine: DockerEngine, busybox_image: str, end: str) -> None:
        connector = make(engine.address, image=busybox_image, replicas=2)

        async def work(locations: Sequence[Location]) -> None:
            reading = await connector.open(locations[0], ["cat"])
            waiting = await connector.open(locations[0], ["sleep", "100"])
            other = await connector.open(locations[1], ["cat"])
            with engine.client() as client:
                container = client.containers.get(locations[0].host)
                how: dict[str, Callable[[], object]] = {
                    "kill": container.kill,
                    "remove": lambda: container.remove(force=True),
                    "stop": lambda: container.stop(timeout=5),
                }
                await asyncio.to_thread(how[end])
            async with asyncio.timeout(10):
                with pytest.raises(Unreachable):
                    await reading.read()
                with pytest.raises(Unreachable):
                    await waiting.wait()
                with pytest.raises(Unreachable, match=r"not running|No such container"):
                    await connector.open(locations[0], ["true"])
                assert await connector.locations(None) == locations[1:]
                await other.write(b"still here")
                assert await other.read() == b"still here"
            for channel in (reading, waiting, other):
                await channel.kill()

        deployed(connector, work)

    def test_a_broken_connection_is_no_orderly_end(self, box: Box) -> None:
        async def work(connector: DockerConnector, location: Location) -> None:
            async with await connector.open(location, ["sh", "-c", "echo begin; sleep 15"]) as channel:
                assert await channel.read() == b"begin\n"
                channel._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
                with pytest.raises(Unreachable, match="broke while the process was running"):
                    await channel.read()

        box.use(work)

    @pytest.mark.parametrize("address", ["unix:///no/such/docker.sock", "tcp://127.0.0.1:1"])
    def test_an_engine_that_does_not_answer_is_named_with_what_to_do(self, address: str) -> None:
        connector = make(address, image="x")
        started = time.monotonic()
        with pytest.raises(Unreachable, match=rf"no Docker engine answers at {address}: .*; .*DOCKER_HOST"):
            asyncio.run(connector.deploy())
        with pytest.raises(DeployError, match=rf"`docker -H {address} rm -f streamflow-{connector.run}-box-1`"):
            asyncio.run(connector.undeploy())
        with pytest.raises(SiteError):
            asyncio.run(connector.locations(None))
        assert time.monotonic() - started < 10

    def test_an_engine_that_is_silent_is_given_up(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "s"))
            silent.listen()
            started = time.monotonic()
            with pytest.raises(SiteError):
                asyncio.run(make(f"unix://{tmp_path}/s", image="x").deploy())
            assert time.monotonic() - started < 15

    def test_an_address_that_cannot_be_used_says_what_can(self) -> None:
        with pytest.raises(DeployError, match="let this one wrap it"):
            asyncio.run(make("ssh://host", image="x").deploy())


class TestExisting:
    def test_an_existing_container_is_used_and_left_alone(self, engine: DockerEngine, foreign: Container) -> None:
        assert foreign.id is not None
        assert foreign.name is not None
        for name in (foreign.name, foreign.id, foreign.id[:12]):
            connector = make(engine.address, container_id=name, user="1000", env={"A": "b"})

            async def work(locations: Sequence[Location], connector: DockerConnector = connector) -> None:
                (location,) = locations
                assert (location.name, location.host) == (f"{NAME}/{foreign.name}", foreign.id)
                shared = Mount(PurePosixPath("/data/shared"), CONTROLLER, PurePosixPath("/usr/share"))
                assert location.mounts == (shared,)
                assert (await run(connector, location, ["sh", "-c", "id -u; echo $A"])).stdout == b"1000\nb\n"

            deployed(connector, work)
        foreign.reload()
        assert foreign.status == "running"

    def test_one_that_does_not_run_is_not_started(self, engine: DockerEngine, foreign: Container) -> None:
        assert foreign.name is not None
        foreign.kill()
        connector = make(engine.address, container_id=foreign.name)
        for work in (connector.deploy, lambda: connector.locations(None)):
            with pytest.raises(DeployError, match="is not running: start it with"):
                asyncio.run(work())
        asyncio.run(connector.undeploy())
        foreign.reload()
        assert foreign.status == "exited"

    def test_one_that_does_not_exist_is_an_error(self, engine: DockerEngine) -> None:
        with pytest.raises(DeployError, match="No such container"):
            asyncio.run(make(engine.address, container_id="no-such").deploy())


class Site(Connector):
    """An inner connector that forwards a socket, or does not."""

    async def deploy(self) -> None: ...
    async def undeploy(self) -> None: ...
    async def locations(self, service: str | None) -> Sequence[Location]:
        return [Location("login/h", "login", "", "h", "login/h")]

    async def open(self, location: Location, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Channel:
        raise Unreachable("this one only forwards")


class Forwarding(Site):
    path = Path("/no/such/socket")

    async def forward_socket(self, location: Location, target: str) -> Path:
        self.asked = (location.name, target)
        return self.path


def inner(kind: type[Site], type_name: str) -> Inner:
    site = kind(Deployment("login", type_name, LocalOptions()), run="r", inner=None, log=LOG)
    return Inner(site, Location("login/h", "login", "", "h", "login/h"))


class TestWrapping:
    def test_the_engine_is_reached_through_a_forwarded_socket(self, engine: DockerEngine, foreign: Container) -> None:
        assert foreign.name is not None
        through = inner(Forwarding, "ssh")
        connector = make("unix:///run/there.sock", through, container_id=foreign.name)

        async def go() -> None:
            with pytest.raises(Unreachable, match=r"at /run/there\.sock of login/h"):
                await connector.deploy()
            assert isinstance(through.connector, Forwarding)
            through.connector.path = Path(engine.address.removeprefix("unix://"))
            await connector.deploy()
            assert through.connector.asked == ("login/h", "/run/there.sock")
            (location,) = await connector.locations(None)
            assert location.mounts[0].source == "login/h"
            assert (await run(connector, location, ["cat"], b"through")).stdout == b"through"
            await connector.close()

        asyncio.run(go())

    def test_an_inner_deployment_that_cannot_forward_is_refused(self) -> None:
        with pytest.raises(DeployError, match="cannot wrap 'login'"):
            asyncio.run(make("unix:///x", inner(Site, "queue"), image="x").deploy())

    def test_a_local_inner_deployment_needs_no_forwarding(self, engine: DockerEngine, foreign: Container) -> None:
        assert foreign.name is not None
        connector = make(engine.address, inner(Site, "local"), container_id=foreign.name)
        (location,) = asyncio.run(connector.locations(None))
        assert location.mounts[0].source == "login/h"


class TestPure:
    def test_frames_may_be_cut_anywhere(self) -> None:
        stream = b"".join(
            bytes([kind, 0, 0, 0, 0, 0, 0, len(text)]) + text
            for kind, text in [(1, b"one"), (2, b"e"), (1, b""), (1, b"two")]
        )
        for size in range(1, len(stream) + 1):
            frames = Frames()
            parts = [frames.feed(stream[at : at + size]) for at in range(0, len(stream), size)]
            assert b"".join(out for out, _ in parts) == b"onetwo"
            assert b"".join(err for _, err in parts) == b"e"
            assert frames.complete
        frames = Frames()
        frames.feed(stream[:-1])
        assert not frames.complete

    @pytest.mark.parametrize(
        ("given", "bind"),
        [
            ("~/data:/d", "/home/me/data:/d"),
            ("~:/d:ro", "/home/me:/d:ro"),
            ("./x:/d", "/srv/x:/d"),
            ("../x:/d", "/x:/d"),
            (".:/d", "/srv:/d"),
            ("/a/b:/d:ro,z", "/a/b:/d:ro,z"),
            ("volume:/d", "volume:/d"),
        ],
    )
    def test_sources_of_volumes_are_absolute_or_names(self, given: str, bind: str) -> None:
        assert host_arguments(DockerOptions(volume=(given,)), "/home/me", "/srv")["binds"] == [bind]

    @pytest.mark.parametrize(("gpus", "count"), [(None, None), ("all", None), ("2", 2), ("device=0,3", 2)])
    def test_gpus_are_requested_as_docker_run_does(self, gpus: str | None, count: int | None) -> None:
        assert gpu_count(gpus) == count
        requests = host_arguments(DockerOptions(gpus=gpus), "/h", "/w").get("device_requests", [])
        assert [request["Capabilities"] for request in requests] == ([] if gpus is None else [[["gpu"]]])

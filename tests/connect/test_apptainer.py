"""The Apptainer connector against a real Apptainer."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from snakemake_executor_plugin_streamflow.conformance.odd import NASTY
from snakemake_executor_plugin_streamflow.connect.apptainer import ApptainerConnector, SingularityConnector
from snakemake_executor_plugin_streamflow.connect.apptainer_words import Program, flags, mounts
from snakemake_executor_plugin_streamflow.connect.lifecycle import Lifecycle
from snakemake_executor_plugin_streamflow.errors import DeployError
from snakemake_executor_plugin_streamflow.model import CONTROLLER, ApptainerOptions, Companion, Deployment, Wraps

from ..conformance.test_ssh import lab
from ..servers.apptainer import apptainer_image, instances  # noqa: F401 - fixture
from ..servers.docker import DockerEngine, busybox_image, docker_engine  # noqa: F401 - fixtures
from ..servers.ssh import SshHosts
from .test_docker import run

LOG = logging.getLogger(__name__)
PROGRAM = Program("/bin/apptainer", "APPTAINERENV_", True, "/home/me", "/data/run")


def make(kind: type[ApptainerConnector] = ApptainerConnector, *, workdir: Path | None = None, **options: Any) -> Any:
    where = PurePosixPath(workdir) if workdir else None
    deployment = Deployment("box", "apptainer", ApptainerOptions(**options), workdir=where)
    return kind(deployment, run=f"t{secrets.token_hex(4)}", inner=None, log=LOG)


def up(connector: ApptainerConnector, work: Callable[[], Awaitable[None]]) -> None:
    """Do work while instances are up."""

    async def go() -> None:
        try:
            await connector.deploy()
            await work()
        finally:
            await connector.undeploy()
            await connector.undeploy()

    asyncio.run(go())
    assert connector.run not in instances()


def test_instances_are_locations_whose_arguments_environment_and_bytes_are_exact(
    apptainer_image: Path, tmp_path: Path
) -> None:
    connector = make(image=str(apptainer_image), replicas=2, workdir=tmp_path / "wörk dir", env={"OWN": "$x"})

    async def check() -> None:
        found = await connector.locations(None)
        assert [one.name for one in found] == ["box/1", "box/2"]
        assert {(one.filesystem, str(one.workdir)) for one in found} == {("box", f"{tmp_path}/wörk dir")}
        done = await run(connector, found[1], ["printf", "%s\\0", *NASTY])
        assert done.stdout == b"".join(os.fsencode(word) + b"\0" for word in NASTY)
        done = await run(connector, found[0], ["sh", "-c", 'printf "%s|%s" "$V" "$OWN"'], env={"V": "".join(NASTY)})
        assert done.stdout == os.fsencode("".join([*NASTY, "|$x"]))
        data = bytes(range(256)) * 5000
        done = await run(
            connector, found[0], ["sh", "-c", 'cat >"$1"/x; cat "$1"/x; exit 7', "sh", str(found[0].workdir)], data
        )
        assert (done.code, done.stdout) == (7, data)
        assert (tmp_path / "wörk dir" / "x").read_bytes() == data
        with pytest.raises(DeployError, match="has no service 'x'"):
            await connector.locations("x")

    up(connector, check)


def test_without_a_workdir_files_are_those_of_the_workflow(
    apptainer_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    connector = make(SingularityConnector, image="tools.sif")
    (tmp_path / "tools.sif").symlink_to(apptainer_image)

    async def check() -> None:
        (location,) = await connector.locations(None)
        assert (location.filesystem, location.workdir) == (CONTROLLER, PurePosixPath(tmp_path))
        assert (await run(connector, location, ["sh", "-c", f"echo made >{tmp_path}/made"])).code == 0
        assert (tmp_path / "made").read_text() == "made\n"

    up(connector, check)


def test_without_instances_each_process_has_a_container_of_its_own(apptainer_image: Path, tmp_path: Path) -> None:
    connector = make(image=str(apptainer_image), instances=False, workdir=tmp_path, writable_tmpfs=True)

    async def check() -> None:
        (location,) = await connector.locations(None)
        assert (await run(connector, location, ["sh", "-c", "echo x >/etc/own && cat /etc/own"])).stdout == b"x\n"
        assert (await run(connector, location, ["test", "-e", "/etc/own"])).code == 1
        assert connector.run not in instances()

    assert connector.handle() == ""
    up(connector, check)


def test_an_image_that_is_not_there_is_an_error_in_the_commands_words_and_leaves_nothing(
    apptainer_image: Path, tmp_path: Path
) -> None:
    connector = make(image="/nowhere.sif", replicas=2, workdir=tmp_path)
    with pytest.raises(DeployError, match=r"instance .* cannot be started: (.|\n)*nowhere\.sif"):
        asyncio.run(connector.deploy())
    assert connector.run not in instances()


def test_an_instance_that_is_gone_is_no_location_and_an_existing_one_is_only_used(
    apptainer_image: Path, tmp_path: Path
) -> None:
    connector = make(image=str(apptainer_image), replicas=2, workdir=tmp_path)

    async def check() -> None:
        first, second = await connector.locations(None)
        used = make(instance_name=second.host, workdir=tmp_path)
        await used.deploy()
        assert [one.host for one in await used.locations(None)] == [second.host]
        await used.undeploy()
        await connector._stop([first.host])
        assert await connector.locations(None) == [second]
        await connector.deploy()
        assert await connector.locations(None) == [first, second]
        await connector._stop([first.host, second.host])
        with pytest.raises(DeployError) as caught:
            await connector.locations(None)
        assert caught.value.transient

    up(connector, check)


def test_an_image_with_an_address_is_fetched_once(
    apptainer_image: Path,
    docker_engine: DockerEngine,
    busybox_image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", docker_engine.address)
    options = {"image": f"docker-daemon:{busybox_image}", "instances": False, "workdir": tmp_path / "w"}
    up(make(**options), nothing)
    (image,) = (tmp_path / ".cache/streamflow/images").iterdir()
    made = image.stat().st_mtime_ns
    up(make(**options), nothing)
    assert image.stat().st_mtime_ns == made
    up(make(**options, pull="always"), nothing)
    assert image.stat().st_mtime_ns > made


async def nothing() -> None:
    """Do nothing."""


def test_options_become_arguments() -> None:
    options = ApptainerOptions(
        image="i",
        bind=("~/a:/b:ro,/c", "d"),
        nv=True,
        rocm=True,
        overlay=("o.img:ro",),
        cpus=1.5,
        memory_limit=5,
        home="/h",
    )
    assert " ".join(flags(options, PROGRAM)) == (
        "--bind /home/me/a:/b:ro --bind /c:/c --bind /data/run/d:/data/run/d --nv --rocm --overlay o.img:ro --home /h "
        "--cpus 1.5 --memory 5"
    )
    shown = {(str(mount.path), str(mount.source_path)) for mount in mounts(options, PROGRAM, CONTROLLER)}
    assert shown == {("/b", "/home/me/a"), ("/c", "/c"), ("/data/run/d", "/data/run/d")}
    seen = mounts(ApptainerOptions(image="i"), PROGRAM, "lab")
    assert [(str(mount.path), mount.source) for mount in seen] == [("/home/me", "lab")]


def test_on_an_ssh_host_files_are_the_hosts_own(apptainer_image: Path) -> None:
    with SshHosts(1) as hosts:
        image = Path(hosts.root(1), "tools.sif")
        shutil.copyfile(apptainer_image, image)
        box = Deployment("box", "apptainer", ApptainerOptions(image="/tools.sif", instances=False), wraps=Wraps("lab"))
        companion = Companion(Path("streamflow.yml"), deployments={"lab": lab(hosts), "box": box})

        async def check() -> None:
            lifecycle = Lifecycle(companion, f"t{secrets.token_hex(4)}", LOG)
            try:
                connector = await lifecycle.up("box")
                (location,) = await connector.locations(None)
                (host,) = await lifecycle.connectors()["lab"].locations(None)
                assert (location.filesystem, location.workdir) == (host.filesystem, host.workdir)
                text = 'test -d /.singularity.d && printf %s "$V" >"$HOME/from-inside"; exit 3'
                done = await run(connector, location, ["sh", "-c", text], env={"V": "a'$b\udcff"})
                assert done.code == 3
                seen = await run(lifecycle.connectors()["lab"], host, ["sh", "-c", 'cat "$HOME/from-inside"'])
                assert seen.stdout == b"a'$b\xff"
            finally:
                assert await lifecycle.down() == []

        asyncio.run(check())

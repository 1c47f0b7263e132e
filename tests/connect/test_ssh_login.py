"""Logins at real sshds: keys, agents, known hosts, jump hosts, and what a refusal says."""

from __future__ import annotations

import asyncio
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import asyncssh
import pytest

from snakemake_executor_plugin_streamflow.conformance.watch import Watch
from snakemake_executor_plugin_streamflow.connect.registry import connector_class
from snakemake_executor_plugin_streamflow.connect.ssh import SshConnector
from snakemake_executor_plugin_streamflow.connect.ssh_login import logins
from snakemake_executor_plugin_streamflow.errors import DeployError, SiteError, Unreachable
from snakemake_executor_plugin_streamflow.model import Deployment, FilesystemSpec, Location, SshHop, SshOptions
from tests.servers import ssh as servers
from tests.servers.ssh import SshHosts

from .ssh_up import Log, connections, failure, hostname, key_pair, make, result, up

ssh_hosts = servers.ssh_hosts


def test_refused_and_unknown_names_are_typed_and_quick(ssh_hosts: SshHosts) -> None:
    start = time.monotonic()
    error = failure(make(ssh_hosts, nodes=[f"{ssh_hosts.hosts[0]}:23"]))
    assert "refused" in str(error)
    assert error.transient
    error = failure(make(ssh_hosts, nodes=["no-such-host.invalid"]))
    assert "no-such-host.invalid" in str(error)
    assert time.monotonic() - start < 10


def test_a_refused_connection_is_tried_again(ssh_hosts: SshHosts) -> None:
    log = Log()
    start = time.monotonic()
    failure(make(ssh_hosts, nodes=[f"{ssh_hosts.hosts[0]}:23"], retries=2, retry_delay=1, log=log))
    assert 2 < time.monotonic() - start < 5
    assert len([line for line in log.lines if "next try" in line]) == 2


def test_a_silent_host_is_given_up_after_the_time_out(ssh_hosts: SshHosts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        error = failure(make(ssh_hosts, nodes=[f"127.0.0.1:{server.getsockname()[1]}"], connect_timeout=2, retries=3))
        assert time.monotonic() - start < 3
        assert "within 2 s" in str(error)
        assert error.transient


def test_a_wrong_key_says_who_where_and_what_was_tried(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    key = key_pair(tmp_path / "other")
    error = failure(make(ssh_hosts, nodes=[ssh_hosts.hosts[0]], ssh_key=str(key), retries=3))
    assert not error.transient
    for word in ("root", ssh_hosts.hosts[0], str(key), "authorized_keys"):
        assert word in str(error)


def test_a_missing_key_file_is_named(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    error = failure(make(ssh_hosts, ssh_key=str(tmp_path / "none")))
    assert str(tmp_path / "none") in str(error)
    assert not error.transient


def test_a_key_with_a_passphrase(ssh_hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = key_pair(tmp_path / "locked", "open sesame")
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("open sesame\n")
    wrong.write_text("open barley\n")
    public = Path(f"{key}.pub").read_text().strip()
    ssh_hosts.run(1, f"echo '{public}' >> /etc/ssh/sf_authorized")
    node = [ssh_hosts.hosts[0]]
    assert hostname(make(ssh_hosts, nodes=node, ssh_key=str(key), ssh_key_passphrase_file=str(right))) == b"h1\n"
    wrong_ones: list[dict[str, Any]] = [{"ssh_key_passphrase_file": str(wrong)}, {}]
    for more in wrong_ones:
        error = failure(make(ssh_hosts, nodes=node, ssh_key=str(key), **more))
        assert str(key) in str(error)
        assert "barley" not in str(error)
        assert not error.transient


def test_a_password_from_a_file_is_never_shown(
    ssh_hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text(ssh_hosts.password + "\n")
    wrong.write_text("wrong-password-1\n")
    node = [ssh_hosts.hosts[0]]
    log = Log()
    assert hostname(make(ssh_hosts, nodes=node, ssh_key=None, password_file=str(right), log=log)) == b"h1\n"
    error = failure(make(ssh_hosts, nodes=node, ssh_key=None, password_file=str(wrong), log=log))
    assert str(wrong) in str(error)
    assert "takes passwords" in str(error), "not what is right for keys"
    assert not error.transient
    assert ssh_hosts.password not in "\n".join(log.lines)
    assert "wrong-password-1" not in "\n".join([*log.lines, str(error)])


def test_an_agent_is_asked(ssh_hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        monkeypatch.setenv("HOME", str(tmp_path))
        for _ in range(100):
            if (tmp_path / "agent").exists():
                break
            time.sleep(0.02)
        subprocess.run(["ssh-add", "-q", str(ssh_hosts.key)], check=True)
        assert hostname(make(ssh_hosts, ssh_key=None)) == b"h1\n"
        locked = tmp_path / "locked"
        locked.write_bytes(ssh_hosts.key.read_bytes())
        locked.chmod(0o600)
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-N", "secret", "-P", "", "-f", str(locked)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        assert hostname(make(ssh_hosts, ssh_key=str(locked))) == b"h1\n"
    finally:
        agent.kill()
        agent.wait()


def test_an_unknown_host_key_is_refused(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    for content in (None, "", "# a comment\nnonsense\n"):
        file = tmp_path / "known"
        if content is not None:
            file.write_text(content)
        error = failure(make(ssh_hosts, nodes=[ssh_hosts.hosts[0]], known_hosts=str(file), retries=3))
        assert not error.transient
        for word in (ssh_hosts.hosts[0], str(file), "accept-new", "SHA256:"):
            assert word in str(error)


@pytest.mark.parametrize("mode", ["known", "accept-new"])
def test_a_changed_host_key_is_refused(ssh_hosts: SshHosts, tmp_path: Path, mode: str) -> None:
    other = Path(f"{key_pair(tmp_path / 'x')}.pub").read_text().split()
    rsa = asyncssh.generate_private_key("ssh-rsa").export_public_key().decode().split()
    for kind, data in (other[:2], rsa[:2]):
        file = tmp_path / "known"
        file.write_text(f"{ssh_hosts.hosts[0]} {kind} {data}\n")
        error = failure(make(ssh_hosts, nodes=[ssh_hosts.hosts[0]], known_hosts=str(file), host_keys=mode))
        assert not error.transient
        assert "ssh-keygen -R" in str(error)
        assert file.read_text().count("\n") == 1


def test_accept_new_remembers_and_then_checks(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    file = tmp_path / "sub" / "known"
    assert hostname(make(ssh_hosts, known_hosts=str(file), host_keys="accept-new")) == b"h1\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    expected = {tuple(line.split()[:3]) for line in ssh_hosts.known_hosts.read_text().splitlines()}
    assert {tuple(line.split()[:3]) for line in file.read_text().splitlines()} == expected
    assert hostname(make(ssh_hosts, known_hosts=str(file))) == b"h1\n"
    assert len(file.read_text().splitlines()) == 2


def test_accept_new_hashes_names_where_they_are_hashed(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(ssh_hosts.known_hosts.read_text().splitlines()[1])  # h2, no newline at the end
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert hostname(make(ssh_hosts, known_hosts=str(file), host_keys="accept-new")) == b"h1\n"
    text = file.read_text()
    assert len(text.splitlines()) == 2
    assert not any(host in text for host in ssh_hosts.hosts)
    found = subprocess.run(["ssh-keygen", "-F", ssh_hosts.hosts[0], "-f", str(file)], capture_output=True, text=True)
    assert "ssh-ed25519" in found.stdout


@pytest.mark.parametrize("more", [{"check_host_key": False}, {"host_keys": "any"}])
def test_an_unchecked_host_key_is_warned_about_once(ssh_hosts: SshHosts, tmp_path: Path, more: dict[str, Any]) -> None:
    log = Log()
    assert hostname(make(ssh_hosts, known_hosts=str(tmp_path / "none"), log=log, **more)) == b"h1\n"
    assert len([line for line in log.warnings if "not checked" in line]) == 1


def test_ssh_config_is_honoured(ssh_hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    config = (
        f"Host lab-one\n  HostName {ssh_hosts.hosts[0]}\n  User root\n  IdentityFile {ssh_hosts.key}\n"
        f"  UserKnownHostsFile {ssh_hosts.known_hosts}\n  Ciphers aes256-ctr\n"
    )
    (tmp_path / "elsewhere").write_text(config)
    open_: dict[str, Any] = {"nodes": ["lab-one"], "username": None, "ssh_key": None, "known_hosts": None}
    assert hostname(make(ssh_hosts, **open_, config_file=str(tmp_path / "elsewhere"))) == b"h1\n"
    (tmp_path / ".ssh" / "config").write_text(config)
    assert hostname(make(ssh_hosts, **open_)) == b"h1\n"
    error = failure(make(ssh_hosts, **(open_ | {"username": "no-such-user"})))
    assert "no-such-user@lab-one" in str(error)


@pytest.fixture(scope="module")
def behind() -> Iterator[SshHosts]:
    """h2 and h3 can be reached through h1 only."""
    with SshHosts(3, hidden=2) as hosts:
        yield hosts


def test_a_jump_host(behind: SshHosts, tmp_path: Path) -> None:
    gate, inner, last = behind.hosts
    failure(make(behind, nodes=[inner], connect_timeout=2))
    hop = SshHop(hostname=gate, username="root")
    nested = SshHop(hostname=inner, tunnel=hop)
    config = tmp_path / "config"
    config.write_text(f"Host {inner}\n  ProxyJump root@gate:22\nHost gate\n  HostName {gate}\n")
    both = tmp_path / "both"
    both.write_text(behind.known_hosts.read_text() + behind.known_hosts.read_text().replace(gate, "gate"))
    assert hostname(make(behind, nodes=[inner], tunnel=gate)) == b"h2\n"
    assert hostname(make(behind, nodes=[inner], tunnel=f"root@{gate}:22")) == b"h2\n"
    assert hostname(make(behind, nodes=[inner], tunnel=hop)) == b"h2\n"
    assert hostname(make(behind, nodes=[SshHop(hostname=inner, tunnel=hop)])) == b"h2\n"
    assert hostname(make(behind, nodes=[last], tunnel=f"{gate},{inner}")) == b"h3\n"
    assert hostname(make(behind, nodes=[SshHop(hostname=last, tunnel=nested)])) == b"h3\n"
    assert hostname(make(behind, nodes=[inner], config_file=str(config), known_hosts=str(both))) == b"h2\n"


def test_nodes_behind_one_jump_host_share_its_connection(behind: SshHosts) -> None:
    async def body() -> None:
        async with up(make(behind, nodes=behind.hosts[1:], tunnel=behind.hosts[0])) as (connector, _):
            assert len(await connector.locations(None)) == 2
            assert connections(behind, 1) == 1

    asyncio.run(body())


def test_a_broken_jump_host_is_named_and_recovers(behind: SshHosts) -> None:
    gate, inner, _ = behind.hosts

    async def body() -> None:
        async with up(make(behind, nodes=[inner], tunnel=gate)) as (connector, where):
            behind.kill_sessions(1)
            assert (await result(connector, where, "hostname"))[1] == b"h2\n"

    asyncio.run(body())
    error = failure(make(behind, nodes=[inner], tunnel=f"{gate}:23"))
    assert f"root@{inner} (through {gate}:23)" in str(error)
    assert "refused" in str(error)


# locations


def test_locations_say_what_the_options_say(ssh_hosts: SshHosts) -> None:
    one, two = ssh_hosts.hosts
    options = SshOptions(
        nodes=(one, SshHop(hostname=two)),
        username="root",
        ssh_key=str(ssh_hosts.key),
        known_hosts=str(ssh_hosts.known_hosts),
        services={"a": {}, "b": {}},
        shared_paths=("/data",),
        cores=3,
        memory=5,
        disk=7,
        resources={"gpu": 2},
    )
    named = FilesystemSpec(name="nas", shared=(PurePosixPath("/mnt/nas"),))
    plain = Deployment(name="lab", type="ssh", options=options, workdir=PurePosixPath("/w"))
    on_nas = Deployment(name="lab", type="ssh", options=options, filesystem=named)

    async def body() -> None:
        connector = SshConnector(plain, run="r", inner=None, log=Log())
        assert connector.services() == ("a", "b")
        first = (await connector.locations("a"))[0]
        assert first == Location(
            name=f"lab/a/{one}",
            deployment="lab",
            service="a",
            host=one,
            filesystem=f"lab/{one}",
            workdir=PurePosixPath("/w"),
            cores=3,
            memory_b=5,
            disk_b=7,
            custom={"gpu": 2},
            shared=(PurePosixPath("/data"),),
        )
        assert (await connector.locations("b"))[0].filesystem == first.filesystem
        with pytest.raises(DeployError, match="a, b"):
            await connector.locations("c")
        await connector.close()
        connector = SshConnector(on_nas, run="r", inner=None, log=Log())
        assert {location.filesystem for location in await connector.locations("a")} == {"nas"}
        assert (await connector.locations("a"))[0].shared == (PurePosixPath("/mnt/nas"), PurePosixPath("/data"))
        await connector.close()

    asyncio.run(body())


def test_the_registry_knows_the_connector() -> None:
    assert connector_class("ssh") is SshConnector


def test_options_are_inherited_by_hops() -> None:
    options = SshOptions(
        nodes=("a", "me@b:2222", SshHop(hostname="c", check_host_key=False), "[::1]:22", "fe80::1"),
        username="u",
        ssh_key="/k",
        ssh_key_passphrase_file="/p",
        tunnel=SshHop(hostname="gate", ssh_key="/other"),
    )
    found = logins(options)
    assert [(login.user, login.host, login.port) for login in found.values()] == [
        ("u", "a", None),
        ("me", "b", 2222),
        ("u", "c", None),
        ("u", "::1", 22),
        ("u", "fe80::1", None),
    ]
    gate = found["a"].through
    assert gate is not None
    assert (gate.user, gate.own_user, gate.key, gate.passphrase_file) == ("u", False, Path("/other"), None)
    assert (found["a"].key, found["a"].passphrase_file) == (Path("/k"), Path("/p"))
    assert (found["a"].host_keys, found["c"].host_keys) == ("known", "any")


# forwarded sockets


def test_a_forwarded_socket_leads_to_the_host(ssh_hosts: SshHosts) -> None:
    serve = (
        "import socket,os\ns=socket.socket(socket.AF_UNIX)\ns.bind('/run/echo.sock')\ns.listen()\n"
        "print('up',flush=True)\nwhile 1:\n c=s.accept()[0]\n"
        " while d:=c.recv(65536): c.sendall(d.upper())\n c.close()\n"
    )

    async def ask(path: Path) -> bytes:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello")
        answer = await reader.readexactly(5)
        writer.close()
        return answer

    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            server = await connector.open(where, ["/usr/bin/python3", "-c", serve])
            assert await server.read() == b"up\n", server.errors
            path = await connector.forward_socket(where, "/run/echo.sock")
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert await ask(path) == b"HELLO"
            assert await connector.forward_socket(where, "/run/echo.sock") == path
            tcp = await connector.forward_socket(where, "127.0.0.1:22")
            reader, writer = await asyncio.open_unix_connection(tcp)
            assert (await reader.readline()).startswith(b"SSH-2.0-")
            writer.close()
            with pytest.raises(Unreachable, match=r"/run/none\.sock"):
                await connector.forward_socket(where, "/run/none.sock")
            await server.kill()
            ssh_hosts.kill_sessions(1)
            await asyncio.sleep(0.3)
            ssh_hosts.run(1, "rm -f /run/echo.sock")
            server = await connector.open(where, ["/usr/bin/python3", "-c", serve])
            assert await server.read() == b"up\n"
            again = await connector.forward_socket(where, "/run/echo.sock")
            assert await ask(again) == b"HELLO"
            await server.kill()
            folders = [path.parent, again.parent, tcp.parent]
        assert not any(folder.exists() for folder in folders[1:])

    asyncio.run(body())


def test_a_forwarded_socket_that_is_read_slowly_holds_its_sender_back(ssh_hosts: SshHosts) -> None:
    size_b = 128 << 20
    serve = (
        "import socket\ns=socket.socket(socket.AF_UNIX)\ns.bind('/run/pour.sock')\ns.listen()\nprint('up',flush=True)\n"
        f"s.accept()\nc=s.accept()[0]\nfor _ in range({size_b >> 16}): c.sendall(bytes(65536))\nc.close()\n"
    )

    async def body() -> None:
        async with up(make(ssh_hosts)) as (connector, where):
            server = await connector.open(where, ["/usr/bin/python3", "-c", serve])
            assert await server.read() == b"up\n", server.errors
            path = await connector.forward_socket(where, "/run/pour.sock")
            watch, got = Watch(), 0
            async with watch:
                reader, writer = await asyncio.open_unix_connection(path)
                while data := await reader.read(65536):
                    got += len(data)
                    await asyncio.sleep(0.001)
                writer.close()
            assert got == size_b
            assert watch.growth_b < 16 << 20

    asyncio.run(body())


def test_every_error_of_a_login_is_a_site_error(ssh_hosts: SshHosts, tmp_path: Path) -> None:
    broken = tmp_path / "config"
    broken.write_text("Port nonsense\n")
    assert isinstance(failure(make(ssh_hosts, config_file=str(broken))), SiteError)
    assert isinstance(failure(make(ssh_hosts, config_file=str(tmp_path / "none"))), SiteError)

"""How to log in to a host: the options, ~/.ssh/config and key files become arguments of `asyncssh.connect`."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import asyncssh
from asyncssh.public_key import get_default_public_key_algs

from ..errors import SiteError, Unreachable
from ..model import SshHop, SshOptions
from .ssh_known_hosts import SSH_PORT, KnownHosts, Visitor

CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com"
REKEY_B = 16 * 1024**3
KEEP_ALIVES = 3


@dataclass(frozen=True, slots=True)
class Login:
    """One host as the companion file describes it; what it leaves open is up to ~/.ssh/config.

    Attributes:
        name: as written, USER@HOST:PORT with or without user and port.
        own_user: whether `user` was written for this very host, so that it goes before ~/.ssh/config.
        host_keys: "known", "accept-new" or "any".
        through: the jump host.
    """

    name: str
    host: str
    port: int | None
    user: str | None
    own_user: bool
    key: Path | None
    passphrase_file: Path | None
    password_file: Path | None
    host_keys: str
    known_hosts: Path | None
    config_file: Path | None
    through: Login | None = None


def logins(options: SshOptions) -> dict[str, Login]:
    """Return the login of each node, by the node's name."""
    found: dict[str, Login] = {}
    for node in options.nodes:
        hop = node if isinstance(node, SshHop) else SshHop(hostname=node)
        login = _login(options, hop, of_node=True)
        found[login.name if hop.hostname in found else hop.hostname] = login
    return found


def jumps(login: Login, text: str) -> Login:
    """Return the login of `ProxyJump HOST,HOST`, with what it leaves open as for `login`."""
    before: Login | None = None
    for part in text.split(","):
        user, host, port = _split(part.strip())
        own = user is not None
        name = part.strip()
        before = replace(login, name=name, host=host, port=port, user=user or login.user, own_user=own, through=before)
    assert before is not None
    return before


def _login(options: SshOptions, hop: SshHop, *, of_node: bool) -> Login:
    user, host, port = _split(hop.hostname)
    own = hop.username or user
    tunnel = hop.tunnel or (options.tunnel if of_node else None)
    key = hop.ssh_key or options.ssh_key
    passphrase = hop.ssh_key_passphrase_file
    if passphrase is None and not (hop.ssh_key and hop.ssh_key != options.ssh_key):
        passphrase = options.ssh_key_passphrase_file
    login = Login(
        name=hop.hostname if user or not hop.username else f"{hop.username}@{hop.hostname}",
        host=host,
        port=port,
        user=own or options.username,
        own_user=own is not None or of_node,
        key=_path(key),
        passphrase_file=_path(passphrase),
        password_file=_path(hop.password_file or options.password_file),
        host_keys=_host_keys(options, hop),
        known_hosts=_path(options.known_hosts),
        config_file=_path(options.config_file),
    )
    if isinstance(tunnel, str):
        return replace(login, through=jumps(replace(login, user=options.username), tunnel))
    return replace(login, through=_login(options, tunnel, of_node=False)) if tunnel else login


def _host_keys(options: SshOptions, hop: SshHop) -> str:
    inherited = options.host_keys if options.check_host_key else "any"
    if hop.check_host_key is False:
        return "any"
    if hop.check_host_key and inherited == "any":
        inherited = "known"
    return hop.host_keys or inherited


def _split(text: str) -> tuple[str | None, str, int | None]:
    user, _, rest = text.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.startswith("[")):
        host, port = rest, ""
    return user or None, host.removeprefix("[").removesuffix("]"), int(port) if port else None


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A login with ~/.ssh/config and secrets read.

    Attributes:
        arguments: for `asyncssh.connect`, but for the tunnel.
        who: USER@HOST, for messages.
        tried: what the login is proved with, for messages.
        through: the jump host, from the options or `ProxyJump`.
    """

    arguments: dict[str, Any]
    who: str
    user: str
    tried: str
    visitor: Visitor
    known: KnownHosts
    through: Login | None
    host: str
    port: int


def prepare(login: Login, *, timeout_s: float, keep_alive_s: int) -> Prepared:
    """Read what a login needs. Blocks (files, key derivation).

    Raises:
        Unreachable: a file is missing or cannot be understood; not transient.
    """
    given: dict[str, Any] = {"host": login.host, "port": login.port or ()}
    given["config"] = [str(login.config_file)] if login.config_file else ()
    if login.user is not None and login.own_user:
        given["username"] = login.user
    try:
        seen = asyncssh.SSHClientConnectionOptions(**given, client_keys=None)
        if login.user is not None and not login.own_user and not seen.config.get("User"):
            given["username"] = login.user
            seen = asyncssh.SSHClientConnectionOptions(**given, client_keys=None)
        known = KnownHosts([login.known_hosts] if login.known_hosts else _user_files(seen))
        visitor = Visitor(known, accept_new=login.host_keys == "accept-new")
        trusted = None if login.host_keys == "any" else known.load()
        arguments = given | {
            "known_hosts": trusted,
            "client_factory": lambda: visitor,
            "compression_algs": None,
            "rekey_bytes": REKEY_B,
            "keepalive_interval": keep_alive_s,
            "keepalive_count_max": KEEP_ALIVES,
            "connect_timeout": None,
            "login_timeout": timeout_s,
        }
        if not seen.config.get("Ciphers"):
            arguments["encryption_algs"] = CIPHERS
        if trusted is not None and not seen.config.get("HostKeyAlgorithms"):
            arguments["server_host_key_algs"] = _key_types(trusted, seen)
        tried = _prove(login, seen, arguments)
    except (OSError, ValueError, asyncssh.Error) as error:
        name = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        raise Unreachable(f"{login.name}: cannot prepare the login: {name}", transient=False) from error
    through = login.through
    if through is None and isinstance(seen.tunnel, str) and seen.tunnel.lower() != "none":
        through = jumps(login, seen.tunnel)
        if through.host == login.host:  # `Host *` with a ProxyJump means the jump host as well
            through = None
    if through is None:
        arguments["tunnel"] = None
    who = f"{seen.username}@{login.host}"
    return Prepared(arguments, who, seen.username, tried, visitor, known, through, seen.host, seen.port)


def _user_files(seen: asyncssh.SSHClientConnectionOptions) -> Sequence[Path]:
    named = cast(Sequence[str], seen.config.get("UserKnownHostsFile") or ())
    return [Path(name).expanduser() for name in named] or [Path("~/.ssh/known_hosts").expanduser()]


def _key_types(trusted: asyncssh.SSHKnownHosts, seen: asyncssh.SSHClientConnectionOptions) -> Sequence[str]:
    """Return the types of the keys on file first, then all others: a changed key is to be seen, and named."""
    port = seen.port if seen.port != SSH_PORT else None
    keys, authorities, *_ = trusted.match(seen.host_key_alias or seen.host, "", port)
    if not keys or authorities:
        return ()
    types = [name for key in keys for name in key.sig_algorithms] + list(get_default_public_key_algs())
    return [name.decode("ascii") for name in dict.fromkeys(types)]


def _prove(login: Login, seen: asyncssh.SSHClientConnectionOptions, arguments: dict[str, Any]) -> str:
    agent = os.environ.get("SSH_AUTH_SOCK")
    tried: list[str] = []
    if login.passphrase_file is not None:
        arguments["passphrase"] = login.passphrase_file.read_text().rstrip("\r\n")
    if login.key is not None:
        tried.append(f"key {login.key}")
        try:
            asyncssh.read_private_key(login.key, arguments.get("passphrase"))
            arguments |= {"client_keys": [str(login.key)], "agent_path": None}
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            if login.passphrase_file is not None:
                text = f"{error} (key {login.key}, passphrase file {login.passphrase_file})"
                raise ValueError(text) from error
            if not agent:
                raise ValueError(
                    f"key {login.key}: {error}; if it is encrypted, give sshKeyPassphraseFile or add it to an agent"
                ) from error
            arguments |= {"client_keys": [str(login.key)], "ignore_encrypted": True}
    else:
        named = cast(Sequence[str], seen.config.get("IdentityFile") or ())
        usual = sorted(str(path) for path in Path("~/.ssh").expanduser().glob("id_*") if path.suffix == "")
        tried += [f"key {name}" for name in (named or usual)]
    if agent and "agent_path" not in arguments:
        tried.append("the agent's keys")
    if login.password_file is not None:
        arguments["password"] = login.password_file.read_text().rstrip("\r\n")
        tried.append(f"the password in {login.password_file}")
    return ", ".join(tried) or "nothing (no key, no agent, no password)"


def explain(prepared: Prepared, error: Exception, *, timeout_s: float, answered: bool) -> SiteError:
    """Return the error that says why a login failed, and what the user can do.

    `answered` says that the host was reached before: its name cannot be a mistake then.
    """
    who = prepared.who
    if prepared.through is not None:
        who += f" (through {prepared.through.name})"
    if isinstance(error, SiteError):  # of the jump host
        return Unreachable(f"{who}: {error}", transient=error.transient)
    if isinstance(error, asyncssh.PermissionDenied):
        advice = (
            f"Check user and key: the public key belongs into ~/.ssh/authorized_keys of {prepared.user} there; "
            "username and sshKey name others"
        )
        if prepared.tried.startswith("the password in"):
            advice = "Check username, the password (the file holds nothing else), and that the host takes passwords"
        text = f"{who}: permission denied for user {prepared.user}; tried {prepared.tried}. {advice}"
        return Unreachable(text, transient=False)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return Unreachable(f"{who}: {_host_key_text(prepared)}", transient=False)
    if isinstance(error, asyncssh.KeyExchangeFailed):
        text = f"{who}: no agreement on keys and ciphers: {error.reason}"
        if "host key" in error.reason.lower() and prepared.known.knows(prepared.host, "", prepared.port):
            text = f"{who}: {_host_key_text(prepared, changed=True)}"
        return Unreachable(text, transient=False)
    if isinstance(error, socket.gaierror):
        gone = error.errno == socket.EAI_NONAME
        advice = "check the name in `nodes`, or ~/.ssh/config" if gone else "the name service does not answer"
        return Unreachable(f"{who}: unknown host {prepared.host!r}: {advice}", transient=answered or not gone)
    if isinstance(error, TimeoutError):
        text = f"no answer from {prepared.host} port {prepared.port} within {timeout_s:g} s"
        return Unreachable(f"{who}: {text}; check that the host is up and the network lets us through")
    if isinstance(error, ConnectionRefusedError):
        text = f"connection refused at {prepared.host} port {prepared.port}; check the port, and that sshd runs"
        return Unreachable(f"{who}: {text}")
    if isinstance(error, (asyncssh.KeyImportError, ValueError)):
        return Unreachable(f"{who}: {error}", transient=False)
    return Unreachable(f"{who}: connecting failed: {error or type(error).__name__}")


def _host_key_text(prepared: Prepared, *, changed: bool = False) -> str:
    visitor, file = prepared.visitor, prepared.known.files[0]
    alias = prepared.host if prepared.port == SSH_PORT else f"[{prepared.host}]:{prepared.port}"
    shown = ""
    if visitor.shown is not None:
        shown = f" ({visitor.shown.get_algorithm()} {visitor.shown.get_fingerprint()})"
    if visitor.unwritten is not None:
        return f"the host key{shown} is new, and cannot be written to {file}: {visitor.unwritten.strerror}"
    if changed or visitor.changed:
        return (
            f"the host key{shown} is not the one in {file}. Somebody may be listening in, or the host was set up anew: "
            f"ask its administrator; if the new key is right, `ssh-keygen -R '{alias}' -f {file}` forgets the old one"
        )
    return (
        f"the host key{shown} is not in {file}, so it could be anybody's. Check it and connect once by hand "
        f"(`ssh -p {prepared.port} -o UserKnownHostsFile={file} {prepared.user}@{prepared.host}`), or set "
        "hostKeys: accept-new"
    )

"""ssh hosts on one machine, without Docker: each has its own network, mounts, processes, host name and overlay root.

Needs root, openssh-server, iproute2 and util-linux. Everything lies below one temporary folder; everything is ended by
pid, also when a test fails. Leftovers of a test run that was killed are removed by the next one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

TOOLS = {
    "/usr/sbin/sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
}
PREFIX = "sfssh"
START_S = 15.0
ROUTE_METRIC = 0x53000000  # plus our pid: whose route it is
MASKED = ("root", "tmp", "home")

INIT = r"""
set -e
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=/,upperdir={dir}/upper,workdir={dir}/work {dir}/top
cd {dir}/top
mkdir -p proc sys dev run small etc/ssh mnt {masked}
mount -t proc proc proc; mount -t sysfs -o ro sys sys; mount --rbind /dev dev
mount -t tmpfs -o size=50%,mode=755 run run; mkdir -p run/sshd; chmod 755 run/sshd
mount -t tmpfs -o size=8m small small
for d in {masked}; do mount --bind {dir}/$d $d; done
hostname {name}
install -m 600 {dir}/host_key etc/ssh/sf_host_key; install -m 644 {dir}/../authorized etc/ssh/sf_authorized
pivot_root . mnt; cd /; umount -l /mnt
id worker >/dev/null 2>&1 || useradd -m -s /bin/bash -p "*" worker
printf 'root:%s\n' {password} | chpasswd -c SHA512
exec /usr/sbin/sshd -D -e -f /dev/null -o HostKey=/etc/ssh/sf_host_key -o UsePAM=no -o PermitRootLogin=yes \
  -o AuthorizedKeysFile=/etc/ssh/sf_authorized -o StrictModes=no -o UseDNS=no -o MaxStartups=100:30:200 \
  -o PidFile=none {options}
"""


KILL_SESSIONS = r"""
for p in /proc/[0-9]*; do
  [ "${p#/proc/}" != 1 ] && read -r c <"$p/comm" && case $c in sshd*) kill -9 "${p#/proc/}" ;; esac
done
"""


class SshHosts:
    """`n` ssh hosts, named h1, h2 ...; i counts from 1. The last `hidden` ones can be reached through h1 only.

    Attributes:
        hosts: their addresses.
        key: private key, without a passphrase, that lets root in and an ordinary user `worker`.
        password: of root.
        known_hosts: file with the right host keys.

    `masked` are folders of this machine that are empty at the hosts; everything else is there, copied on write.
    `options` go to sshd, for instance "MaxSessions=3".
    """

    _count = 0

    def __init__(
        self,
        n: int,
        *,
        hidden: int = 0,
        options: Sequence[str] = (),
        masked: Sequence[str] = MASKED,
        on_disk: bool = False,
    ) -> None:
        assert 0 <= hidden < n < 16
        self.n = n
        self.hidden = hidden
        self.password = "correct horse"
        self.hosts: list[str] = []
        self._masked = tuple(masked)
        self._on_disk = on_disk
        self._options = " ".join(f"-o {shlex.quote(option)}" for option in options)
        self._tag = f"{os.getpid():x}-{SshHosts._count:x}"
        SshHosts._count += 1
        self._bridge, self._inner = f"sfb-{self._tag}", f"sfi-{self._tag}"
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._routes: list[str] = []
        self._rules: list[list[str]] = []
        self.dir = Path()

    @property
    def key(self) -> Path:
        return self.dir / "id"

    @property
    def known_hosts(self) -> Path:
        return self.dir / "known_hosts"

    def __enter__(self) -> Self:
        check()
        remove_leftovers()
        self.dir = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{self._tag}-"))
        try:
            # the upper side of an overlay cannot lie on an overlay, as a container's file system is one
            if not self._on_disk:
                _run("mount", "-t", "tmpfs", "-o", "size=3g,mode=755", PREFIX, str(self.dir))
            self.dir.chmod(0o755)
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(self.key))
            shutil.copy(f"{self.key}.pub", self.dir / "authorized")
            self._network()
            for i in range(1, self.n + 1):
                self._prepare(i)
                self.start(i, wait=False)
            for i in range(1, self.n + 1):
                self.wait(i)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def root(self, i: int) -> Path:
        """Return a path under which the files of a running host can be seen."""
        return Path(f"/proc/{self._init_pid(i)}/root")

    def run(self, i: int, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command at a host, without ssh."""
        enter = ["nsenter", "-t", str(self._init_pid(i)), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
        return subprocess.run([*enter, "sh", "-c", command], capture_output=True, text=True, errors="replace")

    def cut(self, i: int) -> None:
        """Cut the link of a host: packets vanish."""
        _run("ip", "link", "set", self._veth(i), "down")

    def heal(self, i: int) -> None:
        """Undo `cut`."""
        _run("ip", "link", "set", self._veth(i), "up")
        self.wait(i)

    def kill_sessions(self, i: int) -> None:
        """Kill the sshd process of each connection; sshd itself goes on."""
        self.run(i, KILL_SESSIONS)

    def stop(self, i: int) -> None:
        """Cut the power of a host: nothing runs there any more; its files stay."""
        process = self._processes.pop(i, None)
        if process is not None:
            process.send_signal(signal.SIGKILL)  # --kill-child ends the host's process 1, and that all in it
            process.wait()

    def start(self, i: int, *, wait: bool = True) -> None:
        """Start a host that was stopped, under its old address and with its old files."""
        place = self.dir / str(i)
        shutil.rmtree(place / "work", ignore_errors=True)
        (place / "work").mkdir()
        script = INIT.format(
            dir=place,
            name=f"h{i}",
            masked=" ".join(self._masked),
            password=shlex.quote(self.password),
            options=self._options,
        )
        unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        with open(place / "log", "ab") as log:
            self._processes[i] = subprocess.Popen(
                ["ip", "netns", "exec", self._netns(i), *unshare, "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait(i)

    def wait(self, i: int) -> None:
        """Wait until sshd of a host answers."""
        end = time.monotonic() + START_S
        probe = f"exec 3<>/dev/tcp/{self.hosts[i - 1]}/22 && read -r -t 2 line <&3"
        # the first packet after a link came up may be lost: better many short tries than one long one
        command = ["timeout", "1", "bash", "-c", probe]
        if i > self.n - self.hidden:
            command = ["ip", "netns", "exec", self._netns(1), *command]
        while subprocess.run(command, capture_output=True).returncode:
            process = self._processes.get(i)
            if time.monotonic() > end or process is None or process.poll() is not None:
                log = (self.dir / str(i) / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"host h{i} did not start:\n{log}")
            time.sleep(0.02)

    def close(self) -> None:
        """Stop everything and remove it. Idempotent."""
        for i in list(self._processes):
            self.stop(i)
        for route in self._routes:
            _try("ip", "route", "del", *route.split())
        for rule in self._rules:
            _try("iptables", "-D", *rule)
        self._routes, self._rules = [], []
        for i in range(1, self.n + 1):
            _try("ip", "link", "del", self._veth(i))
            _try("ip", "netns", "del", self._netns(i))
        for link in (f"sfj-{self._tag}", self._bridge, self._inner):
            _try("ip", "link", "del", link)
        if self.dir != Path():
            _try("umount", "-l", str(self.dir))
            shutil.rmtree(self.dir, ignore_errors=True)

    def _netns(self, i: int) -> str:
        return f"{PREFIX}-{self._tag}-{i:x}"

    def _veth(self, i: int) -> str:
        return f"sfv-{self._tag}{i:x}"

    def _init_pid(self, i: int) -> int:
        parent = self._processes[i].pid
        return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])

    def _prepare(self, i: int) -> None:
        place = self.dir / str(i)
        for folder in ("upper", "work", "top", *self._masked):
            (place / folder).mkdir(parents=True)
            (place / folder).chmod({"tmp": 0o1777, "root": 0o700}.get(folder, 0o755))
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"h{i}", "-f", str(place / "host_key"))
        public = (place / "host_key.pub").read_text().split()
        with open(self.known_hosts, "a") as stream:
            stream.write(f"{self.hosts[i - 1]} {public[0]} {public[1]}\n")

    def _network(self) -> None:
        outer, inner = free_subnets(2)
        self._add_bridge(self._bridge)
        _run("ip", "addr", "add", f"{outer[1]}/24", "dev", self._bridge)
        for i in range(1, self.n + 1):
            hidden = i > self.n - self.hidden
            net = inner if hidden else outer
            self.hosts.append(str(net[10 + i]))
            if hidden and i == self.n - self.hidden + 1:
                self._add_bridge(self._inner)
                self._join(f"sfj-{self._tag}", "eth1", self._inner, str(inner[11]), netns=self._netns(1))
                self._routes.append(f"unreachable {inner} metric {ROUTE_METRIC + os.getpid()}")
                _run("ip", "route", "add", *self._routes[-1].split())
            _run("ip", "netns", "add", self._netns(i))
            _run("ip", "-n", self._netns(i), "link", "set", "lo", "up")
            bridge = self._inner if hidden else self._bridge
            self._join(self._veth(i), "eth0", bridge, self.hosts[-1], netns=self._netns(i))
            if not hidden:
                _run("ip", "-n", self._netns(i), "route", "add", "default", "via", str(outer[1]))

    def _add_bridge(self, name: str) -> None:
        _run("ip", "link", "add", name, "type", "bridge")
        _run("ip", "link", "set", name, "up")
        if shutil.which("iptables"):  # dockerd drops what is forwarded, and bridged frames may count as that
            rule = ["FORWARD", "-i", name, "-o", name, "-j", "ACCEPT"]
            _run("iptables", "-I", *rule)
            self._rules.append(rule)

    def _join(self, veth: str, name: str, bridge: str, address: str, *, netns: str) -> None:
        _run("ip", "link", "add", veth, "type", "veth", "peer", "name", name, "netns", netns)
        _run("ip", "link", "set", veth, "master", bridge, "up")
        _run("ip", "-n", netns, "addr", "add", f"{address}/24", "dev", name)
        _run("ip", "-n", netns, "link", "set", name, "up")


def check() -> None:
    """Raise an error that says what is missing on this machine."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise RuntimeError(f"ssh hosts for tests need: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise RuntimeError("ssh hosts for tests need root (network namespaces and mounts)")


def free_subnets(count: int) -> list[ipaddress.IPv4Network]:
    """Return subnets 10.x.y.0/24 that no route of this machine leads to."""
    taken = []
    for word in re.findall(r"\d+\.\d+\.\d+\.\d+(?:/\d+)?", _run("ip", "-4", "route", "show", "table", "all")):
        with contextlib.suppress(ValueError):
            taken.append(ipaddress.ip_network(word, strict=False))
    start = os.getpid() * 7 % 200
    candidates = (ipaddress.IPv4Network(f"10.{233 + k // 256}.{k % 256}.0/24") for k in range(start, start + 1000))
    free = (net for net in candidates if not any(net.overlaps(other) for other in taken))
    return [next(free) for _ in range(count)]


def remove_leftovers() -> None:
    """Remove what test processes left that are dead."""
    for line in _run("ip", "netns", "list").splitlines():
        if (match := re.match(rf"({PREFIX}-([0-9a-f]+)-\S+)", line)) and not _alive(match[2]):
            for pid in _run("ip", "netns", "pids", match[1]).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _try("ip", "netns", "del", match[1])
    for name, pid in re.findall(r"^\d+: (sf[bivj]-([0-9a-f]+)-[0-9a-f]+)[@:]", _run("ip", "-o", "link"), re.MULTILINE):
        if not _alive(pid):
            _try("ip", "link", "del", name)
            _try("iptables", "-D", "FORWARD", "-i", name, "-o", name, "-j", "ACCEPT")
    for route, metric in re.findall(r"^(unreachable \S+) .*metric (\d+)", _run("ip", "route"), re.MULTILINE):
        if int(metric) >= ROUTE_METRIC and not _alive(f"{int(metric) - ROUTE_METRIC:x}"):
            _try("ip", "route", "del", *route.split(), "metric", metric)
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        if not _alive(folder.name.split("-")[1]):
            _try("umount", "-l", str(folder))
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: str) -> bool:
    return Path(f"/proc/{int(pid, 16)}").exists()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _try(*command: str) -> None:
    subprocess.run(command, capture_output=True)


@pytest.fixture(scope="session")
def ssh_hosts() -> Iterator[SshHosts]:
    """Two ssh hosts."""
    with SshHosts(2) as hosts:
        yield hosts

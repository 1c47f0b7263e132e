"""A Slurm cluster of processes on one machine: munged, slurmctld and some slurmd, each with a host name of its own.

    from ..servers import slurm as servers
    slurm = servers.slurm

Needs root. `slurm-wlm` and `munge` are installed when they are missing. Everything lies below one temporary folder, on
free ports, and is ended by pid.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

TOOLS = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "munged": "munge"}
START_S = 30.0

CONFIG = """\
ClusterName=test
SlurmctldHost=localhost
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={top}/munge/socket
CredType=cred/munge
StateSaveLocation={top}/state
SlurmdSpoolDir={top}/spool/%n
SlurmctldPidFile={top}/run/slurmctld.pid
SlurmdPidFile={top}/run/%n.pid
SlurmctldLogFile={top}/log/slurmctld
SlurmdLogFile={top}/log/%n
ProctrackType={track}
TaskPlugin={task}
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
{memory}
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
MinJobAge=300
KillWait=2
InactiveLimit=0
SlurmdTimeout=5
MessageTimeout=10
TCPTimeout=5
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes=n[1-{n}] Default=YES MaxTime=60 DefMemPerCPU=50 State=UP PriorityTier=1
PartitionName=urgent Nodes=n[1-{n}] Default=NO MaxTime=60 DefMemPerCPU=50 State=UP PriorityTier=9
"""

CGROUP = """\
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=yes
ConstrainSwapSpace=no
ConstrainDevices=no
"""

NODE = """mount --make-rprivate /; hostname "$1"
for p in $2; do mount -t tmpfs -o mode=1777 t "$p"; done; exec slurmd -N "$1\""""


class Slurm:
    """A cluster of `n` nodes n1, n2 ... with 4 CPUs each; partitions `main` and `urgent`, which takes from `main`.

    `private` are folders that each node has for itself: with the working directory in one, there is no shared
    filesystem. While the context lasts, SLURM_CONF of this process and its children names the cluster.
    """

    def __init__(self, n: int = 3, *, private: Sequence[Path] = ()) -> None:
        self.n = n
        self._private = " ".join(map(str, private))
        self.top = Path()
        self._before: str | None = None

    @property
    def env(self) -> Mapping[str, str]:
        """What commands of Slurm need to find the cluster."""
        return {"SLURM_CONF": f"{self.top}/etc/slurm.conf"}

    def __enter__(self) -> Self:
        install()
        self.top = Path(tempfile.mkdtemp(prefix="sfslurm-"))
        self.top.chmod(0o755)
        for name in ("etc", "log", "run", "state", "spool", "munge"):
            (self.top / name).mkdir(mode=0o755)
        self._before = os.environ.get("SLURM_CONF")
        os.environ.update(self.env)
        try:
            self._configure()
            self._munge()
            _run("slurmctld", "-c")
            for i in range(1, self.n + 1):
                self.start(i)
            self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, i: int) -> None:
        """Start the node n`i`."""
        (self.top / f"spool/n{i}").mkdir(exist_ok=True)
        _run("unshare", "--mount", "--uts", "bash", "-c", NODE, "bash", f"n{i}", self._private)

    def wait(self) -> None:
        """Wait until all nodes are idle."""
        end = time.monotonic() + START_S
        while (said := self.said("sinfo -h -N -o %T -p main").split()) != ["idle"] * self.n:
            if time.monotonic() > end:
                log = "\n".join((self.top / "log/slurmctld").read_text(errors="replace").splitlines()[-15:])
                raise RuntimeError(f"Slurm did not come up: {said}\n{log}")
            time.sleep(0.05)

    def said(self, command: str) -> str:
        """Run a command and return what it printed."""
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env={**os.environ, **self.env})
        return done.stdout + done.stderr

    def kill_node(self, i: int) -> None:
        """End the daemon of a node and all that runs there, at once."""
        pid = int((self.top / f"run/n{i}.pid").read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        mine = (f"SLURM_CONF={self.top}/etc/slurm.conf".encode(), f"SLURMD_NODENAME=n{i}".encode())
        steps, rest = [], []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (folder / "environ").read_bytes().split(b"\0")
                if all(one in environment for one in mine):
                    rest.append(int(folder.name))
                    steps.append(int((folder / "stat").read_text().rpartition(")")[2].split()[1]))
        for process in (*(set(steps) & set(self._steps())), *rest):  # a step would tell of the end of its job
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def close(self) -> None:
        """End all jobs and daemons."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", "-u", "root"], timeout=5, env={**os.environ, **self.env}, capture_output=True)
        end = time.monotonic() + 3
        while self._steps() and time.monotonic() < end:
            time.sleep(0.1)
        daemons = self._steps()
        for file in (*self.top.glob("run/*.pid"), self.top / "munge/pid"):
            with contextlib.suppress(OSError, ValueError):
                daemons.append(int(file.read_text()))
        for wanted in (signal.SIGTERM, signal.SIGKILL):
            for pid in daemons:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, wanted)
            end = time.monotonic() + 5
            while any(map(_alive, daemons)) and time.monotonic() < end:
                time.sleep(0.02)
        if self._before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = self._before
        shutil.rmtree(self.top, ignore_errors=True)

    def _steps(self) -> list[int]:
        """Processes of ours that keep jobs."""
        found, mine = [], f"SLURM_CONF={self.top}/etc/slurm.conf".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                step = (folder / "cmdline").read_bytes().startswith(b"slurmstepd")
                if step and mine in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def _configure(self) -> None:
        ports = _free_ports(self.n + 2)
        cgroups = Path("/sys/fs/cgroup/memory").is_dir()
        nodes = "\n".join(
            f"NodeName=n{i} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[i + 1]} CPUs=4 RealMemory=4000"
            for i in range(1, self.n + 1)
        )
        text = CONFIG.format(
            top=self.top,
            ports=ports,
            n=self.n,
            nodes=nodes,
            track="proctrack/cgroup" if cgroups else "proctrack/linuxproc",
            task="task/cgroup" if cgroups else "task/none",
            memory="" if cgroups else "JobAcctGatherParams=OverMemoryKill",
        )
        (self.top / "etc/slurm.conf").write_text(text)
        (self.top / "etc/cgroup.conf").write_text(CGROUP)

    def _munge(self) -> None:
        folder = self.top / "munge"
        (folder / "key").write_bytes(os.urandom(128))
        _run("chown", "-R", "munge:", str(folder))
        (folder / "key").chmod(0o400)
        parts = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={folder}/{name}" for option, name in parts.items()]
        _run("setpriv", "--reuid", "munge", "--regid", "munge", "--clear-groups", "munged", "--force", *options)


def install() -> None:
    """Install what is missing."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Three nodes that share this machine's files."""
    with Slurm() as cluster:
        yield cluster


def _alive(pid: int) -> bool:
    """Whether a process lives; one that has ended and waits for its parent does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with code {done.returncode}: {done.stderr[-1500:]}")

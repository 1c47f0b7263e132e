"""A Docker engine and two images for tests; nothing is downloaded.

    from ..servers.docker import busybox_image, docker_engine  # noqa: F401 - fixtures

A running engine is used where one answers. Otherwise dockerd is started below one temporary directory. Only one can run
per network namespace (a second one ruins the bridge and the rules of the first), so test sessions that overlap share
it, and the last one stops it.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Self

import pytest
from docker import DockerClient
from docker.errors import DockerException, ImageNotFound

BUSYBOX_IMAGE = "streamflow-test/busybox:1"
DEBIAN_IMAGE = "streamflow-test/debian:1"
USUAL_ADDRESS = "unix:///var/run/docker.sock"
START_S = 60
STOP_S = 30

TOOLS = """
    bash sh tar gzip find xargs sed grep gawk mawk awk setsid flock ps pgrep kill sleep
    [ arch b2sum base32 base64 basename cat chgrp chmod chown cksum comm cp csplit cut date dd df dirname du echo env
    expand expr factor false fold head hostid id install join link ln logname ls md5sum mkdir mkfifo mknod mktemp mv
    nice nl nohup nproc numfmt od paste pathchk pinky pr printenv printf ptx pwd readlink realpath rm rmdir runcon
    seq sha1sum sha256sum shred shuf sort split stat stdbuf stty sum sync tac tail tee test timeout touch tr
    true truncate tsort tty uname unexpand uniq unlink uptime users wc who whoami yes
"""
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000:worker:/home/worker:/bin/sh\n"
GROUP = b"root:x:0:\nworker:x:1000:\n"


class DockerEngine:
    """An engine that answers at `address` while the context lasts."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.gettempdir(), f"streamflow-test-docker-{os.getuid()}")
        self.address = ""
        self._use: IO[str] | None = None

    def __enter__(self) -> Self:
        with self._alone():
            for address in (os.environ.get("DOCKER_HOST"), self._own_address, USUAL_ADDRESS):
                if address and _answers(address):
                    self.address = address
                    break
            else:
                self._start()
            if self.address == self._own_address:
                self._use = (self.folder / "users").open("w")
                fcntl.flock(self._use, fcntl.LOCK_SH)
        return self

    def __exit__(self, *_: object) -> None:
        with self._alone():
            if self._use is None:
                return
            try:
                fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another session goes on using it
            finally:
                self._use.close()
            self._stop()

    @contextmanager
    def client(self) -> Iterator[DockerClient]:
        """Give a client of the SDK."""
        with closing(DockerClient(base_url=self.address, timeout=60)) as client:
            yield client

    @property
    def _own_address(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with Path(f"{self.folder}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is None:
            raise RuntimeError(
                "no Docker engine answers, and there is no dockerd to start: `apt-get install docker.io`"
            )
        if other := _dockerd_here():
            raise RuntimeError(
                f"no Docker engine answers, but dockerd runs (process {other}): set DOCKER_HOST to its address"
            )
        self.folder.mkdir(mode=0o700, exist_ok=True)
        command = [program, "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        command += ["-H", self._own_address, "-p", f"{self.folder}/pid"]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while not _answers(self._own_address):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                said = "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-15:])
                self._clean()
                raise RuntimeError(f"dockerd could not be started (it needs root and cgroups):\n{said}")
            time.sleep(0.1)
        self.address = self._own_address

    def _stop(self) -> None:
        with self.client() as client:
            for container in client.containers.list(all=True, ignore_removed=True):
                container.remove(force=True, v=True)
        pid = int((self.folder / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while _alive(pid):
            if time.monotonic() > deadline:
                for left in (pid, int((self.folder / "exec/containerd/containerd.pid").read_text())):
                    os.kill(left, signal.SIGKILL)
                break
            time.sleep(0.05)
        self._clean()

    def _clean(self) -> None:
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (point := line.split()[1]).startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", point], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """An engine; the test fails when none answers and none can be started."""
    with DockerEngine() as engine:
        yield engine


@pytest.fixture(scope="session")
def busybox_image(docker_engine: DockerEngine) -> str:
    """An image with busybox's commands, and nothing else (no bash)."""
    return ensure(docker_engine, BUSYBOX_IMAGE, busybox_tree, ["ENV PATH=/bin"])


@pytest.fixture(scope="session")
def debian_image(docker_engine: DockerEngine) -> str:
    """An image with this machine's bash, GNU tools and procps."""
    return ensure(docker_engine, DEBIAN_IMAGE, _gnu_tree, ["ENV PATH=/usr/bin LANG=C.UTF-8", 'CMD ["/bin/bash"]'])


class Tree:
    """A file system tree for an image, as a tar file in memory."""

    def __init__(self) -> None:
        self._data = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._data, mode="w")
        self._seen: set[str] = set()
        for folder, mode in {"tmp": 0o1777, "etc": 0o755, "root": 0o700, "home": 0o755}.items():
            self._add(folder, tarfile.DIRTYPE, mode)
        self._add("home/worker", tarfile.DIRTYPE, 0o755, owner=1000)
        self.file("etc/passwd", PASSWD)
        self.file("etc/group", GROUP)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file, once."""
        self._add(name, tarfile.REGTYPE, mode, data=data)

    def link(self, name: str, to: str) -> None:
        """Add a symbolic link, once."""
        self._add(name, tarfile.SYMTYPE, 0o777, to=to)

    def close(self) -> bytes:
        """Return the tar file."""
        self._tar.close()
        return self._data.getvalue()

    def _add(self, name: str, kind: bytes, mode: int, *, data: bytes = b"", to: str = "", owner: int = 0) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.linkname, entry.size = kind, mode, to, len(data)
        entry.uid = entry.gid = owner
        self._tar.addfile(entry, io.BytesIO(data))


def busybox_tree() -> bytes:
    """Return a tar file with busybox and its names."""
    program = shutil.which("busybox")
    if program is None or not _static(program):
        raise RuntimeError("the busybox image needs a static busybox: `apt-get install busybox-static`")
    tree = Tree()
    tree.file("bin/busybox", Path(program).read_bytes(), 0o755)
    for name in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            tree.link(f"bin/{name}", "busybox")
    return tree.close()


def _gnu_tree() -> bytes:
    tree = Tree()
    add_gnu(tree)
    return tree.close()


def add_gnu(tree: Tree) -> None:
    """Add this machine's bash and GNU tools."""
    for name in ("bin", "sbin", "lib", "lib64"):
        tree.link(name, "usr/bin" if name == "sbin" else f"usr/{name}")
    for name in TOOLS.split():
        if program := shutil.which(name):
            tree.file(f"usr/bin/{name}", Path(program).resolve().read_bytes(), 0o755)
            add_libraries(tree, program)


def add_libraries(tree: Tree, program: str | Path) -> None:
    """Add the shared libraries that a program needs."""
    for library in sorted(_libraries(str(program))):
        if "/site-packages/" in library:
            continue
        inside = f"/usr{library}" if library.startswith("/lib") else library
        tree.file(inside.lstrip("/"), Path(library).resolve().read_bytes(), 0o755)


def _libraries(program: str) -> set[str]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return {word for line in said.splitlines() for word in line.split() if word.startswith("/")}


def _static(program: str) -> bool:
    return not _libraries(program)


def ensure(engine: DockerEngine, image: str, make: Callable[[], bytes], changes: Sequence[str]) -> str:
    """Make an image, unless it is there, and return its name."""
    with engine.client() as client:
        try:
            client.images.get(image)
        except ImageNotFound:
            name, _, tag = image.partition(":")
            client.api.import_image_from_data(make(), repository=name, tag=tag, changes=list(changes))
    return image


def _answers(address: str) -> bool:
    try:
        client = DockerClient(base_url=address, timeout=5)
    except DockerException:
        return False
    client.close()
    return True


def _dockerd_here() -> int | None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            same = os.readlink(folder / "ns/net") == os.readlink("/proc/self/ns/net")
            if same and (folder / "comm").read_text() == "dockerd\n" and _alive(int(folder.name)):
                return int(folder.name)
        except OSError:
            continue
    return None


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

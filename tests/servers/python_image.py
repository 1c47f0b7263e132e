"""Images with this machine's Python: with and without Snakemake. Nothing is downloaded.

from ..servers.python_image import python_image, snakemake_image  # noqa: F401 - fixtures
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
import tarfile
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.runtime.bundle import bundle

from .docker import DockerEngine, Tree, add_gnu, add_libraries, ensure

SKIPPED = {
    "test",
    "tests",
    "idlelib",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "ensurepip",
    "tkinter",
    "turtledemo",
}
CHANGES = ["ENV PATH=/usr/local/bin:/usr/bin LANG=C.UTF-8", 'CMD ["/bin/bash"]']


def base() -> tuple[Path, Path]:
    """Return the interpreter behind this one, and the folder of its standard library."""
    program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return program, Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))


def tree() -> Tree:
    """Return bash, GNU tools and Python, where it is here; also as `python` and `python3` in PATH."""
    made = Tree()
    add_gnu(made)
    program, library = base()
    made.file(str(program)[1:], program.read_bytes(), 0o755)
    add_libraries(made, program)
    for name in ("python", "python3", f"python3.{sys.version_info[1]}"):
        made.link(f"usr/local/bin/{name}", str(program))
    for file in sorted(library.rglob("*")):
        if file.is_file() and not SKIPPED & set(file.relative_to(library).parts):
            made.file(str(file)[1:], file.read_bytes(), file.stat().st_mode & 0o777)
            compiled(made, file, str(file)[1:])
            if file.suffix == ".so":
                add_libraries(made, file)
    for file in sorted(Path(sysconfig.get_path("platlib")).rglob("*.so")):  # what the packages of the controller need
        add_libraries(made, file)
    return made


def compiled(tree: Tree, source: Path, name: str) -> None:
    """Add what this Python has compiled of a module, used without a look at times: each start is seconds faster."""
    if source.suffix == ".py" and (cache := Path(cache_from_source(str(source)))).exists():
        code = cache.read_bytes()
        if code[:8] == MAGIC_NUMBER + bytes(4) and int.from_bytes(code[8:12], "little") == int(source.stat().st_mtime):
            # PEP 552: bit 0 says that a hash stands where the time was, bit 1 that it is to be checked
            tree.file(
                f"{name.rpartition('/')[0]}/__pycache__/{cache.name}", code[:4] + b"\1\0\0\0" + bytes(8) + code[16:]
            )


@pytest.fixture(scope="session")
def python_image(docker_engine: DockerEngine) -> str:
    """An image with Python, without Snakemake."""
    version = hashlib.sha1(f"{sys.version}{base()}".encode(), usedforsecurity=False).hexdigest()[:12]
    return ensure(docker_engine, f"streamflow-test/python:{version}", lambda: tree().close(), CHANGES)


@pytest.fixture(scope="session")
def snakemake_image(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image whose Python has the Snakemake that is installed here."""
    return ensure_snakemake(docker_engine, tmp_path_factory.mktemp("bundle"))


def ensure_snakemake(engine: DockerEngine, folder: Path) -> str:
    """Make the image whose Python has the Snakemake that is installed here, unless it is there, and return its name."""
    packed = bundle((), folder)
    installed = Path(sysconfig.get_path("purelib"))

    def make() -> bytes:
        made = tree()
        packages = f"{base()[1]}/site-packages"[1:]
        with tarfile.open(packed.path) as archive:
            for entry in archive:
                content = archive.extractfile(entry)
                assert content is not None
                made.file(f"{packages}/{entry.name}", content.read(), entry.mode)
                compiled(made, installed / entry.name, f"{packages}/{entry.name}")
        return made.close()

    return ensure(engine, f"streamflow-test/snakemake:{packed.digest}-2", make, CHANGES)

"""The controller's Snakemake as one archive, made of the files that are installed here: no index, no internet."""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import importlib.util
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DeployError

OURS = ("snakemake_executor_plugin_streamflow", "snakemake_storage_plugin_streamflow")
_COMPRESSION = 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is sent to a location.

    Attributes:
        digest: of its content; the name of what is built of it.
        glibc: the oldest one that its compiled parts run with, as (2, 17); None when any, or none, will do.
    """

    digest: str
    path: Path
    glibc: tuple[int, int] | None


def bundle(modules: Iterable[str], folder: Path) -> Bundle:
    """Make the archive of Snakemake, its requirements, our plugins, and what provides `modules`; or find it made.

    Blocks for some seconds when it has to be made.

    Raises:
        DeployError: a package cannot be sent because its files are not known.
    """
    packages = _closure(["snakemake", *_providers(modules)])
    files = dict(sorted(_files(packages)))
    digest = _digest(files)
    path = folder / f"runtime-{digest}.tar.gz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _pack(files, path)
    needs = [needed for package in packages.values() if (needed := _glibc(package)) is not None]
    return Bundle(digest, path, max(needs, default=None))


def _closure(names: Iterable[str]) -> dict[str, metadata.Distribution]:
    """The named distributions and all that they require here, by normalized name."""
    from packaging.requirements import Requirement

    found: dict[str, metadata.Distribution] = {}
    waiting = [(name, frozenset[str]()) for name in names]
    seen = set[tuple[str, frozenset[str]]]()
    while waiting:
        name, extras = waiting.pop()
        key = (re.sub(r"[-_.]+", "-", name).lower(), extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            found[key[0]] = package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed; what is missing shows when the build is checked
        for text in package.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in ("", *extras)):
                waiting.append((needed.name, frozenset(needed.extras)))
    return found


def _providers(modules: Iterable[str]) -> Iterator[str]:
    """The distributions that provide top-level modules; a module that none provides is part of the workflow."""
    providers = metadata.packages_distributions()
    for module in modules:
        yield from providers.get(module, ())


def _files(packages: dict[str, metadata.Distribution]) -> Iterator[tuple[str, Path]]:
    """Names in the archive, below `site-packages`, and the files here."""
    for name, package in packages.items():
        listed = [(str(file), Path(str(file.locate()))) for file in package.files or ()]
        inside = [(to, path) for to, path in listed if not to.startswith(("..", "/", "__editable__"))]
        editable = any(to.endswith(".pth") for to, _ in inside) and not any(
            to.endswith(".py") and ".dist-info/" not in to for to, _ in inside
        )
        if not listed or editable:
            yield from _modules(name, [name.replace("-", "_")])
        yield from ((to, path) for to, path in inside if not to.endswith(".pth") and path.is_file())
    yield from _modules("snakemake-executor-plugin-streamflow", OURS)


def _modules(package: str, names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """All files of importable packages."""
    for name in names:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places:
            raise DeployError(
                f"{package} is installed in a form whose files are not listed, so it cannot be sent to a location. "
                "Install it from a wheel, or name a Python with Snakemake there (`python`)."
            )
        for top, folders, files in os.walk(places[0]):
            folders[:] = sorted(folder for folder in folders if folder != "__pycache__")
            for file in sorted(files):
                path = Path(top, file)
                yield f"{name}/{path.relative_to(places[0])}", path


def _digest(files: dict[str, Path]) -> str:
    """Of names, sizes and times: reading all content would take seconds in every run."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name, path in files.items():
        if not name.endswith(".pyc"):
            info = path.stat()
            own = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest() if name.startswith(OURS) else ""
            digest.update(f"{name}\0{info.st_size}\0{own or int(info.st_mtime)}\n".encode())
    return digest.hexdigest()[:16]


def _pack(files: dict[str, Path], path: Path) -> None:
    """Write the archive beside its place, then rename it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".runtime-", delete=False) as beside:
        try:
            with tarfile.open(fileobj=beside, mode="w:gz", compresslevel=_COMPRESSION) as archive:
                for name, file in files.items():
                    info, data = tarfile.TarInfo(name), file.read_bytes()
                    stat = file.stat()
                    info.size, info.mtime, info.mode = len(data), int(stat.st_mtime), 0o644 | (stat.st_mode & 0o111)
                    archive.addfile(info, io.BytesIO(data))
            os.replace(beside.name, path)
        except BaseException:
            os.unlink(beside.name)
            raise


def _glibc(package: metadata.Distribution) -> tuple[int, int] | None:
    """The glibc that a compiled package needs, by the tags of its wheel; one that was compiled here needs this one."""
    import platform

    tags = re.findall(r"^Tag: \S+-(\S+)$", package.read_text("WHEEL") or "", re.MULTILINE)
    if not tags or all(tag.endswith("-any") or tag == "any" for tag in tags):
        return None
    old = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
    needs = [(int(a), int(b)) for tag in tags for a, b in re.findall(r"manylinux_(\d+)_(\d+)_", tag)]
    needs += [version for tag in tags for name, version in old.items() if re.match(rf"{name}_", tag)]
    if needs:
        return min(needs)
    version = platform.libc_ver()[1].split(".")
    return (int(version[0]), int(version[1])) if len(version) > 1 else None

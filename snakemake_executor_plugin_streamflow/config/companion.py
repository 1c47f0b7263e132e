"""Read `streamflow.yml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..model import Binding, Companion, Deployment, HelmOptions, NeededFile
from .bindings import read_bindings
from .deployments import Declared, deployment, read_deployments
from .helm import check_machine as check_helm_machine
from .nodes import Document, Place
from .reader import Reader
from .sections import CompanionSection
from .streamflow import read_workflows

_LARGEST_B = 10**6


def read_companion(path: Path, environ: Mapping[str, str], home: Path | None = None) -> Companion:
    """Read and check a companion file.

    `${NAME}` in any value is replaced from `environ`; such a value is never part of a message. `home` is what `~`
    stands for.

    Raises:
        ConfigError: with every mistake, in the order of the file.
    """
    document = Document(path, environ)
    try:
        found = _read(document, _text(document), Reader(path.absolute().parent, home))
    except RecursionError:
        document.problem(Place(1, 1, "yaml"), "nested too deeply")
        found = None
    document.raise_problems()
    assert found is not None
    return found


def _read(document: Document, text: str, reader: Reader) -> Companion | None:
    root = document.root(text)
    if root is None:
        document.problem(Place(1, 1, "version"), "expected v1.0, got an empty file")
        return None
    file = reader.section(root, CompanionSection)
    if file is None:
        return None
    declared = read_deployments(document, reader, file)
    placed = read_bindings(reader, file.bindings, declared, document.shown)
    placed += read_workflows(reader, file, declared, document.shown)
    _check_machine(reader, placed, declared)
    document.raise_problems()
    deployments = {name: deployment(name, one) for name, one in declared.items() if one}
    deployments = _one_workdir_each(document, placed, deployments)
    document.raise_problems()
    return Companion(
        path=document.file,
        bindings=tuple(binding for binding, _ in placed),
        deployments=deployments,
        where=tuple(place for _, place in placed),
        files=tuple(
            NeededFile(name, Path(file), f"{document.shown}:{place.line}:{place.column}: {place.path}")
            for name, one in declared.items()
            for place, file in (one.files if one else ())
        ),
    )


def _check_machine(
    reader: Reader, placed: Sequence[tuple[Binding, str]], declared: Mapping[str, Declared | None]
) -> None:
    """Note what this machine lacks for the deployments that jobs may go to."""
    for name in {target.deployment: None for binding, _ in placed for target in binding.targets}:
        one = declared.get(name)
        if one is not None and isinstance(one.options, HelmOptions):
            check_helm_machine(reader, one.options)


def _one_workdir_each(
    document: Document, placed: Sequence[tuple[Binding, str]], deployments: Mapping[str, Deployment]
) -> dict[str, Deployment]:
    """Give the `workdir` of a target to its whole deployment: a location has one. Refuse targets that differ."""
    given: dict[str, PurePosixPath] = {}
    for binding, where in placed:
        for target in binding.targets:
            if target.workdir and given.setdefault(target.deployment, target.workdir) != target.workdir:
                line, column = where.split(":")[-2:]
                document.problem(
                    Place(int(line), int(column), "bindings.target.workdir"),
                    f"expected one working directory for deployment {target.deployment}, got {target.workdir} beside "
                    f"{given[target.deployment]}: declare a second deployment for the other",
                )
    return {name: replace(one, workdir=given.get(name, one.workdir)) for name, one in deployments.items()}


def _text(document: Document) -> str:
    """Return the content of the file, without a byte order mark."""
    try:
        with document.file.open("rb") as file:
            content = file.read(_LARGEST_B + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        document.problem(Place(1, 1, "file"), f"cannot be read: {reason or error}")
        document.raise_problems()
        raise AssertionError from error
    if len(content) > _LARGEST_B:
        document.problem(Place(1, 1, "file"), f"expected a file of at most {_LARGEST_B // 10**6} MB")
        document.raise_problems()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = Place(before.count(b"\n") + 1, len(before) - before.rfind(b"\n"), "file")
        document.problem(place, f"expected UTF-8 text, got the byte 0x{content[error.start]:02x}")
        document.raise_problems()
        raise AssertionError from error

"""What Snakefiles do with names of files, where those float: the same as where they lie on one disk.

A default storage provider puts a mark on every input and output, and gives it another name, that of a local copy.
Functions of Snakemake refuse the mark, or take that name for something else: `expand(rules.a.output, x=X)`, paths that
input functions make of `checkpoints.a.get().output`, `glob_wildcards()` of plain names, `as_py_module()`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, cast

from .address import SCHEME, plain_path


def adapt(provider: Any) -> None:
    """Have Snakemake's functions take files that float. To be called before the first Snakefile is read."""
    if "snakemake.workflow" not in sys.modules:  # nobody reads Snakefiles
        return
    from snakemake import ioutils, path_modifier, workflow

    names = Functions(provider)
    modifier: Any = path_modifier.PathModifier
    modules: Any = importlib.import_module("snakemake.ioutils.as_py_module")  # also the name of a function
    workflow.expand = ioutils.collect = names.expanding(_original(workflow.expand))  # what Snakefiles are given
    workflow.glob_wildcards = names.globbing(_original(workflow.glob_wildcards))
    modifier.modify = names.marking(_original(modifier.modify))
    modules.format_python_module = names.plain(_original(modules.format_python_module))


def _original(function: Any) -> Callable[..., Any]:
    """What was there before an earlier workflow of this process."""
    return cast("Callable[..., Any]", getattr(function, "__wrapped__", function))


class Functions:
    """Gives functions of Snakemake that know the files of a provider by both their names."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._copies = f"{provider.local_prefix}/"

    def expanding(self, expand: Callable[..., Any]) -> Callable[..., Any]:
        """`expand` of outputs. Other marks, as of `temp()`, are refused as ever."""

        @wraps(expand)
        def expanded(*args: Any, **values: Any) -> Any:
            given = [args[0]] if isinstance(args[0], str | Path) else list(args[0])
            marked = [_query(one) for one in given]
            if not any(marked):
                return expand(*args, **values)
            found = [
                expand([one if path is None else _unmarked(one, path)], *args[1:], **values)
                for path, one in zip(marked, given, strict=True)
            ]
            if not callable(found[0]):
                return self._joined(marked, found)

            def later(wildcards: Any, **more: Any) -> list[Any]:  # some values are functions of wildcards
                return self._joined(marked, [one(wildcards, **more) for one in found])

            return later

        return expanded

    def marking(self, modify: Callable[..., Any]) -> Callable[..., Any]:
        """What marks paths: one that was made of the name of a copy means the file, and is no path of its own."""

        @wraps(modify)
        def modified(modifier: Any, path: Any, property: Any = None) -> Any:
            inside = None if getattr(path, "flags", {}).get("local") else self._inside(path)
            return modify(modifier, path, property) if inside is None else self._mark(path, inside)

        return modified

    def globbing(self, glob: Callable[..., Any]) -> Callable[..., Any]:
        """`glob_wildcards` of plain names: finds also what is elsewhere, and what checkpoints have made."""

        @wraps(glob)
        def globbed(pattern: Any, files: Any = None, followlinks: bool = False) -> Any:
            found = glob(pattern, files, followlinks)
            plain = _query(pattern) is None and not getattr(pattern, "flags", {}).get("storage_object")
            if files is not None or not plain or Path(pattern).is_absolute() or self._inside(pattern):
                return found
            more = (glob(pattern, self._elsewhere()), glob(f"{self._copies}{pattern}"))
            rows = dict.fromkeys(row for one in (found, *more) for row in zip(*one, strict=True))
            return type(found)(*(map(list, zip(*rows, strict=True)) if rows else found))

        return globbed

    def plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of a path, for which plain names count."""

        @wraps(function)
        def of_plain(path: Any) -> Any:
            return function(self._inside(path) or path)

        return of_plain

    def _elsewhere(self) -> Iterable[str]:
        """Plain names of files that are known, of which there may be none here."""
        files = self._provider.engine.files
        paths = (path for path in files.ledger.paths() if not path.startswith(("/", SCHEME)))
        return [path for path in paths if files.state(path) is not None]

    def _inside(self, path: Any) -> str | None:
        """The plain name of a file that goes by that of its copy, without a mark; None for others."""
        if not isinstance(path, str) or not path.startswith(self._copies):
            return None
        inside = path.removeprefix(self._copies)
        return None if inside.startswith("@") else inside

    def _joined(self, marked: Sequence[str | None], found: Sequence[Sequence[Any]]) -> list[Any]:
        pairs = zip(marked, found, strict=True)
        return [one if path is None else self._mark(one, str(one)) for path, some in pairs for one in some]

    def _mark(self, path: Any, plain: str) -> Any:
        from snakemake.io import flag
        from snakemake.path_modifier import PATH_MODIFIER_FLAG
        from snakemake.storage import flag_with_storage_object

        if getattr(path, "flags", {}).get("storage_object"):
            return path
        return flag(flag_with_storage_object(path, self._provider.object(SCHEME + plain)), PATH_MODIFIER_FLAG)


def _query(pattern: Any) -> str | None:
    """The plain name of a file that is marked as floating; None for others."""
    query = getattr(getattr(pattern, "flags", {}).get("storage_object"), "query", None)
    return None if query is None else plain_path(str(query))


def _unmarked(pattern: Any, path: str) -> Any:
    from snakemake.io import AnnotatedString

    plain = AnnotatedString(path)
    plain.flags |= {name: value for name, value in pattern.flags.items() if name != "storage_object"}
    return plain

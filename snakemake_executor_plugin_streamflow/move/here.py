"""The controller's own files, and those of local sites."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Mapping, MutableSequence, Sequence
from contextlib import aclosing, suppress
from functools import partial
from itertools import zip_longest
from pathlib import Path

from ..errors import NoSpace, TransferError, Unsendable
from ..remote.job import Found
from . import blocks, listing
from .entry import Entry, Item, checked, compare, inside, join
from .store import Contents, Pieces, Store

_RIGHTS = 0o777
"""Of the mode of a file that arrives: who runs it does not become us."""


class Here(Store):
    """Files below `root` on this machine; absolute paths are themselves."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def path(self, path: str) -> str:
        """Absolute form of a path of this store."""
        return os.path.join(self.root, path)

    async def stat(self, paths: Sequence[str]) -> list[Found]:
        return [self.found(path) for path in paths]

    async def list(self, paths: Mapping[str, str]) -> list[Item]:
        return await asyncio.to_thread(lambda: [self._item(source, target) for source, target in paths.items()])

    async def listings(self, paths: Sequence[str]) -> Sequence[str]:
        return await asyncio.to_thread(lambda: [listing.of_folder(self.path(path)) for path in paths])

    async def sums(self, paths: Sequence[str]) -> Sequence[str]:
        return await asyncio.to_thread(lambda: [_sum(self.path(path)) for path in paths])

    def stream(self, items: Sequence[Item]) -> Contents:
        digests: list[str] = []
        return Contents(self._read(items, digests), digests)

    async def receive(self, items: Sequence[Item], contents: Contents) -> None:
        made: list[tuple[str, str]] = []
        digests: list[str] = []
        try:
            for item in items:
                checked(item, self.name)
                final = self.path(item.target)
                parent, base = os.path.split(final)
                os.makedirs(parent, exist_ok=True)
                beside = os.path.join(parent, f".sf-{secrets.token_hex(6)}{base[-8:] if base.isascii() else ''}")
                made.append((beside, final))
                await self._write(item, beside, contents, digests)
            await contents.end(self.name)
            if digests != contents.digests:
                wrong = _first_difference(items, digests, contents.digests)
                raise TransferError(
                    f"{self.name}: {wrong} arrived differently: it changed while it was read, or bytes were lost",
                    transient=True,
                )
            for beside, final in made:
                if os.path.isdir(final) and not os.path.islink(final):
                    shutil.rmtree(final)
                elif os.path.isdir(beside) and os.path.lexists(final):
                    os.unlink(final)
                os.replace(beside, final)
        except OSError as error:
            raise self._cannot_write(made, items, error) from error
        finally:
            for beside, _ in made:
                _discard(beside)

    async def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            _discard(self.path(path))

    def copy(self, items: Sequence[Item], source: Here) -> None:
        """Copy items from another folder of this machine, in the kernel where possible. Blocks: call it in a thread.

        Raises:
            TransferError: as `receive`.
        """
        for item in items:
            final = self.path(item.target)
            parent, _ = os.path.split(final)
            beside = os.path.join(parent, f".sf-{secrets.token_hex(6)}")
            try:
                os.makedirs(parent, exist_ok=True)
                for entry in item.entries:
                    self._copy_entry(entry, source.path(join(item.source, entry.name)), join(beside, entry.name))
                if any(entry.digest for entry in item.files()):
                    compare([item], [_sum(join(beside, entry.name)) for entry in item.files()], source.name)
                for entry in reversed(item.entries):
                    if entry.kind == "d":
                        os.chmod(join(beside, entry.name), entry.mode)
                        os.utime(join(beside, entry.name), ns=(entry.mtime_ns, entry.mtime_ns))
                if os.path.isdir(final) and not os.path.islink(final):
                    shutil.rmtree(final)
                elif item.directory and os.path.lexists(final):
                    os.unlink(final)
                os.replace(beside, final)
            except OSError as error:
                raise self._cannot_write([(beside, final)], [item], error) from error
            finally:
                _discard(beside)

    def _cannot_write(self, made: Sequence[tuple[str, str]], items: Sequence[Item], error: OSError) -> TransferError:
        final, said = made[-1][1] if made else items[0].target, error.strerror or str(error)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return TransferError(f"{self.name}: cannot write {error.filename or final}: {said}")
        for beside, _ in made:
            _discard(beside)
        free_b = None
        with suppress(OSError):
            free_b = shutil.disk_usage(os.path.dirname(final)).free
        return NoSpace(self.name, final, sum(item.size_b for item in items), free_b, said)

    @staticmethod
    def _copy_entry(entry: Entry, source: str, target: str) -> None:
        if entry.kind == "d":
            os.mkdir(target)
        elif entry.kind == "l":
            os.symlink(entry.target, target)
        else:
            shutil.copyfile(source, target)
            size = os.stat(target).st_size
            if size != entry.size_b:
                raise TransferError(
                    f"{source} changed while it was copied: {size} bytes, not {entry.size_b}", transient=True
                )
            os.chmod(target, entry.mode)
            os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))

    async def _read(self, items: Sequence[Item], digests: MutableSequence[str]) -> Pieces:
        for item in items:
            top = self.path(item.source)
            for entry in item.files():
                path = join(top, entry.name)
                try:
                    if entry.size_b > blocks.INLINE_B:
                        with open(path, "rb", buffering=0) as file:  # noqa: ASYNC230 - it is read in a thread
                            async with aclosing(blocks.read(file.fileno(), entry.size_b, digests.append)) as parts:
                                async for block in parts:
                                    yield entry, block
                        continue
                    content = blocks.whole(path, entry.size_b)
                except EOFError:
                    raise TransferError(
                        f"{self.name}: {path} became shorter while it was read", transient=True
                    ) from None
                except OSError as error:
                    raise Unsendable(f"{self.name}: cannot read {path}: {error.strerror}") from error
                digests.append(hashlib.sha1(content, usedforsecurity=False).hexdigest())
                yield entry, content
        compare(items, digests, self.name)

    async def _write(self, item: Item, beside: str, contents: Contents, digests: MutableSequence[str]) -> None:
        for entry in item.entries:
            path = join(beside, entry.name)
            if entry.kind == "d":
                os.mkdir(path)
            elif entry.kind == "l":
                self._check_link(item, entry)
                os.symlink(entry.target, path)
            elif entry.size_b <= blocks.INLINE_B:
                _, content = await anext(contents)
                while len(content) < entry.size_b:
                    content += (await anext(contents))[1]
                digests.append(blocks.put(path, content, entry.mode & _RIGHTS, entry.mtime_ns))
            else:
                left = entry.size_b
                async with blocks.Writer(path) as file:
                    while True:
                        _, piece = await anext(contents)
                        await file.write(piece)
                        left -= len(piece)
                        if not left:
                            break
                    digests.append(await file.finish(entry.mode & _RIGHTS))
                os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
        for entry in reversed(item.entries):
            if entry.kind == "d":
                os.chmod(join(beside, entry.name), entry.mode | stat.S_IRWXU)
                os.utime(join(beside, entry.name), ns=(entry.mtime_ns, entry.mtime_ns))

    def _check_link(self, item: Item, entry: Entry) -> None:
        """Refuse a link that dangles where it was made, but leads to other files here: they would travel next."""
        if inside(entry.name, entry.target, self.path(item.target)) is not None:
            return
        final = self.path(join(item.target, entry.name))
        behind, root = os.path.realpath(os.path.join(os.path.dirname(final), entry.target)), os.path.realpath(self.root)
        if os.path.exists(behind) and not behind.startswith(f"{root}/"):
            what = f"{join(item.source, entry.name)}: it is a link to {entry.target}"
            raise Unsendable(f"{self.name}: refused {what}, which is not there, but is here, outside of {root}")

    def found(self, path: str) -> Found:
        """Look at one path, following links."""
        try:
            info = os.stat(self.path(path))
        except OSError:
            return Found(path, "missing")
        kind = "directory" if stat.S_ISDIR(info.st_mode) else "file" if stat.S_ISREG(info.st_mode) else "other"
        return Found(path, kind, info.st_size, info.st_mtime_ns, stat.S_IMODE(info.st_mode))

    def _item(self, source: str, target: str) -> Item:
        top = self.path(source)
        entries: list[Entry] = []

        def add(name: str) -> None:
            path = join(top, name)
            info = os.stat(path) if not name else os.lstat(path)
            if stat.S_ISLNK(info.st_mode):
                link = os.readlink(path)
                kept = inside(name, link, os.path.realpath(top)) or inside(name, link, top)
                if kept is not None or not os.path.exists(path):
                    entries.append(Entry(name, "l", target=kept if kept is not None else link))
                    return
                info = os.stat(path)
                if stat.S_ISDIR(info.st_mode):
                    raise Unsendable(
                        f"{self.name}: {path} is a link to a directory outside of {top}: copy it, or declare it"
                    )
            mode, when = stat.S_IMODE(info.st_mode), info.st_mtime_ns
            if stat.S_ISDIR(info.st_mode):
                entries.append(Entry(name, "d", 0, when, mode))
                for child in sorted(os.listdir(path)):
                    add(f"{name}/{child}" if name else child)
            elif stat.S_ISREG(info.st_mode):
                entries.append(Entry(name, "f", info.st_size, when, mode))
            else:
                raise Unsendable(f"{self.name}: {path} is a pipe, socket or device: it cannot travel")

        try:
            add("")
        except OSError as error:
            raise Unsendable(f"{self.name}: cannot read {error.filename}: {error.strerror}") from error
        return Item(source, target, tuple(entries))


def _first_difference(items: Sequence[Item], mine: Sequence[str], theirs: Sequence[str]) -> str:
    names = (join(item.target, entry.name) for item in items for entry in item.files())
    pairs = zip_longest(names, mine, theirs)
    return next((str(name) for name, a, b in pairs if a != b), items[0].target)


def _sum(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, partial(hashlib.sha1, usedforsecurity=False)).hexdigest()
    except OSError:
        return ""


def _discard(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)

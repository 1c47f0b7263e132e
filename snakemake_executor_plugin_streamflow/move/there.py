"""The files of a location, through its shells."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import posixpath
import re
import secrets
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableSequence, Sequence
from pathlib import PurePosixPath

from ..connect.base import Channel, Connector
from ..errors import NoSpace, SiteError, TransferError, Unreachable, Unsendable, quote_tail
from ..model import Location
from ..remote.job import Found
from ..remote.quote import decode, encode, quote, words
from ..remote.shell import Completed, Shell
from . import gather, listing, onward
from .archive import archive, placing, pouring, stage_names, unpacking
from .entry import Entry, Item, checked, compare, from_stat, inside, join
from .store import Contents, Pieces, Store
from .text import SMALL_B, sums, writing

_FULL = re.compile(rb"no space left|quota exceeded", re.IGNORECASE)
_GONE = 77
_DIGEST = re.compile(rb"^[0-9a-f]{40}\n", re.MULTILINE)


class There(Store):
    """Files at a location; relative paths are below its working directory.

    Args:
        limit: data shells and streams at once.
        place: the location, for direct routes to others.
    """

    def __init__(
        self,
        name: str,
        workdir: PurePosixPath,
        open_shell: Callable[[], Awaitable[Channel]],
        limit: int,
        place: tuple[Connector, Location] | None = None,
    ) -> None:
        self.name = name
        self.workdir = workdir
        self.open_shell = open_shell
        self.place = place
        self._slots = asyncio.Semaphore(limit)
        self._pours = asyncio.Semaphore(limit)  # of their own: who writes here may wait for a slot elsewhere
        self._closed = False
        self._idle: list[Shell] = []

    def path(self, path: str) -> str:
        """Absolute form of a path of this store."""
        return posixpath.join(self.workdir, path)

    async def ask(self, script: str, *args: str) -> Completed:
        """Run shell text in the working directory.

        When an idle shell has died, the text runs again in a fresh one: it must be such that this does no harm.
        """
        text = f"cd {quote(self.workdir)} || exit 125\n{script}"
        if self._idle:
            try:
                async with self._shell() as shell:
                    return await shell.ask(text, *args)
            except Unreachable:
                await self._end_idle()  # the other idle ones have probably died with it
        async with self._shell() as shell:
            return await shell.ask(text, *args)

    async def stat(self, paths: Sequence[str]) -> list[Found]:
        found: list[Found] = []
        for start in range(0, len(paths), 500):
            found += await self._stat(paths[start : start + 500])
        return found

    async def list(self, paths: Mapping[str, str]) -> list[Item]:
        items = []
        for found in await self.stat(list(paths)):
            source, target = found.path, paths[found.path]
            if found.kind == "file":
                items.append(Item(source, target, (Entry("", "f", found.size_b, found.mtime_ns, found.mode),)))
                continue
            if found.kind != "directory":
                what = "it is not there" if found.kind == "missing" else "only files, directories and links travel"
                raise Unsendable(f"{self.name}: cannot read {self.path(source)}: {what}")
            tmp = f"{self.workdir}/.streamflow/in/list-{secrets.token_hex(6)}"
            done = await self.ask(
                f"""n={quote(tmp)}; trap 'rm -f "$n"' EXIT
cd {quote(self.path(source))} && find . -print0 >"$n" && pwd -P && cat "$n" | xargs -0 stat -c '%f %s %Y' || exit 1
printf -- '--\\n'; cat "$n"; printf -- '\\0--\\0'
find . -type l -print0 | xargs -0 -n 1 sh -c '[ $# = 1 ] || exit 0
printf "%s\\0" "$(readlink -- "$1"; echo x)"; stat -L -c "%f %s %Y" "$1" 2>/dev/null || echo; printf "\\0"' sh"""
            )
            if done.code:
                raise TransferError(f"{self.name}: cannot read {self.path(source)}:\n{quote_tail(done.output)}")
            try:
                item = self._parse_list(source, target, done.output)
            except (ValueError, StopIteration) as error:
                raise TransferError(f"{self.name}: cannot read the list of {self.path(source)}: {error}") from error
            items.append(checked(item, self.name))
        return items

    async def listings(self, paths: Sequence[str]) -> Sequence[str]:
        return await self._lines(paths, lambda some: listing.text([self.path(path) for path in some]))

    async def sums(self, paths: Sequence[str]) -> Sequence[str]:
        return await self._lines(paths, lambda some: sums([self.path(path) for path in some]))

    def stream(self, items: Sequence[Item]) -> Contents:
        digests: list[str] = []
        return Contents(self._read(items, digests), digests)

    async def receive(self, items: Sequence[Item], contents: Contents) -> None:
        for item in items:
            checked(item, self.name)
        stage = f"{self.workdir}/.streamflow/in/{secrets.token_hex(8)}"
        text, size_b = placing(stage, items, self.path), sum(item.size_b for item in items)
        try:
            if size_b <= SMALL_B:
                data = b"".join([part async for part in archive(items, contents)])
                async with self._shell() as shell:
                    done = await shell.feed(f"{unpacking(stage, beside=False)}\n{text}", data)
            elif len(items) == 1 and not items[0].directory:
                done = await self._pour_file(stage, items[0], contents)
            elif gather.worth(sum(len(item.files()) for item in items), size_b):
                done = await self._pour_small(stage, items, contents)
            else:
                done = await self._pour(f"{unpacking(stage, beside=True)}\n{text}", archive(items, contents))
        except BaseException:
            await self.discard(stage)
            raise
        if done.code:
            await self.discard(stage, twice=False)
            what = items[0].target if len(items) == 1 else f"{items[0].target} and {len(items) - 1} more"
            if _FULL.search(done.output):
                raise await self._no_space(what, items, done.output)
            raise TransferError(f"{self.name}: cannot write {what}:\n{quote_tail(done.output)}")

    async def _no_space(self, what: str, items: Sequence[Item], said: bytes) -> NoSpace:
        free_b = await self._free_b(posixpath.dirname(self.path(items[0].target)))
        full = b"" if _FULL.search(said) else b"No space left on device\n"
        needed_b = sum(item.size_b for item in items)
        return NoSpace(self.name, what, needed_b, free_b, "\n" + quote_tail(full + _DIGEST.sub(b"", said)))

    async def _free_b(self, folder: str) -> int | None:
        """Bytes free where a folder is, or the nearest above it that exists; None when unknown."""
        with contextlib.suppress(SiteError):
            text = f'f={quote(folder)}; until [ -e "$f" ]; do f=${{f%/*}}; done; df -Pk "$f/" | tail -n 1'
            room = (await self.ask(text)).text.split()
            if len(room) > 3 and room[3].isdigit():
                return int(room[3]) * 1024
        return None

    async def remove(self, paths: Sequence[str]) -> None:
        said = b""
        for start in range(0, len(paths), 500):
            some = words(self.path(path) for path in paths[start : start + 500])
            done = await self.ask(f"rm -rf -- {some}")
            said += done.output if done.code else b""
        if said:
            raise TransferError(f"{self.name}: not all could be removed:\n{quote_tail(said)}")

    async def discard(self, path: str, *, twice: bool = True) -> None:
        """Remove what is left of a transfer, as far as the location answers.

        Twice: what was sent may still be on its way to a process that has not heard of the end.
        """
        again = f"; sleep 0.5; rm -rf {quote(path)}" if twice else ""
        with contextlib.suppress(SiteError, TimeoutError):
            async with asyncio.timeout(5):
                await self.ask(f"rm -rf {quote(path)}{again}")

    async def close(self) -> None:
        """End the idle shells now, and the others as soon as they are free."""
        self._closed = True
        await self._end_idle()

    async def _end_idle(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    @contextlib.asynccontextmanager
    async def _shell(self) -> AsyncIterator[Shell]:
        async with self._slots:
            shell = self._idle.pop() if self._idle else await Shell.open(self.name, self.open_shell)
            try:
                yield shell
            except BaseException as error:
                await shell.close()
                if isinstance(error, Unreachable):  # the others went with the same connection
                    await self._end_idle()
                raise
            if self._closed:
                await shell.close()
            else:
                self._idle.append(shell)

    async def _read(self, items: Sequence[Item], digests: MutableSequence[str]) -> Pieces:
        files = [(item, entry) for item in items for entry in item.files()]
        total = sum(entry.size_b for _, entry in files)
        tops = {item.source: self.path(item.source) for item in items}  # for each file it would take longer
        names = [join(tops[item.source], entry.name) for item, entry in files]
        if gather.worth(len(names), total):
            async with self._shell() as shell:
                async for piece_of in gather.apart(shell, names, [entry for _, entry in files], digests):
                    yield piece_of
            compare(items, digests, self.name)
            return
        sizes_b = [entry.size_b for _, entry in files]
        async with contextlib.aclosing(onward.contents(self.name, self._shell, names, sizes_b, digests)) as pieces:
            data, at = b"", 0
            for _, entry in files:
                left = entry.size_b
                if not left:
                    yield entry, b""
                while left:
                    if at == len(data):
                        data, at = await anext(pieces), 0
                    piece = data[at : at + left]
                    at += len(piece)
                    left -= len(piece)
                    yield entry, piece
            async for _ in pieces:
                raise AssertionError("fetch gives what was asked for")
        compare(items, digests, self.name)

    async def _pour_file(self, stage: str, item: Item, contents: Contents) -> Completed:
        """Write one large file, hashed on its way to the disk: nothing is read again."""

        async def parts() -> AsyncIterator[bytes]:
            async for _, piece in contents:
                yield piece

        (name,), entry = stage_names([item]), item.entries[0]
        base = posixpath.dirname(name)
        done = await self._pour(
            f's={quote(stage)}; mkdir -p "$s"/{base} && cd "$s" || exit 1\n{writing(name, entry.size_b)}',
            parts(),
        )
        if done.code or done.text.split() != contents.digests:
            free_b = await self._free_b(stage)
            if _FULL.search(done.output) or (free_b is not None and free_b < 1 << 20):  # busybox: an I/O error
                await self.ask(f"rm -rf {quote(stage)}")
                raise await self._no_space(item.target, [item], done.output or b"No space left on device")
            raise TransferError(
                f"{self.name}: cannot write {item.target}: bytes were lost\n{quote_tail(done.output)}", transient=True
            )
        when = f"touch -d @{entry.mtime_ns // 10**9} {quote(name)} || exit 1"
        return await self._placed(stage, [item], f"chmod {entry.mode:o} {quote(name)} && {when}")

    async def _pour_small(self, stage: str, items: Sequence[Item], contents: Contents) -> Completed:
        """Write many small files. Their own digests are made here (see `gather`): there, one of the stream will do."""
        digest = hashlib.sha1(usedforsecurity=False)

        async def parts() -> AsyncIterator[bytes]:
            async for part in archive(items, contents, told=False):
                digest.update(part)
                yield part

        done = await self._pour(pouring(stage), parts())
        if done.code:
            return done
        if digest.hexdigest() not in done.text:
            raise TransferError(
                f"{self.name}: cannot write {items[0].target}: digests differ: bytes were lost", transient=True
            )
        return await self._placed(stage, items)

    async def _placed(self, stage: str, items: Sequence[Item], first: str = ":") -> Completed:
        """Put in place what is complete."""
        text = f"cd {quote(stage)} || exit {_GONE}\n{first}\n{placing(stage, items, self.path)}"
        if (done := await self.ask(text)).code == _GONE:  # asked again: the answer was lost, or somebody removed it
            raise TransferError(f"{self.name}: {items[0].target} may be there, or not", transient=True)
        return done

    async def _pour(self, script: str, parts: AsyncIterator[bytes]) -> Completed:
        async with self._pours, await self.open_shell() as channel:
            # The script comes as one line, which the shell reads before the archive: `read` takes byte by byte.
            await channel.write(b"eval " + encode(quote(f"exec 2>&1; echo go; read -r x; {script}")) + b"; exit $?\n")
            output = b""
            while b"go\n" not in output:
                if not (data := await channel.read()):
                    return Completed(await channel.wait() or 1, output)
                output += data
            await channel.write(b"\n")
            broken: SiteError | None = None
            async for part in parts:  # what this raises is the source's
                try:
                    await channel.write(part)
                except SiteError as error:  # tar ended early: its own words are better
                    broken = error
                    break
            else:
                try:
                    await channel.close_stdin()
                except SiteError as error:
                    broken = error
            while data := await channel.read():
                output += data
            code = await channel.wait()
            if broken and not code:
                raise broken
            return Completed(code, output.partition(b"go\n")[2])

    async def _lines(self, paths: Sequence[str], text: Callable[[Sequence[str]], str]) -> Sequence[str]:
        """Ask for one line about each path."""
        lines = []
        for start in range(0, len(paths), 500):
            some = paths[start : start + 500]
            done = await self.ask(text(some))
            found = done.text.split("\n")[: len(some)]
            if done.code or len(found) != len(some):
                raise TransferError(f"{self.name}: cannot look at files:\n{quote_tail(done.output)}", transient=True)
            lines += found
        return lines

    async def _stat(self, paths: Sequence[str]) -> Sequence[Found]:
        done = await self.ask(
            """exec 2>/dev/null
for f; do if [ -d "$f" ]; then printf d; elif [ -f "$f" ]; then printf f; elif [ -e "$f" ]; then printf o
else printf m; continue; fi; n=$((n+1)); done; echo
for f; do shift; [ -e "$f" ] && set -- "$@" "$f"; done; [ $# = 0 ] || stat -L -c '%s %Y %a' -- "$@" """,
            *(self.path(path) for path in paths),
        )
        flags, *lines = done.text.split("\n")
        rest = iter(lines := [line for line in lines if line])
        if len(flags) != len(paths) or len(lines) != len(flags.replace("m", "")):  # one has vanished meanwhile
            raise TransferError(f"{self.name}: cannot look at files:\n{quote_tail(done.output)}", transient=True)
        found = []
        for path, flag in zip(paths, flags, strict=True):
            if flag == "m":
                found.append(Found(path, "missing"))
                continue
            try:
                size, when, mode = next(rest).split()
                kind = {"f": "file", "d": "directory"}.get(flag, "other")
                found.append(Found(path, kind, int(size), int(when) * 10**9, int(mode, 8)))
            except ValueError as error:
                raise TransferError(f"{self.name}: cannot look at {self.path(path)}: {error}") from error
        return found

    def _parse_list(self, source: str, target: str, output: bytes) -> Item:
        head, _, tail = output.partition(b"\n--\n")
        real, *lines = decode(head).split("\n")
        names_part, _, links_part = tail.partition(b"\0--\0")
        names = [decode(name)[2:] for name in names_part.split(b"\0")[:-1]]
        links = iter(links_part.split(b"\0"))
        if len(names) != len(lines):
            raise TransferError(f"{self.name}: {self.path(source)} changed while it was listed", transient=True)
        entries = []
        targets: dict[str, tuple[str, str]] = {}
        for name, line in zip(names, lines, strict=True):
            if stat.S_ISLNK(int(line.split()[0], 16)):
                targets[name] = decode(next(links))[:-2], decode(next(links)).strip()
        for name, line in zip(names, lines, strict=True):
            entry = from_stat(name, line)
            if name in targets:
                link, behind = targets[name]
                kept = inside(name, link, real)
                if kept is not None or not behind:
                    entry = Entry(name, "l", target=kept if kept is not None else link)
                else:
                    entry = from_stat(name, behind)
                    if entry.kind == "d":
                        raise Unsendable(
                            f"{self.name}: {join(self.path(source), name)} is a link to a directory outside: "
                            "copy it, or declare it"
                        )
            entries.append(entry)
        entries.sort(key=lambda e: e.name.split("/") if e.name else [])
        return Item(source, target, tuple(entries))

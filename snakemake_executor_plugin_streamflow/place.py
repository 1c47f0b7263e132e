"""The files of one site, as exact as Snakemake compares them: times to the nanosecond."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from .errors import SiteError, TransferError, quote_tail
from .move.here import Here
from .move.listing import STAMP
from .move.mover import Mover
from .move.store import Store
from .remote.quote import decode
from .remote.shell import Completed
from .site import Site

T = TypeVar("T")

_TRIES = 3
_AT_ONCE = 200
_FRACTION = re.compile(r"\.(\d{1,9})")

# `%.9Y` is not everywhere; the human form `%y` holds the fraction with GNU and with BusyBox.
_LOOK = rf"""for f; do t=$f
if [ -d "$f" ]; then k=d; [ ! -f "$f/{STAMP}" ] || t=$f/{STAMP}; elif [ -f "$f" ]; then k=f
elif [ -e "$f" ]; then k=o; else echo m; continue; fi
printf '%s ' $k; stat -L -c '%s %Y %y' -- "$t" 2>/dev/null || echo; done"""


PUT = """[ -e "$1" ] || [ -L "$1" ] || [ ! -e "$2" ] || exit 0
[ ! -d "$2" ] || rm -rf -- "$2" || exit 1
mv -f -- "$1" "$2" """
"""Gives `$1` the name `$2`; where that is done already, because the first answer was lost, nothing."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is at a path: `kind` is "file", "directory", "other" or "missing". A directory has size 0."""

    kind: str
    size_b: int = 0
    mtime_ns: int = 0

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return self.kind != "missing"

    @property
    def mtime(self) -> float:
        """Seconds since the epoch, rounded exactly as `os.stat` does: Snakemake compares it with local times."""
        return self.mtime_ns // 10**9 + 1e-9 * (self.mtime_ns % 10**9)


class Place:
    """The files of one site. All questions that are asked at the same time are one round trip."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._asked: dict[str, asyncio.Future[Look]] = {}

    async def look(self, path: str) -> Look:
        """Look at a path, following links."""
        future = self._asked.get(path)
        if future is None:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            if not self._asked:
                loop.call_soon(lambda: loop.create_task(self._answer()))
            self._asked[path] = future
        return await asyncio.shield(future)

    async def receive(self, source: Store, path: str, target: str, mover: Mover) -> None:
        """Write a file or directory of another store. It appears when it is complete."""
        (item,) = await source.list({path: target})
        store = self.site.store
        if isinstance(store, Here):
            await mover.move(source, store, [item])
            await self._times(source, path, target)
            return
        # Beside the target first: the staging folder of a site may be on another filesystem than the target.
        parent, base = posixpath.split(target)
        beside = posixpath.join(parent, f".sf-{secrets.token_hex(6)}{base[-8:] if base.isascii() else ''}")
        try:
            await mover.move(source, store, [replace(item, target=beside)])
            await self._times(source, path, beside)
            await self._must(PUT, beside, target, what="write")
        except BaseException:
            with contextlib.suppress(SiteError, TimeoutError):
                async with asyncio.timeout(5):
                    await store.remove([beside])
            raise

    async def remove(self, path: str) -> None:
        """Remove a file or directory; what is missing is no error."""
        await self._must('rm -rf -- "$1"', path, what="remove")

    async def touch(self, path: str) -> None:
        """Give the present time."""
        await self._must(f'touch -- "$1" && {{ [ ! -d "$1" ] || touch -- "$1/{STAMP}"; }}', path, what="touch")

    async def below(self, top: str) -> list[str]:
        """List all files and directories below a directory; nothing when there is none."""
        done = await self._ask(
            """[ -d "$1" ] || exit 0; cd -- "$1" && find . -name .streamflow -prune -o -print0 2>/dev/null; :""", top
        )
        names = [decode(name)[2:] for name in done.output.split(b"\0")]
        return [posixpath.join(top, name) for name in names if name and not name.startswith("\n")]

    async def _times(self, source: Store, path: str, target: str) -> None:
        """Give what was written the exact time of its source; archives have whole seconds."""
        stamped, own = await source.stat([posixpath.join(path, STAMP), path])
        times = [(stamped, posixpath.join(target, STAMP))] if stamped.kind == "file" else []
        for found, at in [*times, (own, target)]:
            seconds, fraction = divmod(found.mtime_ns, 10**9)
            # Without fractions of a second there, rounded up: an output must not seem older than its inputs.
            await self._ask(
                'touch -d "@$2.$3" -- "$1" 2>/dev/null || touch -d "@$4" -- "$1"',
                at,
                str(seconds),
                f"{fraction:09}",
                str(seconds + bool(fraction)),
            )

    async def _answer(self) -> None:
        asked, self._asked = self._asked, {}
        paths = list(asked)
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            try:
                looks: Sequence[Look] = await self._looks(some)
            except BaseException as error:
                for path in some:
                    if not asked[path].done():
                        asked[path].set_exception(error) if isinstance(error, Exception) else asked[path].cancel()
                        asked[path].exception() if isinstance(error, Exception) else None
                if not isinstance(error, Exception):
                    raise
                continue
            for path, look in zip(some, looks, strict=True):
                if not asked[path].done():
                    asked[path].set_result(look)

    async def _looks(self, paths: Sequence[str]) -> list[Look]:
        if isinstance(self.site.store, Here):
            looks = []
            for path in paths:
                own, stamp = await self.site.store.stat([path, posixpath.join(path, STAMP)])
                directory = own.kind == "directory"
                when = stamp.mtime_ns if directory and stamp.kind == "file" else own.mtime_ns
                looks.append(Look(own.kind, 0 if directory else own.size_b, when))
            return looks
        done = await self._ask(_LOOK, *paths)
        lines = done.text.split("\n")
        if done.code or len(lines) < len(paths):
            raise TransferError(f"{self.site.location.name}: cannot look at files:\n{quote_tail(done.output)}")
        return [_parse(line) for line in lines[: len(paths)]]

    async def _must(self, script: str, *args: str, what: str) -> None:
        done = await self._ask(script, *args)
        if done.code:
            where = self.site.location.name
            raise TransferError(f"{where}: cannot {what} {args[-1]}:\n{quote_tail(done.output)}")

    async def _ask(self, script: str, *args: str) -> Completed:
        """Run shell text that may be run twice."""
        return await insist(lambda: self.site.shells.ask(script, *args))


async def insist(work: Callable[[], Awaitable[T]]) -> T:
    """Do work that may be done twice; a failure that may pass is tried again."""
    for attempt in range(_TRIES - 1):
        try:
            return await work()
        except SiteError as error:
            if not error.transient:
                raise
            await asyncio.sleep(0.5 * 2**attempt)
    return await work()


def _parse(line: str) -> Look:
    """Read a line of `_LOOK`: `KIND SIZE SECONDS HUMAN-TIME`."""
    kind, *rest = line.split()
    if kind == "m" or len(rest) < 2:
        return Look("missing")  # also what vanished meanwhile
    fraction = _FRACTION.search(" ".join(rest[2:]))
    when = int(rest[1]) * 10**9 + (int(fraction[1].ljust(9, "0")) if fraction else 0)
    if kind == "d":
        return Look("directory", 0, when)
    return Look("file" if kind == "f" else "other", int(rest[0]), when)

"""Items from one location to another through a pipe between them, with the same checks as through here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from ..errors import TransferError, quote_tail
from ..remote.quote import quote
from .archive import placing, stage_names
from .entry import Item, checked, compare, join
from .pipe import Pipe
from .text import contents, digests, filling, found_digests
from .there import There


async def carry(pipe: Pipe, source: There, items: Sequence[Item], target: There) -> list[str]:
    """Copy items; return the digests of all their files.

    Each appears under its target name only when complete, and equal to what the source has hashed.

    Raises:
        Differs, TransferError, Unreachable: nothing is left behind.
    """
    for item in items:
        checked(item, target.name)
    names = [source.path(join(item.source, entry.name)) for item in items for entry in item.files()]
    token = secrets.token_hex(8)
    script = f"{source.workdir}/.streamflow/in/{token}.s"
    stage = f"{target.workdir}/.streamflow/in/{token}"
    fill = f"cd {quote(stage)} || exit 1\n{filling(items, stage_names(items))}"
    try:
        await asyncio.gather(_put(source, script, contents(names)), _put(target, f"{stage}/.t", fill))
        try:
            async with asyncio.TaskGroup() as group:
                sums = group.create_task(source.ask(digests(names)))
                group.create_task(pipe.run(script, f"{stage}/.t"))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        arrived = await target.ask(f"cat {quote(stage)}/.d")
        sent = found_digests(sums.result().text)
        if sums.result().code or len(sent) != len(names) or arrived.text.split() != sent:
            raise TransferError(f"{target.name}: digests differ: {items[0].source} changed, or bytes were lost")
        compare(items, sent, source.name)
        placed = await target.ask(placing(stage, items, target.path))
        if placed.code:
            raise TransferError(f"{target.name}: cannot write {items[0].target}:\n{quote_tail(placed.output)}")
    except BaseException:
        await target.discard(stage)
        raise
    finally:
        await source.discard(script, twice=False)
    return sent


async def _put(store: There, path: str, text: str) -> None:
    done = await store.ask(
        f"mkdir -p {quote(path.rpartition('/')[0])} && printf '%s\\n' {quote(text)} >{quote(path)} || exit 1"
    )
    if done.code:
        raise TransferError(f"{store.name}: cannot write {path}:\n{quote_tail(done.output)}")

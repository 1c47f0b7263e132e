"""What follows a job: its outputs are checked, told to the ledger, and brought where they are expected."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from .effects import effects
from .engine import Engine
from .errors import DataLost, JobFailed, JobTimeout, SiteError, quote_tail
from .finish import finish, undo
from .jobs import SCRIPTS, Output, Task
from .journal import State
from .keeping import Keeping
from .model import Binding, is_address
from .remote.job import Found, JobEnd
from .site import Site
from .spec import mark, updated


@dataclass(slots=True)
class Tally:
    """What is told at the end of a run."""

    jobs: Counter[str] = field(default_factory=Counter)
    sent_b: Counter[str] = field(default_factory=Counter)
    fetched_b: Counter[str] = field(default_factory=Counter)


_UNDO_S = 30


class Accounting:
    """Runs on the engine's loop."""

    def __init__(self, engine: Engine, keeping: Keeping, tally: Tally, *, keep_incomplete: bool) -> None:
        self._engine, self._keeping, self._tally = engine, keeping, tally
        self._keep_incomplete = keep_incomplete
        self._homecoming: set[asyncio.Task[None]] = set()

    @property
    def homecoming(self) -> frozenset[asyncio.Task[None]]:
        """What goes on in the background, and is waited for at the end of the run."""
        return frozenset(self._homecoming)

    async def account(self, site: Site, task: Task, binding: Binding, end: JobEnd) -> None:
        """Check what a job has made, tell the ledger, and bring it where it is expected."""
        staging, outputs = self._engine.staging, task.outputs()
        path_of = partial(self._engine.locator.path_at, site)
        self._engine.journal.change_task(task.id, State.ENDED)
        self._tally.jobs[site.location.name] += 1
        found: Sequence[Found] = end.outputs or ()
        if len(found) != len(outputs):  # who has ended it did not look at them
            found = await site.insist(lambda: site.store.stat([path_of(output.path) for output in outputs]))
        # Found under the names used there: give them back the names used here.
        pairs = [(output, replace(one, path=output.path)) for output, one in zip(outputs, found, strict=True)]
        end = replace(end, outputs=tuple(one for _, one in pairs))
        if changed := await self._changed(site, task, end):
            self._engine.log.warning(
                f"{task.name} has changed inputs of its own at {site.location.name}: {', '.join(changed)}. Other jobs "
                "read what was there before, where that is kept. A rule that changes a file has it as an output, "
                "with `update()` when it needs the old content"
            )
        if end.code != 0:
            if not site.in_place and (gone := await site.insist(partial(staging.lost_inputs, site, task.inputs))):
                raise DataLost(f"{task.name} failed at {site.location.name}: {', '.join(gone)} vanished there", *gone)
            await self._give_up(site, task, end)
            raise await self._failure(site, task, end)
        missing = [output.path for output, found in pairs if found.kind == "missing" and not output.may_be_missing]
        if not missing and task.floating:
            try:
                end = await site.insist(partial(finish, site, task, end, path_of))
            except JobFailed:
                await self._give_up(site, task, end)
                raise
            pairs = list(zip(outputs, end.outputs or (), strict=True))
        if missing:
            await self._give_up(site, task, end)
            raise JobFailed(
                f"{task.name} ended well at {site.location.name}, but did not make: {', '.join(missing)}",
                code=0,
                stderr=await site.stderr(task.id),
                directory=f"{site.location.name}:{site.directory(task.id)}",
            )
        staging.account(site, task, outputs, end)
        await self._keeping.weigh(site, task)
        home = [(output, found) for output, found in pairs if output.home]
        moved = await site.insist(lambda: staging.stage_out(site, home))
        if task.effects and not site.in_place:
            moved += await site.insist(partial(self._bring_effects, site, task, task.effects))
        self._tally.fetched_b[site.location.name] += moved
        await self._deliver(site, outputs)
        self._go_home(self._keeping.after(site, task, binding))
        self._engine.journal.change_task(task.id, State.ACCOUNTED, detail=mark(task))
        self._engine.flush()
        site.session.forget(task.id)

    async def interrupted(self, site: Site, task: Task) -> None:
        """Give what an interrupted job was to update its former content; where that cannot be, it is spoiled there."""
        old = updated(site, task)
        if not old or (site.in_place and not task.floating):
            return
        if task.floating:
            with suppress(SiteError, TimeoutError):
                async with asyncio.timeout(_UNDO_S):
                    await undo(site, task, partial(self._engine.locator.path_at, site), keep=True)
                    return
        self._engine.staging.disown(site, old)

    async def _changed(self, site: Site, task: Task, end: JobEnd) -> list[str]:
        """Return the inputs that a job has changed at its site."""
        newer = [task.inputs[number] for number in end.newer if number < len(task.inputs)]
        return await site.insist(partial(self._engine.staging.changed_inputs, site, task, newer)) if newer else []

    async def _give_up(self, site: Site, task: Task, end: JobEnd) -> None:
        """Undo what a job that failed has made; bring home its logs, and with --keep-incomplete its outputs."""
        staging, outputs, keep = self._engine.staging, task.outputs(), self._keep_incomplete
        path_of = partial(self._engine.locator.path_at, site)
        old = updated(site, task) if task.floating else []
        staging.disown(site, [output for output in outputs if not (output.log or output in old)])
        wanted = [
            (output, found)
            for output, found in zip(outputs, end.outputs or (), strict=True)
            if output.log or (keep and output.home)
        ]
        with suppress(SiteError):  # the job's own failure is the news
            if task.floating:
                try:
                    await undo(site, task, path_of, keep=keep)
                except SiteError:
                    staging.disown(site, old)
                    raise
                self._engine.errands.spare(() if keep else [output.path for output in old])
            moved = await site.insist(lambda: staging.stage_out(site, wanted))
            if SCRIPTS in task.effects and not site.in_place:
                moved += await self._bring_effects(site, task, [SCRIPTS])
            self._tally.fetched_b[site.location.name] += moved

    async def _bring_effects(self, site: Site, task: Task, folders: Sequence[str]) -> int:
        """Tell the ledger of what a job has made beside its outputs, and bring it home; return the bytes that moved."""
        staging = self._engine.staging
        found = staging.account_effects(site, task, await effects(site, task.id, folders))
        if task.floating:
            scripts = [one.path for one in found if one.path.startswith(f"{SCRIPTS}/")]
            self._go_home(self._bring_home(site, scripts if task.outputs() else [one.path for one in found]))
            return 0
        moved = await staging.stage_out(site, [(Output(one.path), one) for one in found])
        self._engine.files.settle([one.path for one in found])
        return moved

    async def _deliver(self, site: Site, outputs: Sequence[Output]) -> None:
        """Bring outputs to where others expect them; final targets in the background."""
        for output in outputs:
            if is_address(output.path):
                moved = await site.insist(partial(self._engine.staging.hand_over, site, output))
                self._tally.fetched_b[site.location.name] += moved
            if output.deliver is not None:
                await asyncio.to_thread(output.deliver)
        targets = [output.path for output in outputs if output.target]
        if targets:
            self._keeping.leave(site, self._go_home(self._bring_home(site, targets)))

    def _go_home(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start what is waited for at the end of the run."""
        coming = self._engine.spawn(work)
        self._homecoming.add(coming)
        coming.add_done_callback(self._homecoming.discard)
        return coming

    async def _bring_home(self, site: Site, paths: Sequence[str]) -> None:
        try:
            moved = await site.insist(lambda: self._engine.errands.bring_home(paths))
            self._tally.fetched_b[site.location.name] += moved
        except SiteError as error:
            self._engine.log.warning(f"{', '.join(paths)} stays at {site.location.name}: {error}")

    async def _failure(self, site: Site, task: Task, end: JobEnd) -> JobFailed:
        code, stderr = end.code, await site.stderr(task.id)
        where = f"{site.location.name}:{site.directory(task.id)}"
        how = f"was killed by signal {code - 128}" if code > 128 else f"ended with code {code}"
        message = f"{task.name} {how} at {site.location.name}{f': {end.reason}' if end.reason else ''}."
        if end.over:
            message += f" Its rule's `runtime` is {task.resources.get('runtime')} minutes."
        if stderr.strip():
            message += f" Last lines of its stderr:\n{quote_tail(stderr)}"
        if full := await site.unwritable(task.id):
            message += f"\nNothing can be written there any more, so its stderr may be incomplete:\n{quote_tail(full)}"
        kind = JobTimeout if end.over else JobFailed
        return kind(f"{message}\nThe whole of it: {where}", code=code, stderr=stderr, directory=where)

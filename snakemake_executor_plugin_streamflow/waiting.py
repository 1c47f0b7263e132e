"""Tasks that wait until locations are reserved for them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from .engine import HERE, Engine
from .jobs import Task
from .model import Binding, Target
from .plan import Decision, Wanted

UNBOUND = Binding(("*",), ("*",), (Target(HERE),))
"""Where tasks run that no binding sends anywhere: on the controller."""


class Reconsider(Exception):
    """Locations have changed: place the task anew; this is not an attempt."""


class Waiting:
    """Asks placement for each task, whenever something has changed. Runs on the engine's loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._placed: dict[str, asyncio.Future[Decision]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def place(self, task: Task, binding: Binding, avoid: frozenset[str]) -> Decision:
        """Wait until locations are reserved for a task, which has to give them back.

        Args:
            avoid: filesystems that it must not run on.

        Raises:
            CapacityError: it can never run.
            Reconsider: see there.
        """
        engine, request = self._engine, task.request
        if binding is UNBOUND:  # as the local executor: more threads than cores are not refused
            site = next(s for s in engine.sites if s.location.deployment == HERE)
            cores = min(request.cores, site.location.cores or request.cores)
            request = replace(request, cores=cores, memory_b=0, disk_b=0)
        inputs: tuple[tuple[str, int], ...] = ()
        if binding is not UNBOUND:
            inputs = await engine.locator.sizes(task.inputs)
        wanted = Wanted(task.id, request, binding.targets, binding.policy, inputs, avoid, task.name)
        engine.placement.check(wanted)
        future = self._placed[task.id] = engine.loop.create_future()
        engine.placement.submit(wanted)
        self.pump()
        try:
            decision: Decision = await future
            return decision
        except BaseException:
            engine.placement.withdraw(task.id)
            engine.placement.release(task.id)  # it may have been placed just now
            raise
        finally:
            self._placed.pop(task.id, None)

    def release(self, task: str, seconds: float | None = None) -> None:
        """Give back what was reserved for a task; see `Placement.release`."""
        self._engine.placement.release(task, seconds)
        self.pump()

    def reconsider(self) -> None:
        """A location has gone: who waits for one may have to bring up others."""
        for future in self._placed.values():
            if not future.done():
                future.set_exception(Reconsider())

    def pump(self) -> None:
        """Hand out what can be handed out now."""
        placement, loop = self._engine.placement, self._engine.loop
        for decision in placement.place(loop.time()):
            self._engine.log.debug(f"{decision.id}: {decision.explanation}")
            future = self._placed.get(decision.id)
            if future is None or future.done():
                placement.release(decision.id)
            else:
                future.set_result(decision)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (at := placement.look_again_at()) is not None:
            self._timer = loop.call_at(max(at, loop.time() + 0.01), self.pump)

"""Takes deployments down that the rest of the run does not need."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from .config import binding_for
from .engine import Engine
from .jobs import Rest
from .model import CONTROLLER, Address, Target, is_address
from .plan import Up, unneeded

_LOOK_S = 0.5
"""After a task has ended, and between two looks as long as something is idle."""
_SHARE = 20
"""A look that takes long is made less often: it takes one in so many parts of the time."""


class Elastic:
    """Runs on the engine's loop.

    Args:
        rest: tells what a run has still to do, or raises RuntimeError while that changes.
        busy: whether copies are made in the background.
    """

    def __init__(self, engine: Engine, rest: Callable[[], Rest], busy: Callable[[], bool]) -> None:
        self._engine, self._rest, self._busy = engine, rest, busy
        self._used: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @contextmanager
    def using(self, targets: Iterable[Target]) -> Iterator[None]:
        """Say that a task waits for, or runs in, one of the deployments of these targets."""
        names = {target.deployment for target in targets}
        self._used.update(names)
        try:
            yield
        finally:
            self._used.subtract(names)
            self._used = +self._used
            self._look_in(_LOOK_S)

    def stop(self) -> None:
        """Take nothing down any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look_in(self, seconds: float) -> None:
        if self._timer is None and not self._stopped:
            self._timer = self._engine.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        up = self._up()
        if not unneeded(up, self._used):
            return  # the end of a task is the next occasion
        loop, begin = self._engine.loop, self._engine.loop.time()
        if not self._busy():
            self._take_down(up)
        self._look_in(max(_LOOK_S, _SHARE * (loop.time() - begin)))

    def _take_down(self, up: dict[str, Up]) -> None:
        try:
            rest = self._rest()
        except RuntimeError:  # jobs are being added
            return
        if rest.open_ended:
            return
        companion = self._engine.companion
        bindings = (binding_for(companion, rule, group) for rule, group in rest.jobs)
        used = {target.deployment for binding in bindings if binding is not None for target in binding.targets}
        addresses = (Address.parse(path) for path in rest.reads if is_address(path))
        holders = (companion.holder(address.holder) for address in addresses)
        used.update(holder.name for holder in holders if holder is not None)
        for name in unneeded(up, {*used, *self._used}, self._holders(rest.reads)):
            self._engine.log.info(f"deployment {name} is taken down: no job needs it any more")
            self._engine.sites.leave(name)

    def _up(self) -> dict[str, Up]:
        connectors = self._engine.lifecycle.connectors()
        wraps = {name: one.deployment.wraps.deployment for name, one in connectors.items() if one.deployment.wraps}

        def makes(name: str | None) -> bool:
            """Whether something goes when this one goes, and what it goes through."""
            one = connectors.get(name) if name else None
            if one is None or name is None:
                return False
            return bool(not one.deployment.external and one.handle()) or makes(wraps.get(name))

        return {name: Up(wraps.get(name), stays=not makes(name)) for name in connectors}

    def _holders(self, paths: Iterable[str]) -> Iterator[Collection[str]]:
        """For each path that is on filesystems alone that vanish, the deployments of these."""
        vanish: dict[str, set[str]] = {}
        last = {CONTROLLER}
        for site in self._engine.sites:
            if site.connector.ephemeral:
                vanish.setdefault(site.location.filesystem, set()).add(site.location.deployment)
            else:
                last.add(site.location.filesystem)
        for path in paths:
            on = {replica.filesystem for replica in self._engine.ledger.replicas(path)}
            if on and on.isdisjoint(last) and on <= vanish.keys():
                yield set().union(*(vanish[filesystem] for filesystem in on))

"""Bringing files home."""

from __future__ import annotations

import asyncio
import os
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from ..errors import SiteError, StreamFlowError
from ..files import Files
from ..locate import expecting
from ..model import CONTROLLER, SCHEME, is_address
from ..move.entry import Item
from ..move.mover import Mover
from ..move.store import Store
from ..plan import Ledger, Replica
from ..show import counted, duration, size
from .answer import Answer
from .data import read
from .reach import Reach
from .verify import OK, states
from .workflow import Workflow


def get(given: Namespace) -> Answer:
    """Bring files from their sites to their plain paths, or below another folder."""
    with Workflow(given) as workflow:
        ledger, known = read(workflow)
        paths = workflow.select(ledger, given.paths, known)
        targets = {path: _target(workflow, path, given.to) for path in paths}
        companion, records = workflow.companion(), workflow.journal.deployments()
        started = time.monotonic()

        async def bring() -> _Brought:
            async with Reach(companion, workflow.here, records) as reach, asyncio.TaskGroup() as group:
                return await _Bringer(reach, ledger, group).bring(targets)

        brought = asyncio.run(bring())
        if not any(workflow.alive(run) for run in workflow.journal.runs()):  # one that goes on keeps its own ledger
            workflow.journal.apply(ledger.changes())
    seconds = time.monotonic() - started
    lines = [f"{targets[path]}  from {source}" for path, source in brought.sources.items()]
    lines += [f"{path}  is here already" for path in brought.here]
    lines.append(f"{counted(len(brought.sources), 'path')} brought, {size(brought.size_b)} in {duration(seconds)}")
    lines += [f"NOT brought: {path}: {problem}" for path, problem in brought.problems.items()]
    data: dict[str, Any] = {
        "brought": [{"path": p, "from": s, "to": str(targets[p])} for p, s in brought.sources.items()],
        "here": brought.here,
        "problems": brought.problems,
        "size_b": brought.size_b,
    }
    return Answer(data, "\n".join(lines), int(bool(brought.problems)))


class _Brought:
    """What came."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.here: list[str] = []
        self.problems: dict[str, str] = {}
        self.size_b = 0


class _Bringer:
    """Copies paths to this machine, each from a replica that was looked at just before."""

    def __init__(self, reach: Reach, ledger: Ledger, group: asyncio.TaskGroup) -> None:
        self._reach = reach
        self._ledger = ledger
        self._group = group
        self._files = Files(reach.home.root, ledger)
        self._mover = Mover(self._spawn, lambda *_: None)
        self._done = _Brought()

    async def bring(self, targets: dict[str, Path]) -> _Brought:
        """Bring paths to their targets, from all sites at once."""
        replicas = [replica for path in targets for replica in self._ledger.replicas(path)]
        found, problems = await states(self._reach, replicas)
        by_store: defaultdict[Store, dict[str, Replica]] = defaultdict(dict)
        for path, target in targets.items():
            good = [replica for replica in self._ledger.replicas(path) if found[replica] == OK]
            good.sort(key=lambda replica: replica.filesystem != CONTROLLER)
            if not good:
                seen = {f"{r.filesystem}: {problems.get(r.filesystem, found[r])}" for r in self._ledger.replicas(path)}
                self._done.problems[path] = "no usable replica is left: " + "; ".join(sorted(seen))
                continue
            store, place = await self._reach.source(good[0].filesystem, path)
            if store is self._reach.home and store.path(place) == str(target):
                self._done.here.append(path)
            elif os.path.lexists(target):
                self._done.problems[path] = f"{target} is there, and the journal does not know it: move it away"
            else:
                by_store[store][place] = good[0]
        await asyncio.gather(*(self._from(store, wanted, targets) for store, wanted in by_store.items()))
        return self._done

    async def _from(self, store: Store, wanted: Mapping[str, Replica], targets: Mapping[str, Path]) -> None:
        """Copy replicas, by their places, from one store."""
        try:
            items = await store.list({place: str(targets[replica.path]) for place, replica in wanted.items()})
            items = [expecting(item, wanted[item.source]) for item in items]
        except SiteError as error:
            self._done.problems |= {replica.path: str(error) for replica in wanted.values()}
            return
        await asyncio.gather(*(self._one(store, item, wanted[item.source]) for item in items))

    async def _one(self, store: Store, item: Item, replica: Replica) -> None:
        path = replica.path
        try:
            await self._mover.move(store, self._reach.home, [item])
        except SiteError as error:
            self._done.problems[path] = str(error)
            return
        self._done.sources[path] = replica.filesystem
        self._done.size_b += item.size_b
        if item.target == str(self._home(path)):  # with the time that Snakemake knows it by
            before = self._ledger.get(path, CONTROLLER)
            self._files.arrived(path, replica.version, replica.made_ns or (before.mtime_ns if before else 0))

    def _home(self, path: str) -> Path:
        return Path(self._reach.home.path(path))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        return self._group.create_task(work)


def _target(workflow: Workflow, path: str, to: Path | None) -> Path:
    if to is not None:
        return to.absolute() / path.removeprefix(SCHEME).lstrip("/")
    if is_address(path):
        raise StreamFlowError(f"{path} has no plain path: say with --to DIR where it shall go")
    return workflow.here / path

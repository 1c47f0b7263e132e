"""Removing replicas."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..config.nearest import did_you_mean
from ..errors import Gone, SiteError, StreamFlowError, TransferError
from ..model import CONTROLLER
from ..move.store import Store
from ..plan import Dropped, Replica
from ..show import counted, size, table
from .answer import Answer
from .data import read
from .reach import Reach
from .terminal import agrees, width
from .workflow import Workflow


def rm(given: Namespace) -> Answer:
    """Remove replicas at sites, and from the journal. The controller's are removed with `--at controller` only."""
    with Workflow(given) as workflow:
        workflow.must_rest()
        ledger, known = read(workflow)
        paths = workflow.select(ledger, given.paths, known)
        replicas = [replica for path in paths for replica in ledger.replicas(path)]
        at = _filesystem(given.at, replicas, workflow) if given.at else None
        doomed = [one for one in replicas if (one.filesystem == at if at else one.filesystem != CONTROLLER)]
        if not doomed:
            names = ", ".join(sorted({replica.filesystem for replica in replicas}))
            return Answer({"removed": [], "problems": {}}, f"Nothing to remove: {names} has it, and no site.")
        rows = [(replica.path, replica.filesystem, size(replica.size_b)) for replica in doomed]
        last = [path for path in paths if not set(ledger.replicas(path)) - set(doomed)]
        if not given.yes:
            _ask(table(("remove", "at", "size"), rows, width()), last)
        companion, records = workflow.companion(), workflow.journal.deployments()

        async def work() -> _Removed:
            async with Reach(companion, workflow.here, records) as reach:
                return await _remove(reach, doomed)

        done = asyncio.run(work())
        removed = [replica for replica in doomed if replica.filesystem not in done.problems]
        workflow.journal.apply([Dropped(replica.path, replica.filesystem) for replica in removed])
    lines = [f"{counted(len(removed), 'replica')} removed, {size(sum(replica.size_b for replica in removed))}"]
    lines += [f"Only forgotten: {filesystem}: {why}" for filesystem, why in done.gone.items()]
    lines += [f"NOT removed: {filesystem}: {problem}" for filesystem, problem in done.problems.items()]
    data = {
        "removed": [{"path": replica.path, "filesystem": replica.filesystem} for replica in removed],
        "gone": done.gone,
        "problems": done.problems,
    }
    return Answer(data, "\n".join(lines), int(bool(done.problems)))


@dataclass(frozen=True, slots=True)
class _Removed:
    """Filesystems that are no more, and those where something could not be removed, with the reasons."""

    gone: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def _filesystem(at: str, replicas: Sequence[Replica], workflow: Workflow) -> str:
    """Return the filesystem that `--at` means: one of that name, or the only one of a deployment of that name."""
    names = sorted({replica.filesystem for replica in replicas})
    if at in names:
        return at
    deployment = workflow.companion().deployments.get(at)
    meant = [name for name in names if deployment is not None and deployment.may_have(name)]
    if len(meant) > 1:
        raise StreamFlowError(f"that is at several locations of {at}: say --at {' or --at '.join(meant)}")
    if not meant:
        raise StreamFlowError(f"nothing of that is at {at}{did_you_mean(at, names, 'it is at')}")
    return meant[0]


def _ask(what: str, last: Sequence[str]) -> None:
    text = what
    if last:
        more = f" and {len(last) - 5} more" if len(last) > 5 else ""
        text += f"\n\nNo replica is left then of {', '.join(last[:5])}{more}."
    agreed = agrees(f"{text}\n\nRemove?")
    if agreed is None:
        raise StreamFlowError(f"{text}\n\nNothing was removed: --yes says that this is meant.")
    if not agreed:
        raise StreamFlowError("Nothing was removed.")


async def _remove(reach: Reach, replicas: Sequence[Replica]) -> _Removed:
    """Remove files, at all sites at once. What is gone already is no problem."""
    by_filesystem: defaultdict[str, list[str]] = defaultdict(list)
    for replica in replicas:
        if replica.path != ".":
            by_filesystem[replica.filesystem].append(replica.path)
    done = _Removed()

    async def at(filesystem: str, paths: list[str]) -> None:
        try:
            store: Store = reach.home
            places: list[str | None] = [reach.home_path(path) for path in paths]
            if filesystem != CONTROLLER:
                site = await reach.at(filesystem)
                store, places = site.store, [await reach.place(site, path) for path in paths]
            own = [place for place in places if place is not None]
            await store.remove(own)
            left = [found.path for found in await store.stat(own) if found.kind != "missing"]
            if left:
                raise TransferError(f"cannot remove {', '.join(left[:3])}{' and more' if len(left) > 3 else ''}")
        except Gone as error:
            done.gone[filesystem] = str(error)
        except (SiteError, OSError) as error:
            done.problems[filesystem] = str(error)

    await asyncio.gather(*(at(filesystem, paths) for filesystem, paths in by_filesystem.items()))
    return done

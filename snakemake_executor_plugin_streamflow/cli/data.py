"""What exists where, as the journal has it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from ..errors import StreamFlowError
from ..model import CONTROLLER
from ..plan import Ledger, Replica
from ..show import counted, moment, size, table
from .answer import Answer
from .terminal import width
from .workflow import Workflow


def ls(given: Namespace) -> Answer:
    """List paths with their sizes, times and filesystems."""
    with Workflow(given) as workflow:
        ledger, known = read(workflow)
        paths = workflow.select(ledger, given.patterns, known) if given.patterns else known
    found = [(path, _sorted(ledger.replicas(path))) for path in sorted(paths)]
    rows = [
        (path + "/" * one.directory, size(one.size_b), _made(one), ", ".join(r.filesystem for r in replicas))
        for path, replicas in found
        for one in replicas[:1]
    ]
    total = sum(replicas[0].size_b for _, replicas in found)
    text = table(("path", "size", "made", "where"), rows, width())
    text += f"\n\n{counted(len(found), 'path')}, {size(total)}; with all replicas {size(_bytes(found))}"
    return Answer({"paths": [_data(replicas) for _, replicas in found]}, text if found else "The journal is empty.")


def where(given: Namespace) -> Answer:
    """Tell all replicas of one path; of the nearest recorded folder above it when it has none of its own."""
    with Workflow(given) as workflow:
        ledger, known = read(workflow)
        path = workflow.canonical(given.path)
        above = next((str(p) for p in PurePosixPath(path).parents if _is_folder(ledger, str(p))), None)
        if ledger.version(path) is None and above is None:
            workflow.select(ledger, [given.path], known)
            raise StreamFlowError(f"{given.path} is a folder that no rule made as a whole: see `data ls {given.path}`")
        replicas = _sorted(ledger.replicas(path) or ledger.replicas(above or ""))
        seen = _look(workflow, replicas) if given.look else None
    one = replicas[0]
    lines = [] if ledger.version(path) else [f"{path} is part of {one.path}."]
    lines.append(f"{one.path}: {size(one.size_b)}, made {_made(one) or 'at an unknown time'}, version {one.version}")
    data = {"path": path, **_data(replicas)}
    if seen is None:
        times = [(replica.filesystem, moment(replica.mtime_ns / 1e9)) for replica in replicas]
        return Answer(data, "\n".join([*lines, "", table(("filesystem", "modified there"), times)]))
    for entry, (state, place) in zip(data["replicas"], seen, strict=True):
        entry |= {"state": state, "place": place}
    rows = [(r.filesystem, *state) for r, state in zip(replicas, seen, strict=True)]
    lines += ["", table(("filesystem", "state", "place"), rows)]
    return Answer(data, "\n".join(lines), int(any(state != "ok" for state, _ in seen)))


def _look(workflow: Workflow, replicas: Sequence[Replica]) -> list[tuple[str, str]]:
    """Return state and absolute place of each replica; "" where its site cannot be reached."""
    import asyncio

    from .reach import Reach
    from .verify import states

    companion, records = workflow.companion(), workflow.journal.deployments()

    async def look() -> list[tuple[str, str]]:
        async with Reach(companion, workflow.here, records) as reach:
            found, _ = await states(reach, replicas)
            return [(found[replica], await reach.absolute(replica.filesystem, replica.path)) for replica in replicas]

    return asyncio.run(look())


def read(workflow: Workflow) -> tuple[Ledger, list[str]]:
    """Return the ledger and all its paths."""
    replicas = list(workflow.journal.replicas())
    return Ledger(replicas), list(dict.fromkeys(replica.path for replica in replicas))


def _data(replicas: Sequence[Replica]) -> dict[str, Any]:
    one = replicas[0]
    own = ("filesystem", "mtime_ns")
    return {
        **{name: value for name, value in asdict(one).items() if name not in own},
        "replicas": [{name: getattr(replica, name) for name in own} for replica in replicas],
    }


def _sorted(replicas: Sequence[Replica]) -> list[Replica]:
    return sorted(replicas, key=lambda replica: (replica.filesystem != CONTROLLER, replica.filesystem))


def _made(replica: Replica) -> str:
    return moment((replica.made_ns or replica.mtime_ns) / 1e9)


def _bytes(found: Sequence[tuple[str, Sequence[Replica]]]) -> int:
    return sum(replica.size_b for _, replicas in found for replica in replicas)


def _is_folder(ledger: Ledger, path: str) -> bool:
    return any(replica.directory for replica in ledger.replicas(path))

"""Whether replicas are what the journal says they are."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Gone, SiteError
from ..locate import is_recorded
from ..move.store import Store
from ..plan import Dropped, Replica
from ..remote.job import Found
from ..show import table
from .answer import Answer
from .data import read
from .reach import Reach
from .terminal import width
from .workflow import Workflow

OK, CHANGED, GONE, UNKNOWN = "ok", "changed", "gone", "not reachable"


def verify(given: Namespace) -> Answer:
    """Look at every replica, and compare digests at its site; `--repair` forgets those that are gone or changed."""
    with Workflow(given) as workflow:
        if given.repair:
            workflow.must_rest()
        ledger, known = read(workflow)
        paths = workflow.select(ledger, given.paths, known) if given.paths else known
        replicas = [replica for path in paths for replica in ledger.replicas(path)]
        companion, records = workflow.companion(), workflow.journal.deployments()

        async def look() -> tuple[dict[Replica, str], dict[str, str]]:
            async with Reach(companion, workflow.here, records) as reach:
                return await states(reach, replicas, deep=not given.quick)

        found, problems = asyncio.run(look())
        wrong = [replica for replica, state in found.items() if state in (CHANGED, GONE)]
        if given.repair:
            workflow.journal.apply([Dropped(replica.path, replica.filesystem) for replica in wrong])
    return _answer(found, problems, given.repair)


async def states(
    reach: Reach, replicas: Sequence[Replica], *, deep: bool = False
) -> tuple[dict[Replica, str], dict[str, str]]:
    """Look at replicas: all sites at once, all files of a site in one request.

    Args:
        deep: read files whose digest is recorded, and compare it.

    Returns:
        The state of each replica, and `{filesystem: why nothing is known}`.
    """
    by_filesystem: defaultdict[str, list[Replica]] = defaultdict(list)
    for replica in replicas:
        by_filesystem[replica.filesystem].append(replica)
    problems: dict[str, str] = {}

    async def look(filesystem: str, there: list[Replica]) -> list[str]:
        try:
            return await _look(reach, filesystem, there, deep)
        except Gone as error:
            problems[filesystem] = str(error)
            return [GONE] * len(there)
        except SiteError as error:
            problems[filesystem] = str(error)
            return [UNKNOWN] * len(there)

    answers = await asyncio.gather(*(look(filesystem, there) for filesystem, there in by_filesystem.items()))
    found = zip((r for there in by_filesystem.values() for r in there), (s for a in answers for s in a), strict=True)
    return dict(found), problems


async def _look(reach: Reach, filesystem: str, replicas: Sequence[Replica], deep: bool) -> list[str]:
    by_store: defaultdict[Store, dict[str, Replica]] = defaultdict(dict)
    for replica in replicas:
        store, place = await reach.source(filesystem, replica.path)
        by_store[store][place] = replica
    seen: dict[Replica, str] = {}
    for store, there in by_store.items():
        looks = zip(there.items(), await store.stat(list(there)), strict=True)
        seen |= {replica: _state(replica, found) for (_, replica), found in looks}
        same = {place: replica for place, replica in there.items() if seen[replica] == OK and replica.digest}
        folders = [place for place, replica in same.items() if replica.directory]
        files = [place for place, replica in same.items() if deep and not replica.directory]
        digests = dict(zip(folders, await store.listings(folders), strict=True)) if folders else {}
        digests |= dict(zip(files, await store.sums(files), strict=True)) if files else {}
        seen |= {there[place]: CHANGED for place, digest in digests.items() if digest != there[place].digest}
    return [seen[replica] for replica in replicas]


def _state(replica: Replica, found: Found) -> str:
    return GONE if found.kind == "missing" else OK if is_recorded(replica, found) else CHANGED


def _answer(found: Mapping[Replica, str], problems: Mapping[str, str], repaired: bool) -> Answer:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for replica, state in found.items():
        counts[replica.filesystem][state] += 1
    kinds = (OK, CHANGED, GONE, UNKNOWN)
    rows = [(name, *(str(count[kind] or "") for kind in kinds)) for name, count in sorted(counts.items())]
    parts = [table(("filesystem", *kinds), rows, width())]
    wrong = [(replica, state) for replica, state in found.items() if state in (CHANGED, GONE)]
    if wrong:
        lines = [(state, replica.filesystem, replica.path) for replica, state in wrong]
        parts.append(table(("state", "filesystem", "path"), lines, width()))
        parts.append("The journal has forgotten them." if repaired else "`--repair` makes the journal forget them.")
    parts += [f"{name}: {problem}" for name, problem in problems.items()]
    data: dict[str, Any] = {
        "replicas": [{"path": r.path, "filesystem": r.filesystem, "state": state} for r, state in found.items()],
        "problems": dict(problems),
        "repaired": repaired,
    }
    bad = (not repaired and wrong) or UNKNOWN in found.values()
    return Answer(data, "\n\n".join(parts) if found else "The journal is empty.", int(bool(bad)))

"""What Snakemake does with the outputs of a job, done at the location where they stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .errors import JobFailed, TransferError, quote_tail
from .jobs import Ensure, Output, Task
from .move.listing import STAMP
from .remote.job import Found, JobEnd
from .remote.quote import quote, words
from .site import Site
from .spec import restoring, updated


async def finish(site: Site, task: Task, end: JobEnd, path_of: Callable[[str], str]) -> JobEnd:
    """Check outputs, make logs that are missing, stamp directories, protect what is to be protected.

    May be done twice. Returns the end with the outputs as they are now.

    Raises:
        JobFailed: an output is not what the rule says.
    """
    outputs = task.outputs()
    pairs = list(zip(outputs, end.outputs or (), strict=True))
    problems = [problem for output, found in pairs if (problem := _wrong(output, found))]
    sums = [(output, path_of(output.path)) for output in outputs if output.ensure and output.ensure.algorithm]
    problems += [] if problems else await _sums(site, [(o.path, o.ensure, place) for o, place in sums if o.ensure])
    if problems:
        where = f"{site.location.name}:{site.directory(task.id)}"
        message = f"{task.name} ended well at {site.location.name}, but {'; '.join(problems)}"
        raise JobFailed(message, code=0, directory=where)
    changes: dict[int, str] = {}
    for number, (output, found) in enumerate(pairs):
        place = quote(path_of(output.path))
        if found.kind == "missing" and output.log:
            changes[number] = f": >>{place}"
        elif found.kind == "directory":
            changes[number] = f"touch -- {place}/{STAMP}"
        if output.protected:
            before = f"{changes[number]}; " if number in changes else ""
            changes[number] = f"{before}chmod -R a-w -- {place}"
    if not changes:
        return end
    done = await site.shells.ask("set -e\n" + "\n".join(changes.values()))
    if done.code:
        raise TransferError(f"{site.location.name}: outputs cannot be finished:\n{quote_tail(done.output)}")
    found_now = list(end.outputs or ())
    stats = await site.shells.stat([path_of(outputs[number].path) for number in changes])
    folders = [number for number in changes if pairs[number][1].kind == "directory"]
    listings = await site.store.listings([path_of(outputs[number].path) for number in folders])
    digests = dict(zip(folders, listings, strict=True))
    for number, now in zip(changes, stats, strict=True):
        found_now[number] = replace(now, path=outputs[number].path, digest=digests.get(number, ""))
    return replace(end, outputs=tuple(found_now))


async def undo(site: Site, task: Task, path_of: Callable[[str], str], *, keep: bool) -> None:
    """Give outputs that a failed job was to update their former content, and remove the others unless they are kept.

    Raises:
        TransferError, Unreachable: it could not be done.
    """
    old = updated(site, task)
    made = [path_of(output.path) for output in task.outputs() if not (output.log or output in old or keep)]
    places = [path_of(output.path) for output in old]
    lines = [*([restoring(site, task, places)] if places else []), *([f"rm -rf -- {words(made)}"] if made else [])]
    done = await site.shells.ask("\n".join(lines) or ":")
    if done.code:
        raise TransferError(f"{site.location.name}: outputs cannot be undone:\n{quote_tail(done.output)}")


def _wrong(output: Output, found: Found) -> str | None:
    if found.kind == "missing":
        return None
    if found.kind == "other":
        return f"{output.path} is neither a file nor a directory"
    if output.directory and found.kind != "directory":
        return f"{output.path} is flagged as directory() and is none"
    if not output.directory and not output.log and found.kind == "directory":
        return f"{output.path} is a directory and not flagged as directory()"
    if output.ensure and output.ensure.non_empty and not found.size_b:
        return f"{output.path} is empty, and ensure() says that it must not be"
    return None


async def _sums(site: Site, wanted: Sequence[tuple[str, Ensure, str]]) -> list[str]:
    problems = []
    for path, ensure, place in wanted:
        done = await site.shells.ask(f"{ensure.algorithm}sum <{quote(place)}")
        if done.code:
            problems.append(f"the {ensure.algorithm} checksum of {path} cannot be had there: {done.text.strip()}")
        elif (digest := done.text.split()[0]) != ensure.digest:
            problems.append(f"{path} has the {ensure.algorithm} checksum {digest}, not {ensure.digest}")
    return problems

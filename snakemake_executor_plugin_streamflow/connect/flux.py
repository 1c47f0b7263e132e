"""Flux: flux submit (flux batch with a template), flux jobs, flux cancel."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from .queue import Queue, Seen, State, Submission, Value, added, command, service_options
from .queue_connector import QueueConnector

_ID = re.compile(r"^[fƒ]([1-9A-HJ-NP-Za-km-z]+)$", re.MULTILINE)
_RESULTS = {
    "COMPLETED": State.ENDED,
    "FAILED": State.ENDED,
    **dict.fromkeys(("CANCELED", "CANCELLED"), State.CANCELLED),
    "TIMEOUT": State.TIMED_OUT,
}


class FluxQueue(Queue):
    """The commands of Flux; ids are in its own base 58, with the plain `f` that is printed where ƒ cannot be."""

    name = "flux"
    own_id = "$(printf %s \"$FLUX_JOB_ID\" | sed 's/^ƒ/f/')"
    hosts = "flux hostlist -e local | tr ' ,' '\\n\\n'"

    def submit(self, job: Submission) -> str:
        wants, service = job.wants, job.service
        options = service_options(service)
        asked: dict[str, Value] = {
            "--queue": wants.partition,
            "--bank": wants.account,
            "--requires": wants.constraint,
            "--time-limit": f"{wants.runtime_min}m" if wants.runtime_min else None,
            "--nodes": wants.nodes,
        }
        options |= {flag: value for flag, value in asked.items() if value}
        batch = bool(getattr(service, "file", None))
        unit = "slot" if batch else "task"
        tasks = {"--nslots" if batch else "--ntasks": wants.tasks if batch or wants.nodes is None else wants.nodes}
        sizes = {f"--cores-per-{unit}": wants.threads if wants.threads > 1 else None, f"--gpus-per-{unit}": wants.gpus}
        fixed: dict[str, Value] = {"--job-name": f"sf-{job.name}", "--output": job.output}
        if batch and "--nslots" not in options and "--nodes" not in options:
            fixed["--nslots"] = 1
        options |= {flag: value for flag, value in (tasks | sizes).items() if value}
        program = "flux batch" if batch else "flux submit"
        text = f"{command(program, [*fixed.items(), *options.items()])}{added(job)}"
        return f"{text} {'' if batch else 'sh '}{shlex.quote(job.file)}"

    def submitted(self, said: str) -> str:
        if not (found := _ID.findall(said)):
            raise ValueError(said)
        return f"f{found[-1]}"

    def status(self, ids: Sequence[str]) -> str:
        return f"flux jobs -n -o '{{id.f58}}|{{state}}|{{result}}|{{exception.type}}' {' '.join(ids)}"

    def states(self, said: str) -> dict[str, Seen]:
        found = {}
        for plain, word, result, problem in re.findall(r"^[fƒ](\w+)\|(\w+)\|(\w*)\|(.*)$", said, re.MULTILINE):
            job = f"f{plain}"
            if word != "INACTIVE":
                found[job] = Seen(State.RUNNING if word in ("RUN", "CLEANUP") else State.PENDING, word)
                continue
            state = _RESULTS.get(result, State.ENDED)
            if "node" in problem:
                state = State.NODE_FAILED
            elif problem == "preempt":
                state = State.PREEMPTED
            found[job] = Seen(state, ", ".join(filter(None, (result, problem))))
        return found

    def cancel(self, ids: Sequence[str]) -> str:
        return f"flux cancel {' '.join(ids)}"

    def knows_none(self, said: str) -> bool:
        return bool(re.search(r"unknown job|is inactive|JobID \S+ unknown|not found", said, re.IGNORECASE))


class FluxConnector(QueueConnector):
    """Jobs of a Flux instance."""

    queue = FluxQueue()

"""OAR: oarsub, oarstat, oardel."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

from .queue import Queue, Seen, State, Submission, added, clock, command, service_options
from .queue_connector import QueueConnector

_WORDS = {
    **dict.fromkeys(("Waiting", "Hold", "toLaunch", "toAckReservation", "Launching"), State.PENDING),
    **dict.fromkeys(("Running", "Finishing", "Suspended", "Resuming", "toError"), State.RUNNING),
    **dict.fromkeys(("Terminated", "Error"), State.ENDED),
}
_EVENTS = {
    "WALLTIME": State.TIMED_OUT,
    "BESTEFFORT_KILL": State.PREEMPTED,
    "EXTERMINATE_JOB": State.NODE_FAILED,
    "LAUNCHING_OAREXEC_TIMEOUT": State.NODE_FAILED,
    "PING_CHECKER_NODE_SUSPECTED": State.NODE_FAILED,
    "FRAG_JOB_REQUEST": State.CANCELLED,
}
"""Type of an event -> what it makes of a job in error; the first that is there counts: OAR itself deletes jobs."""
_AGAIN = "RESUBMIT_JOB_AUTOMATICALLY"


class OarQueue(Queue):
    """The commands of OAR 2 and 3.

    When a node fails before a job has begun, OAR submits the job again by itself: what it says of the new one, which
    names the old one in `resubmit_job_id`, is said of the old one, and both are cancelled together.
    """

    name = "oar"
    own_id = "$OAR_JOB_ID"
    hosts = 'sort -u "$OAR_NODEFILE"'

    def submit(self, job: Submission) -> str:
        wants, service = job.wants, job.service
        options = service_options(service)
        options |= {flag: value for flag, value in (("-q", wants.partition), ("--project", wants.account)) if value}
        parts = [f"/nodes={wants.nodes or 1}", *([f"gpu={wants.gpus}"] if wants.gpus else [])]
        parts += [f"core={wants.threads * (wants.tasks_per_node or 1)}"] if not wants.nodes or wants.threads > 1 else []
        size = "/".join(parts)
        if wants.runtime_min or "-l" not in options:
            time = f",walltime={clock(wants.runtime_min)}" if wants.runtime_min else ""
            options["-l"] = f"{size}{time}"
        if wants.constraint:
            options["-p"] = wants.constraint
        fixed = {"-n": f"sf-{job.name}", "-O": job.output, "-E": job.output, "-d": job.workdir}
        text = f"{command('oarsub', [*fixed.items(), *options.items()])}{added(job)}"
        if getattr(service, "file", None):
            return f"chmod u+x {shlex.quote(job.file)} && {text} -S {shlex.quote(job.file)}"
        return f"{text} {shlex.quote(f'sh {shlex.quote(job.file)}')}"

    def submitted(self, said: str) -> str:
        if not (found := re.findall(r"^OAR_JOB_ID\s*=\s*(\d+)", said, re.MULTILINE)):
            raise ValueError(said)
        return str(found[-1])

    def status(self, ids: Sequence[str]) -> str:
        return "oarstat -J -u"

    def states(self, said: str) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        decoder, at = json.JSONDecoder(), said.find("{")
        while at >= 0:
            try:
                jobs, end = decoder.raw_decode(said, at)
            except ValueError:
                end = at + 1
            else:
                sound = {str(job): values for job, values in jobs.items() if isinstance(values, dict)}
                found |= {job: _seen(values) for job, values in sound.items()}
                again = {job: values.get("resubmit_job_id") for job, values in sound.items()}
                found |= {str(first): found[job] for job, first in again.items() if first}
            at = said.find("{", end)
        return found

    def history(self, ids: Sequence[str]) -> str | None:
        return "oarstat -J -f" + "".join(f" -j {one}" for one in ids)

    def cancel(self, ids: Sequence[str]) -> str:
        text = ",".join(ids)
        return f"oardel --sql 'job_id IN ({text}) OR resubmit_job_id IN ({text})'"

    def knows_none(self, said: str) -> bool:
        return bool(re.search(r"not found|already|not the right user", said))  # the last: also of a job that never was


def _seen(values: dict[str, Any]) -> Seen:
    word, message = str(values.get("state", "")), str(values.get("message") or "")
    state = _WORDS.get(word, State.UNKNOWN)
    events = {str(event.get("type")) for event in values.get("events") or ()}
    if word == "Error":
        state = State.PENDING if _AGAIN in events else next((_EVENTS[one] for one in _EVENTS if one in events), state)
    why = ", ".join(one for one in _EVENTS if one in events)
    return Seen(state, ", ".join(filter(None, (word, why, message.strip()))))


class OarConnector(QueueConnector):
    """Jobs of an OAR cluster."""

    queue = OarQueue()

"""HTCondor, whose machines share the files of the submit host: condor_submit, condor_q, condor_history, condor_rm."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .queue import Queue, Seen, State, Submission
from .queue_connector import QueueConnector

_FIELDS = "ClusterId ProcId JobStatus NumJobStarts HoldReasonCode RemoveReason HoldReason"
_ROW = re.compile(r"^(\d+) (\d+) (\d) (\d+|undefined) (\d+|undefined)(.*)$", re.MULTILINE)
_HOLDS = {34: State.OUT_OF_MEMORY, 46: State.TIMED_OUT, 47: State.TIMED_OUT}
"""https://htcondor.readthedocs.io/en/latest/classad-attributes/job-classad-attributes.html (HoldReasonCode)"""


class HtcondorQueue(Queue):
    """The commands of HTCondor; ids are `CLUSTER.PROCESS`."""

    name = "htcondor"
    own_id = "$STREAMFLOW_QUEUE_ID"
    own_session = True  # it knows processes by their parents and environment; and looks at its own time limit rarely

    def submit(self, job: Submission) -> str:
        wants = job.wants
        lines = {
            "universe": "vanilla",
            "executable": "/bin/sh",
            "arguments": _arguments(job.file),
            "output": job.output,
            "error": job.output,
            "log": f"{job.output}.log",
            "initialdir": job.workdir,
            "batch_name": f"sf-{job.name}",
            "should_transfer_files": "NO",
            "getenv": "True",
            "environment": '"STREAMFLOW_QUEUE_ID=$(ClusterId).$(ProcId)"',
            "request_cpus": str(wants.threads),
            "request_memory": f"{wants.mem_mb}MB" if wants.mem_mb else "",
            "request_disk": f"{wants.disk_mb}MB" if wants.disk_mb else "",
            "request_gpus": str(wants.gpus or ""),
            "allowed_execute_duration": str(60 * wants.runtime_min) if wants.runtime_min else "",
            "accounting_group": wants.account,
            "requirements": wants.constraint,
            **(getattr(job.service, "submit", None) or {}),
        }
        text = "\n".join(f"{name} = {value}" for name, value in lines.items() if value)
        more = "\n".join(filter(None, (getattr(job.service, "extra", None), wants.extra)))
        return f"condor_submit -terse - <<'SUBMIT'\n{text}\n{more}\nqueue\nSUBMIT\n"

    def submitted(self, said: str) -> str:
        if not (found := re.findall(r"^(\d+\.\d+) - \d+\.\d+$", said, re.MULTILINE)):
            raise ValueError(said)
        return str(found[-1])

    def status(self, ids: Sequence[str]) -> str:
        return f"condor_q {' '.join(ids)} -af {_FIELDS}"

    def states(self, said: str) -> dict[str, Seen]:
        return {f"{row[0]}.{row[1]}": _seen(*row[2:]) for row in _ROW.findall(said)}

    def history(self, ids: Sequence[str]) -> str | None:
        return f"condor_history {' '.join(ids)} -limit {len(ids)} -af {_FIELDS}"

    def cancel(self, ids: Sequence[str]) -> str:
        return f"condor_rm {' '.join(ids)}"

    def knows_none(self, said: str) -> bool:
        return "not found" in said or "Couldn't find" in said


def _arguments(file: str) -> str:
    """One argument in the new syntax: within double quotes, where single ones group and are doubled to stand."""
    return "\"'" + file.replace("'", "''").replace('"', '""') + "'\""


def _seen(status: str, starts: str, hold: str, rest: str) -> Seen:
    words = " ".join(word for word in rest.split() if word != "undefined")
    match int(status):
        case 1 if starts.isdigit() and int(starts) > 0:
            return Seen(State.PREEMPTED, "put back after it had been started")
        case 1:
            return Seen(State.PENDING)
        case 3:
            return Seen(State.CANCELLED, words or "removed")
        case 4:
            return Seen(State.ENDED, "completed")
        case 5:
            return Seen(_HOLDS.get(int(hold) if hold.isdigit() else 0, State.REFUSED), words or "held")
        case 2 | 6 | 7:
            return Seen(State.RUNNING)
    return Seen(State.UNKNOWN, status)


class HtcondorConnector(QueueConnector):
    """Jobs of an HTCondor pool."""

    queue = HtcondorQueue()

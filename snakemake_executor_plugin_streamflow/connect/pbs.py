"""PBS: OpenPBS, PBS Professional and Torque, told apart by `qstat --version`: qsub, qstat, qdel."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from .queue import Queue, Seen, State, Submission, Wants, added, clock, command, service_options
from .queue_connector import QueueConnector

_PRO = "case $(qstat --version 2>&1) in *pbs_version*|*PBSPro*) pro=1;; *) pro=;; esac"
_ENDS = {
    # PBS Professional: JOB_EXEC_KILL_*; Torque: JOB_EXEC_OVERLIMIT_*. Both count signals from 256, Torque as 256 + n.
    **dict.fromkeys((-29, -28, -11, -12), State.TIMED_OUT),
    **dict.fromkeys((-26, -27, -10), State.OUT_OF_MEMORY),
    **dict.fromkeys((-1, -2, -3, -4, -5, -6, -7), State.NODE_FAILED),
}
_WORDS = {**dict.fromkeys("QHWTM", State.PENDING), **dict.fromkeys("REBSUX", State.RUNNING)}


class PbsQueue(Queue):
    """The commands of PBS."""

    name = "pbs"
    own_id = "$PBS_JOBID"
    hosts = 'sort -u "$PBS_NODEFILE"'
    prelude = _PRO

    def submit(self, job: Submission) -> str:
        wants, service = job.wants, job.service
        options = service_options(service)
        options |= {flag: value for flag, value in (("-q", wants.partition), ("-A", wants.account)) if value}
        name = getattr(service, "job_name", None) or f"sf-{job.name}"[-15:].lstrip("-._0123456789") or "sf"
        fixed = {"-N": name, "-o": job.output, "-j": "oe", "-r": "n"}
        limits = [("-l", f"{key}={value}") for key, value in (getattr(service, "resources", None) or {}).items()]
        limits += [("-l", f"walltime={clock(wants.runtime_min)}")] if wants.runtime_min else []
        more = getattr(service, "additional_attributes", None) or {}
        attributes = ",".join(f"{key}={value}" for key, value in more.items()) or None
        common = [*fixed.items(), *options.items(), ("-W", attributes), *limits]
        rest = f"{added(job)} {shlex.quote(job.file)}"
        pro, torque = (command("qsub", [*common, *size]) + rest for size in (_select(wants), _nodes(wants)))
        return pro if pro == torque else f'if [ "$pro" ]; then {pro}; else {torque}; fi'

    def submitted(self, said: str) -> str:
        if not (found := re.findall(r"^(\d+\S*)$", said, re.MULTILINE)):
            raise ValueError(said)
        return str(found[-1])

    def status(self, ids: Sequence[str]) -> str:
        return f'{_PRO}; if [ "$pro" ]; then qstat -x -f {" ".join(ids)}; else qstat -f {" ".join(ids)}; fi'

    def states(self, said: str) -> dict[str, Seen]:
        found = {}
        for block in re.split(r"^Job Id: ", said.replace("\n\t", ""), flags=re.MULTILINE)[1:]:
            job, _, rest = block.partition("\n")
            # A variable of several lines, as an exported shell function is, has lines that only look like attributes.
            values = dict(reversed(re.findall(r"^ {4}([\w.]+) = (.*)$", rest, re.MULTILINE)))
            found[job.strip()] = _seen(values)
        return found

    def cancel(self, ids: Sequence[str]) -> str:
        return f"qdel {' '.join(ids)}"

    def knows_none(self, said: str) -> bool:
        return "Unknown Job" in said or "Job has finished" in said or "invalid state for job" in said


def _seen(values: Mapping[str, str]) -> Seen:
    word = values.get("job_state", "")
    if word not in ("F", "C"):
        return Seen(_WORDS.get(word, State.UNKNOWN), word)
    text = values.get("Exit_status", values.get("exit_status", "0"))
    code = int(text) if re.fullmatch(r"-?\d+", text) else 0
    comment = values.get("comment", "")
    words = f"{word}, Exit_status {text}" + (f", {comment}" if comment else "")
    used, limit = values.get("resources_used.walltime", ""), values.get("Resource_List.walltime", "")
    if code in _ENDS:
        return Seen(_ENDS[code], words)
    if code > 255 and limit and _seconds(used) >= _seconds(limit):
        return Seen(State.TIMED_OUT, words)
    if code > 255 or comment.endswith("terminated"):
        return Seen(State.CANCELLED, words)
    return Seen(State.ENDED, words)


def _seconds(text: str) -> int:
    return sum(int(part) * 60**power for power, part in enumerate(reversed(text.split(":"))) if part.isdigit())


def _select(wants: Wants) -> list[tuple[str, str]]:
    """What PBS Professional is asked for: chunks."""
    chunks = wants.nodes or (1 if wants.threads > 1 or wants.mem_mb or wants.gpus or wants.tasks else 0)
    if not chunks:
        return []
    tasks = -(-(wants.tasks or chunks) // chunks)
    parts = [f"{chunks}:ncpus={wants.threads * tasks}"]
    parts += [f"mem={wants.mem_mb}mb"] if wants.mem_mb else []
    parts += [f"ngpus={wants.gpus}"] if wants.gpus else []
    parts += [f"mpiprocs={tasks}"] if wants.tasks else []
    return [("-l", "select=" + ":".join(parts))]


def _nodes(wants: Wants) -> list[tuple[str, str]]:
    """What Torque is asked for: nodes and processors."""
    found = []
    nodes = wants.nodes or 1
    processors = wants.threads * -(-(wants.tasks or nodes) // nodes)
    if nodes > 1 or processors > 1 or wants.gpus:
        gpus = f":gpus={wants.gpus}" if wants.gpus else ""
        found.append(("-l", f"nodes={nodes}:ppn={processors}{gpus}"))
    return [*found, ("-l", f"mem={wants.mem_mb}mb")] if wants.mem_mb else found


class PbsConnector(QueueConnector):
    """Jobs of a PBS server."""

    queue = PbsQueue()

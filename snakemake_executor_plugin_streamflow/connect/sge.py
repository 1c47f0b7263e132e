"""Grid Engine (Sun, Univa, Son of, Altair): qsub, qstat, qacct, qdel."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from .queue import Queue, Seen, State, Submission, Value, added, clock, command, service_options
from .queue_connector import QueueConnector

_ROW = re.compile(r"^\s*(\d+)\s+\S+\s+\S+\s+\S+\s+([a-zA-Z]+)\s+\d", re.MULTILINE)
_RULED_OFF = re.compile(r"^=+$", re.MULTILINE)
_LIMIT_FAILED, _NO_STATUS, _SIGNALLED = 37, 19, 100
"""https://gridscheduler.sourceforge.net/htmlman/htmlman1/sge_diagnostics.html (manual page sge_status)"""


class SgeQueue(Queue):
    """The commands of Grid Engine."""

    name = "sge"
    own_id = "$JOB_ID"
    own_session = True
    hosts = "cut -d ' ' -f 1 \"$PE_HOSTFILE\""

    def submit(self, job: Submission) -> str:
        wants, service = job.wants, job.service
        options = service_options(service)
        slots = (wants.tasks or wants.nodes or 1) * wants.threads
        limits = {
            "h_rt": clock(wants.runtime_min) if wants.runtime_min else None,
            # Grid Engine counts consumables per slot.
            getattr(service, "memory_resource", "h_vmem"): f"{-(-wants.mem_mb // slots)}M" if wants.mem_mb else None,
            "gpu": wants.gpus,
        }
        asked: dict[str, Value] = {
            "-q": wants.partition,
            "-P": wants.account,
            "-pe": f"{getattr(service, 'parallel_environment', 'smp')} {slots}" if slots > 1 else None,
        }
        options |= {flag: value for flag, value in asked.items() if value}
        fixed = {
            "-terse": "",
            "-N": f"sf-{job.name}",
            "-o": job.output,
            "-j": "y",
            "-r": "n",
            "-S": "/bin/sh",
            "-V": "",
        }
        wish = ",".join(f"{name}={value}" for name, value in limits.items() if value)
        text = command("qsub", [*fixed.items(), *options.items(), ("-l", wish or None)])
        text = re.sub(r"-pe '(\S+) (\d+)'", r"-pe \1 \2", text)
        return f"{text} -wd {shlex.quote(job.workdir)}{added(job)} {shlex.quote(job.file)}"

    def submitted(self, said: str) -> str:
        if not (found := re.findall(r"^(\d+)(?:\.\S+)?$", said, re.MULTILINE)):
            raise ValueError(said)
        return str(found[-1])

    def status(self, ids: Sequence[str]) -> str:
        return 'qstat -u "$(id -un)"'

    def states(self, said: str) -> dict[str, Seen]:
        return {job: Seen(_state(word), word) for job, word in _ROW.findall(said)}

    def history(self, ids: Sequence[str]) -> str | None:
        return "; ".join(f"qacct -j {one}" for one in ids)

    def past(self, said: str) -> dict[str, Seen]:
        found = {}
        for block in _RULED_OFF.split(said)[1:]:
            values = dict(line.split(None, 1) for line in block.splitlines() if len(line.split(None, 1)) == 2)
            if "jobnumber" in values:
                found[values["jobnumber"].strip()] = _past(values)
        return found

    def cancel(self, ids: Sequence[str]) -> str:
        return f"qdel {','.join(ids)}"

    def knows_none(self, said: str) -> bool:
        return "does not exist" in said or "do not exist" in said


def _state(word: str) -> State:
    """https://gridscheduler.sourceforge.net/htmlman/htmlman1/qstat.html"""
    if "E" in word:
        return State.REFUSED
    if "q" in word or word in ("w", "hw"):
        return State.PENDING
    return State.RUNNING if set(word) & set("rtsSTRd") else State.UNKNOWN


def _past(values: dict[str, str]) -> Seen:
    failed = int(values.get("failed", "0").split()[0])
    code = int(values.get("exit_status", "0").split()[0])
    words = f"failed {values.get('failed', '').strip()}, exit_status {code}"
    if failed == _LIMIT_FAILED or _over(values, "ru_wallclock", "h_rt"):
        return Seen(State.TIMED_OUT, words)
    if failed and _over(values, "maxvmem", "h_vmem"):
        return Seen(State.OUT_OF_MEMORY, words)
    if failed == _NO_STATUS:
        return Seen(State.NODE_FAILED, words)
    return Seen(State.CANCELLED if failed == _SIGNALLED and code > 128 else State.ENDED, words)


def _over(values: dict[str, str], used: str, limit: str) -> bool:
    """Whether what was used reaches the limit that the job asked for."""
    asked = re.search(rf"{limit}=([\d:.]+[kKmMgG]?)", values.get("category", ""))
    return asked is not None and 0 < _number(asked[1]) <= _number(values.get(used, "0").strip()) + 0.5


def _number(text: str) -> float:
    """Seconds of `0:01:00` or `60s`, bytes of `100M` or `1.5GB`."""
    if ":" in text:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
        return hours * 3600 + minutes * 60 + seconds
    found = re.match(r"([\d.]+)\s*([kKmMgG]?)", text)
    return float(found[1]) * 1024 ** " kmg".index(found[2].lower() or " ") if found else 0.0


class SgeConnector(QueueConnector):
    """Jobs of a Grid Engine cell."""

    queue = SgeQueue()

"""IBM Spectrum LSF: bsub, bjobs, bkill."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from .queue import Queue, Seen, State, Submission, Value, added, command, service_options
from .queue_connector import QueueConnector

_WORDS = {
    **dict.fromkeys(("PEND", "PROV", "PSUSP", "WAIT"), State.PENDING),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP"), State.RUNNING),
    **dict.fromkeys(("DONE", "EXIT"), State.ENDED),
    "ZOMBI": State.NODE_FAILED,
}
_REASONS = {
    **dict.fromkeys(("RUNLIMIT", "DEADLINE", "CPULIMIT", "WINDOW"), State.TIMED_OUT),
    **dict.fromkeys(("MEMLIMIT", "SWAP"), State.OUT_OF_MEMORY),
    **dict.fromkeys(("OWNER", "ADMIN", "FORCE_OWNER", "FORCE_ADMIN", "BUCKET_KILL"), State.CANCELLED),
    **dict.fromkeys(("PREEMPT", "LOAD", "REQUEUE_OWNER", "REQUEUE_ADMIN"), State.PREEMPTED),
    **dict.fromkeys(("ZOMBIE", "RC", "REQUEUE_RC", "REMOVE_HUNG_JOB", "CWD_NOTEXIST"), State.NODE_FAILED),
}
"""TERM_... -> state: https://www.ibm.com/docs/SSWRJV_10.1.0/lsf_admin/termination_reasons_lsf.html"""


class LsfQueue(Queue):
    """The commands of LSF."""

    name = "lsf"
    own_id = "$LSB_JOBID"
    hosts = "printf '%s\\n' $LSB_HOSTS | sort -u"

    def submit(self, job: Submission) -> str:
        wants = job.wants
        options = service_options(job.service)
        slots = wants.threads * (wants.tasks or wants.nodes or 1)
        span = f"span[ptile={slots // wants.nodes}]" if wants.nodes and wants.nodes > 1 else "span[hosts=1]"
        model = f":gmodel={wants.gpu_model}" if wants.gpu_model else ""
        asked: dict[str, Value] = {
            "-q": wants.partition,
            "-P": wants.account,
            "-W": wants.runtime_min,
            "-n": slots if slots > 1 else None,
            "-gpu": f"num={wants.gpus}{model}" if wants.gpus else None,
            "-M": f"{wants.mem_mb}MB" if wants.mem_mb else None,
        }
        options |= {flag: value for flag, value in asked.items() if value}
        needs = [("-R", span)] if slots > 1 else []
        needs += [("-R", f"rusage[mem={wants.mem_mb}MB]")] if wants.mem_mb else []
        needs += [("-R", f"select[{wants.constraint}]")] if wants.constraint else []
        fixed = {"-J": f"sf-{job.name}", "-o": job.output, "-cwd": job.workdir, "-rn": ""}
        return f"{command('bsub', [*fixed.items(), *options.items(), *needs])}{added(job)} <{shlex.quote(job.file)}"

    def submitted(self, said: str) -> str:
        if not (found := re.findall(r"^Job <(\d+)> is submitted", said, re.MULTILINE)):
            raise ValueError(said)
        return str(found[-1])

    def status(self, ids: Sequence[str]) -> str:
        return f"""bjobs -a -noheader -o "jobid stat exit_code exit_reason delimiter='|'" {" ".join(ids)}"""

    def states(self, said: str) -> dict[str, Seen]:
        found = {}
        for job, word, code, reason in re.findall(r"^ *(\d+)\|(\w+)\|([^|\n]*)\|([^\n]*)$", said, re.MULTILINE):
            term = re.search(r"TERM_(\w+)", reason)
            state = _WORDS.get(word, State.UNKNOWN)
            if term and state.final:
                state = _REASONS.get(term[1], state)
            shown = [part for part in (word, f"exit code {code}" if code.isdigit() else "", reason) if part.strip("- ")]
            found[job] = Seen(state, ", ".join(shown))
        return found

    def cancel(self, ids: Sequence[str]) -> str:
        return f"bkill {' '.join(ids)}"

    def knows_none(self, said: str) -> bool:
        return bool(re.search(r"is not found|No matching job found|Job has already finished", said))


class LsfConnector(QueueConnector):
    """Jobs of an LSF cluster."""

    queue = LsfQueue()

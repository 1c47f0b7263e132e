"""The shell text that speaks to queues: submit a round of jobs, see who has ended, find what earlier runs left.

Beside what `job.py` describes, the job directory of a queue's job holds `start`, what the queue runs; `batch`, what is
submitted; `queue`, the name of the deployment and what the submit command printed; `queue-output`, what the queue said
while the job ran; `owner`, a link whose target is the id of the queue's job that runs it; and `requeued`, when the
queue started that one again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..connect.queue import Profile, Submission, Wants
from .job import FINISH, JobSpec, look_text, render
from .quote import exports, quote, words
from .session import FUNCTIONS

_COMMAND = re.compile(r"\{\{-?\s*streamflow_(command|workdir|environment)\s*-?\}\}")

_START = """d={directory}; q={own_id}
if ln -s "$q" "$d/owner" 2>/dev/null; then
  STREAMFLOW_JOB={id}; export STREAMFLOW_JOB
  [ ! -f "$d/env" ] || {{ . "$d/env"; rm -f "$d/env"; }}
  {hosts}
  trap : TERM INT HUP USR1 USR2
  {guard}{setsid}sh "$d/script" </dev/null >"$d/stdout" 2>"$d/stderr"; c=$?
  {late}{finish}sf_finish "$d" "$c" {look}
elif [ "$(readlink "$d/owner" 2>/dev/null)" = "$q" ]; then : >"$d/requeued"
fi
[ ! -d "$d" ] || : >{mailbox}/{id}
exit "${{c:-0}}"
"""

_LIMIT = """{functions}
  j=${{d%/*}}; sf_limit {id} {limit_s} >/dev/null 2>&1 & g=$!
  """
_LATE = """p=; read -r p 2>/dev/null <"$d/pid"; n=0
  while [ -n "$p" ] && [ $n -lt 20 ] && kill -0 "-$p" 2>/dev/null; do sleep 0.1; n=$((n+1)); done
  """
_OVER = """if [ -e "$d/over" ]; then wait "$g"; else kill "$g"; fi
  """
# The limit of a rule holds where the job's processes are a session of their own; elsewhere it is the queue's affair.

_SUBMIT = """
trap '' HUP PIPE; {prelude}
j={jobs}; mkdir -p {mailbox} 2>/dev/null
sf_put() { d=$j/$1
  if e=$(mkdir -m 700 "$d" 2>&1); then
    (umask 077; printf '%s' "$2" >"$d/script" && printf '%s' "$3" >"$d/start" && printf '%s' "$4" >"$d/batch" \\
      && { [ -z "$5" ] || printf '%s' "$5" >"$d/env"; }) || { rm -rf "$d"
      printf '=F %s\\ncannot write %s (disk full?)\\n=\\n' "$1" "$d"; return; }
  elif [ ! -d "$d" ]; then printf '=F %s\\n%s\\n=\\n' "$1" "$e"; return; fi
  n=0; until mkdir "$d/submitting" 2>/dev/null || [ -s "$d/queue" ] || [ $n -ge 300 ]; do sleep 0.1; n=$((n+1)); done
  if [ ! -s "$d/queue" ]; then
    e=$(eval "$6" 2>&1 </dev/null); c=$?
    [ $c = 0 ] || { rm -rf "$d"; printf '=X %s\\n%s\\n=\\n' "$1" "$e"; return; }
    printf '%s\\n%s\\n' {deployment} "$e" >"$d/queue.new" && mv "$d/queue.new" "$d/queue"
  fi
  printf '=Q %s\\n' "$1"; cat "$d/queue"; echo =; }
"""
# A round that is sent again, because its answer was lost, waits for the queue's answer to the first one.

_LOOK = """
sf_end() { if [ -e "../$1/requeued" ]; then printf '=R %s\\n=\\n' "$1"
  elif read -r e 2>/dev/null <"../$1/exit"; then printf '=E %s\\n' "$1"; cat "../$1/exit"; sf_said "$1" "$e"
  else printf '=N %s\\n%s\\n' "$1" "$(readlink "../$1/owner")"; sf_said "$1"; fi; }
sf_said() { case $2 in "0 "*) ;; *) tail -n 5 "../$1/queue-output" 2>/dev/null;; esac; echo =; }
cd {mailbox} || exit 3
set -- *; [ ! -e "$1" ] || { for i; do sf_end "$i"; done; rm -f -- "$@"; }
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer about a job.

    `kind` is one letter: Q submitted, X refused by the queue, F could not be written; E ended, R was started again by
    the queue, N has no exit file; O of an earlier run.
    """

    kind: str
    job: str
    lines: tuple[str, ...]


def answers(text: str) -> Iterator[Answer]:
    """Read answers: `=KIND JOB`, lines, `=`. What is between them, or incomplete, is left out."""
    lines: list[str] = []
    for line in text.split("\n"):
        if line == "=":
            if lines:
                kind, _, job = lines[0].partition(" ")
                yield Answer(kind, job, tuple(lines[1:]))
            lines = []
        elif re.match("=[A-Z] ", line):
            lines = [line[1:]]
        elif lines:
            lines.append(line)


def submission(spec: JobSpec, profile: Profile, directory: str) -> Submission:
    """Return what the queue is asked for a job."""
    wants = Wants.of(spec.resources, profile.queue.name)
    output = f"{directory}/queue-output"
    return Submission(spec.id, f"{directory}/batch", output, str(spec.workdir), wants, profile.service)


def submit_round(calls: Iterable[str], profile: Profile, jobs: str, mailbox: str) -> str:
    """Return shell text that writes and submits jobs; one answer for each. Sent again, it submits nothing twice."""
    start = (
        _SUBMIT.replace("{jobs}", quote(jobs))
        .replace("{mailbox}", quote(mailbox))
        .replace("{deployment}", quote(profile.deployment))
        .replace("{prelude}", profile.queue.prelude)
    )
    return "\n".join([start, *calls])


def submit_call(spec: JobSpec, profile: Profile, jobs: str, mailbox: str) -> str:
    """Return the part of such a text that is about one job.

    Raises:
        ValueError: what the rule asks for, or its command, is nothing that can be submitted.
    """
    queue, directory = profile.queue, f"{jobs}/{spec.id}"
    job = submission(spec, profile, directory)
    limited = queue.own_session and spec.limit_s is not None
    start = _START.format(
        directory=quote(directory),
        own_id=queue.own_id,
        id=quote(spec.id),
        guard=_LIMIT.format(functions=FUNCTIONS, id=quote(spec.id), limit_s=spec.limit_s) if limited else "",
        setsid="setsid " if queue.own_session else "",
        late=(_OVER if limited else "") + (_LATE if queue.own_session else ""),
        mailbox=quote(mailbox),
        finish=FINISH,
        look=quote(look_text(spec)),
        hosts=_hosts(queue.hosts, directory, job.wants) if job.wants.nodes and job.wants.nodes > 1 else ":",
    )
    parts = (render(spec), start, batch(profile, directory, spec), exports(spec.env), queue.submit(job))
    return f"sf_put {quote(spec.id)} {words(parts)}"


def batch(profile: Profile, directory: str, spec: JobSpec) -> str:
    """Return the text of the batch script: the service's template, or a plain one."""
    values = {
        "command": f"sh {quote(f'{directory}/start')}",
        "workdir": str(spec.workdir),
        "environment": "",
    }
    template = profile.template or "#!/bin/sh\n{{streamflow_command}}\n"
    return _COMMAND.sub(lambda found: values[found[1]], template)


def look(mailbox: str, doubtful: Sequence[str] = (), forgotten: Sequence[str] = ()) -> str:
    """Return shell text that answers for jobs that have ended, and in any case for the doubtful ones.

    It also removes the job directories of those that are to be forgotten.
    """
    # Making a file in a directory brings a network filesystem's view of it up to date.
    asked = "".join(f': >"../{job}/looked"; sf_end {quote(job)}\n' for job in doubtful)
    gone = f"rm -rf -- {words(f'../{job}' for job in forgotten)}\n" if forgotten else ""
    return _LOOK.replace("{mailbox}", quote(mailbox)) + asked + gone + "true\n"


def sweep(jobs: str, runs: Iterable[str], deployment: str) -> str:
    """Return shell text that answers for jobs that all but some runs left in the queue."""
    return f"""cd {quote(jobs)} 2>/dev/null || exit 0
for i in *; do
  case $i in {"|".join(f"{quote(run)}-*" for run in runs)}) continue;; esac
  if [ -s "$i/queue" ] && [ ! -s "$i/exit" ] && read -r n <"$i/queue" \\
    && [ "$n" = {quote(deployment)} ]; then
    printf '=O %s\\n' "$i"; cat "$i/queue"; echo =; fi
done; true
"""


def _hosts(text: str, directory: str, wants: Wants) -> str:
    """Return shell text that tells a job its nodes, in the same words as `remote/launch.py`."""
    nodes = wants.nodes or 1
    slots = wants.tasks_per_node or (wants.tasks or 0) // nodes or wants.threads
    hostfile, machinefile = quote(f"{directory}/hostfile"), quote(f"{directory}/machinefile")
    return (
        f"{text} >{machinefile}.0; STREAMFLOW_HOSTS=$(paste -s -d , {machinefile}.0); export STREAMFLOW_HOSTS; "
        f"sed 's/$/ slots={slots}/' {machinefile}.0 >{hostfile}; sed 's/$/:{slots}/' {machinefile}.0 >{machinefile}; "
        f"STREAMFLOW_HOSTFILE={hostfile}; STREAMFLOW_MACHINEFILE={machinefile}; STREAMFLOW_LOCATIONS={nodes}; "
        f"STREAMFLOW_SLOTS={slots}; STREAMFLOW_RANKS={slots * nodes}; export STREAMFLOW_HOSTFILE "
        "STREAMFLOW_MACHINEFILE STREAMFLOW_LOCATIONS STREAMFLOW_SLOTS STREAMFLOW_RANKS"
    )

"""Slurm: sbatch, squeue, sacct, scancel."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from ..model.queue_options import Pack
from .queue import Seen, State, Submission, Value, Wants, added, command, service_options
from .queue_connector import QueueConnector
from .queue_pack import Node, PackingQueue

_ID = re.compile(r"^(\d+)(?:;(\S+))?$", re.MULTILINE)
_ROW = re.compile(r"^(\d+)\|(\w+)[^|]*\|([^|]*)", re.MULTILINE)

_STATES = {
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"), State.PENDING
    ),
    **dict.fromkeys(("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"), State.RUNNING),
    **dict.fromkeys(("RESIZING", "RESV_DEL_HOLD"), State.RUNNING),
    **dict.fromkeys(("COMPLETED", "FAILED"), State.ENDED),
    **dict.fromkeys(("TIMEOUT", "DEADLINE"), State.TIMED_OUT),
    **dict.fromkeys(("NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL"), State.NODE_FAILED),
    **dict.fromkeys(("CANCELLED", "REVOKED"), State.CANCELLED),
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    "PREEMPTED": State.PREEMPTED,
}
"""https://slurm.schedmd.com/job_state_codes.html"""


class SlurmQueue(PackingQueue):
    """The commands of Slurm; ids are `JOB`, or `JOB;CLUSTER` when the service names clusters."""

    name = "slurm"
    own_id = "$SLURM_JOB_ID"
    own_session = True
    at_once = 1000
    hosts = 'scontrol show hostnames "$SLURM_JOB_NODELIST"'
    everywhere = (
        "srun --overlap --nodes=$SLURM_JOB_NUM_NODES --ntasks-per-node=1 --cpus-per-task=$SLURM_CPUS_ON_NODE"
        " --mem=0 --cpu-bind=none --quiet"
    )
    node = "$SLURMD_NODENAME"
    noise = re.compile(rb"^srun: error: \S+: task \d+: [^\n]*\n", re.MULTILINE)
    prelude = (
        # What a surrounding job has set would be taken for the wishes of the new one.
        "for v in $(env | sed -n 's/^\\(SLURM_[A-Z0-9_]*\\)=.*/\\1/p'); do [ $v = SLURM_CONF ] || unset $v; done"
    )

    def submit(self, job: Submission) -> str:
        wants, service = job.wants, job.service
        options = service_options(service)
        asked: dict[str, Value] = {
            "--clusters": wants.clusters,
            "--partition": wants.partition,
            "--account": wants.account,
            "--qos": wants.qos,
            "--constraint": wants.constraint,
            "--reservation": wants.reservation,
            "--gres": wants.gres,
            "--cpus-per-task": wants.threads if wants.threads > 1 and not wants.cpus_per_gpu else None,
            "--cpus-per-gpu": wants.cpus_per_gpu,
            "--mem": f"{wants.mem_mb}M" if wants.mem_mb and not wants.mem_mb_per_cpu else None,
            "--mem-per-cpu": f"{wants.mem_mb_per_cpu}M" if wants.mem_mb_per_cpu else None,
            "--tmp": f"{wants.disk_mb}M" if wants.disk_mb else None,
            "--time": wants.runtime_min,
            "--nodes": wants.nodes,
            "--ntasks": wants.tasks,
            "--ntasks-per-node": wants.tasks_per_node,
            "--ntasks-per-gpu": wants.tasks_per_gpu,
            "--gpus": f"{wants.gpu_model}:{wants.gpus or 1}" if wants.gpu_model else wants.gpus,
        }
        for group in (
            ("--mem", "--mem-per-cpu", "--mem-per-gpu"),
            ("--cpus-per-task", "--cpus-per-gpu"),
            ("--gpus", "--gres"),
        ):
            if any(asked.get(flag) for flag in group):  # sbatch refuses two of these at once
                options = {flag: value for flag, value in options.items() if flag not in group}
        options |= {flag: value for flag, value in asked.items() if value}
        fixed = {
            "--parsable": "",
            "--no-requeue": "",
            "--job-name": getattr(service, "job_name", None) or job.name,
            "--output": job.output,
        }
        return f"{command('sbatch', [*fixed.items(), *options.items()])}{added(job)} {shlex.quote(job.file)}"

    def submitted(self, said: str) -> str:
        if not (found := _ID.findall(said)):
            raise ValueError(said)
        job, cluster = found[-1]
        return f"{job};{cluster}" if cluster else job

    def status(self, ids: Sequence[str]) -> str:
        return _by_cluster("squeue{cluster} --noheader --states=all --format='%A|%T|%r' --jobs={ids}", ids, told=True)

    def states(self, said: str) -> dict[str, Seen]:
        found, cluster = {}, ""
        for line in said.splitlines():
            if line.startswith("CLUSTER: "):
                name = line.removeprefix("CLUSTER: ").strip()
                cluster = f";{name}" if name else ""
            elif row := _ROW.match(line):
                job, word, reason = row.groups()
                words = word if reason in ("None", "", word, "NonZeroExitCode") else f"{word}, {reason}"
                found[job + cluster] = Seen(_STATES.get(word, State.UNKNOWN), words)
        return found

    def history(self, ids: Sequence[str]) -> str | None:
        text = "sacct{cluster} --noheader --parsable2 --allocations --format=JobIDRaw,State,Reason --jobs={ids}"
        return _by_cluster(text, ids, told=True)

    def cancel(self, ids: Sequence[str]) -> str:
        return _by_cluster("scancel{cluster} {ids}", ids, " ")

    def held(self, id: str) -> str:
        row = _by_cluster("squeue{cluster} --noheader --states=RUNNING --format='%C|%m|%N' --jobs={ids}", [id])
        return f'r=$({row}) || exit; [ -z "$r" ] || {{ echo "$r"; scontrol show hostnames "${{r##*|}}"; }}'

    def nodes(self, said: str) -> list[Node]:
        first, *names = said.split() or [""]
        if not (row := re.fullmatch(r"(\d+)\|(\d+)([KMGT]?)(c?)\|\S+", first)):
            return []
        cores = int(row[1]) // len(names)
        memory_b = int(row[2]) * 1024 ** ("KMGT".find(row[3] or "M") + 1) * (cores if row[4] else 1)
        return [Node(name, cores, memory_b or None) for name in names]

    def step(self, id: str, node: Node) -> list[str]:
        job, _, cluster = id.partition(";")
        words = ["srun", f"--jobid={job}", f"--nodelist={node.name}", "--overlap", "--nodes=1", "--ntasks=1"]
        words += ["--mem=0", "--cpu-bind=none", "--quiet", *([f"--clusters={cluster}"] if cluster else [])]
        return words

    def whole(self, pack: Pack) -> Wants:
        size = "--exclusive" if pack.cores is None else ""
        memory = "" if pack.memory else "--mem=0" if pack.cores is None else ""
        return Wants(
            threads=pack.cores or 1,
            mem_mb=pack.memory // 10**6 if pack.memory else None,
            runtime_min=pack.walltime,
            nodes=pack.nodes,
            tasks_per_node=1,
            extra=f"{size} {memory}".strip(),
        )

    def knows_none(self, said: str) -> bool:
        return "Invalid job id" in said or "already completing or completed" in said

    def may_pass(self, said: str) -> bool:
        return super().may_pass(said) or bool(
            re.search(r"QOSMaxSubmit|AssocMaxSubmit|MaxSubmitJobs|queue is full", said)
        )


def _by_cluster(text: str, ids: Sequence[str], between: str = ",", *, told: bool = False) -> str:
    """Return one command for each cluster; most sites have one, which is not named.

    Args:
        told: print a line with the name of each before what its command prints, as soon as one is named.
    """
    groups: dict[str, list[str]] = {}
    for one in ids:
        job, _, cluster = one.partition(";")
        groups.setdefault(cluster, []).append(job)
    commands = []
    for cluster, jobs in groups.items():
        named = f" --clusters={cluster}" if cluster else ""
        heading = f"echo {shlex.quote(f'CLUSTER: {cluster}')} && " if told and any(groups) else ""
        commands.append(heading + text.format(cluster=named, ids=between.join(jobs)))
    if len(commands) == 1:
        return commands[0]
    return "r=0; " + "".join(f"{{ {one}; }} || r=$?; " for one in commands) + "(exit $r)"


class SlurmConnector(QueueConnector):
    """Jobs of a Slurm cluster."""

    queue = SlurmQueue()

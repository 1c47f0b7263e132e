# ruff: noqa: RUF009 - option() returns a dataclasses.field
"""The `config:` of queues. Names are StreamFlow's where it has them; `flag` in the metadata is the submit command's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .machine import Machine, option


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One allocation that is held; jobs start in it without waiting in the queue."""

    nodes: int = option("nodes of the allocation", 1, minimum=1)
    cores: int | None = option("cores of each node (default: what the queue gives)", minimum=1)
    memory: int | None = option("memory of each node", size=True, minimum=1)
    walltime: int = option("minutes that the allocation is asked for", 60, minimum=1)
    shared: bool = option("false: the nodes do not see the files of the login host, nor each other's", True)
    idle: int = option("seconds without a job after which it is given back", 120, minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueService:
    """One way to submit jobs: a partition or queue, and what else they ask for."""

    file: str | None = option(
        "template of a batch script, with {{streamflow_command}}", path=True, read=True, flag=None
    )
    extra: str | None = option("text that is added to the submit command as it is", flag=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmService(QueueService):
    """Options of sbatch."""

    pack: Pack | None = option("hold one allocation for many jobs", flag=None)
    account: str | None = option("account to charge")
    acctg_freq: str | None = option("sampling intervals of the accounting")
    batch: str | None = option("features of the node of the batch script")
    bb: str | None = option("burst buffer")
    bbf: str | None = option("file with a burst buffer specification")
    begin: str | None = option("when the job may start")
    cluster_constraint: str | None = option("features of a federated cluster")
    clusters: str | None = option("clusters to submit to")
    constraint: str | None = option("features of the nodes")
    container: str | None = option("OCI bundle")
    container_id: str | None = option("name of the OCI container")
    contiguous: bool = option("nodes side by side", False)
    core_spec: int | None = option("cores of each node that are kept for the system")
    cores_per_socket: int | None = option("least cores of a socket")
    cpu_freq: str | None = option("CPU frequency")
    cpus_per_gpu: int | None = option("CPUs for each GPU")
    cpus_per_task: int | None = option("CPUs of each task (a rule's threads, when above 1, are stronger)")
    deadline: str | None = option("remove the job when it cannot end before")
    delay_boot: int | None = option("minutes before nodes are booted for a feature")
    distribution: str | None = option("how tasks are spread")
    exclude: str | None = option("nodes not to use")
    exclusive: str | None = option("no other jobs on the nodes: true, user or mcs")
    export: str | None = option("variables that are passed on")
    export_file: str | None = option("file with variables")
    extra_node_info: str | None = option("sockets, cores and threads of the nodes")
    get_user_env: str | None = option("the user's login environment")
    gid: str | None = option("group to run as")
    gpu_bind: str | None = option("binding of tasks to GPUs")
    gpu_freq: str | None = option("GPU frequency")
    gpus: str | None = option("GPUs of the job")
    gpus_per_node: str | None = option("GPUs of each node")
    gpus_per_socket: str | None = option("GPUs of each socket")
    gpus_per_task: str | None = option("GPUs of each task")
    gres: str | None = option("generic resources of each node")
    gres_flags: str | None = option("how generic resources are used")
    hint: str | None = option("kind of application")
    ignore_pbs: bool = option("ignore #PBS and #BSUB lines", False, alias="ignorePBS")
    job_name: str | None = option("name of the jobs (default: that of the rule)", flag=None)
    licenses: str | None = option("licences")
    mail_type: str | None = option("events to send mail for")
    mail_user: str | None = option("who gets mail")
    mcs_label: str | None = option("MCS label")
    mem: str | None = option("memory of each node (a rule's mem_mb is stronger)")
    mem_bind: str | None = option("memory binding")
    mem_per_cpu: str | None = option("memory of each CPU")
    mem_per_gpu: str | None = option("memory of each GPU")
    mincpus: int | None = option("least CPUs of a node")
    network: str | None = option("network")
    nice: int | None = option("lower priority")
    no_kill: bool = option("go on when a node fails", False)
    no_requeue: bool = option("accepted for StreamFlow files; always so", False, flag=None)
    nodefile: str | None = option("file with nodes to use")
    nodelist: str | None = option("nodes to use")
    nodes: str | None = option("number of nodes")
    ntasks: int | None = option("tasks")
    ntasks_per_core: int | None = option("tasks on each core")
    ntasks_per_gpu: int | None = option("tasks on each GPU")
    ntasks_per_node: int | None = option("tasks on each node")
    ntasks_per_socket: int | None = option("tasks on each socket")
    open_mode: str | None = option("append or truncate")
    overcommit: bool = option("several tasks on a CPU", False)
    oversubscribe: bool = option("share nodes with other jobs", False)
    partition: str | None = option("partition")
    power: str | None = option("power management")
    prefer: str | None = option("features that nodes should have")
    priority: str | None = option("priority")
    profile: str | None = option("what to profile")
    propagate: str | None = option("limits that are passed on")
    qos: str | None = option("quality of service")
    reboot: bool = option("reboot the nodes first", False)
    requeue: bool = option("accepted for StreamFlow files; never so: the plugin tries again itself", False, flag=None)
    reservation: str | None = option("reservation")
    signal: str | None = option("signal before the end")
    sockets_per_node: int | None = option("least sockets of a node")
    spread_job: bool = option("spread over many nodes", False)
    switches: str | None = option("most leaf switches")
    thread_spec: int | None = option("threads of each node that are kept for the system")
    threads_per_core: int | None = option("threads of each core")
    time: str | None = option("time limit, as sbatch's --time (a rule's runtime is stronger)")
    time_min: str | None = option("least time limit")
    tmp: int | None = option("least disk for temporary files, in MB")
    tres_per_task: str | None = option("trackable resources of each task")
    uid: str | None = option("user to run as")
    use_min_nodes: bool = option("prefer fewer nodes", False)
    wait_all_nodes: bool = option("start when all nodes are ready", False)
    wckey: str | None = option("workload characterization key")


@dataclass(frozen=True, slots=True, kw_only=True)
class SgeService(QueueService):
    """Options of Grid Engine's qsub."""

    queue: str | None = option("queue", flag="-q")
    project: str | None = option("project", flag="-P")
    account: str | None = option("account string", flag="-A")
    priority: int | None = option("priority", flag="-p", minimum=-1023)
    resources: str | None = option("resources, for instance h_vmem=4G,arch=lx-amd64", flag="-l")
    parallel_environment: str = option("parallel environment for rules with several threads or tasks", "smp", flag=None)
    memory_resource: str = option("resource that mem_mb sets, per slot", "h_vmem", flag=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PbsService(QueueService):
    """Options of PBS's qsub."""

    account: str | None = option("account string", flag="-A")
    additional_attributes: Mapping[str, str] = option("more attributes, as qsub's -W", {}, flag=None)
    begin: str | None = option("when the job may start", flag="-a")
    checkpoint: str | None = option("checkpoint interval", flag="-c")
    destination: str | None = option("queue, server or queue@server", flag="-q")
    export_all_variables: bool = option("pass the whole environment on", False, flag="-V")
    job_name: str | None = option("name of the jobs", flag=None)
    mail_options: str | None = option("events to send mail for", flag="-m")
    prefix: str | None = option("what starts lines for the queue in a template", flag="-C")
    priority: int | None = option("priority", flag="-p", minimum=-1024)
    rerunnable: bool = option("accepted for StreamFlow files; the plugin tries again itself", False, flag=None)
    resources: Mapping[str, str] = option("resources, each as one -l NAME=VALUE", {}, flag=None)
    shell_list: str | None = option("shell of the batch script", flag="-S")
    user_list: str | None = option("user to run as", flag="-u")
    variable_list: str | None = option("variables that are passed on", flag="-v")


@dataclass(frozen=True, slots=True, kw_only=True)
class LsfService(QueueService):
    """Options of bsub."""

    queue: str | None = option("queue", flag="-q")
    project: str | None = option("project", flag="-P")
    application: str | None = option("application profile", flag="-app")
    service_class: str | None = option("service class", flag="-sla")
    user_group: str | None = option("user group", flag="-G")
    hosts: str | None = option("hosts to use", flag="-m")
    resources: str | None = option("resource requirement", flag="-R")
    gpu: str | None = option("GPU requirement", flag="-gpu")
    time: str | None = option("run limit, as bsub's -W (a rule's runtime is stronger)", flag="-W")


@dataclass(frozen=True, slots=True, kw_only=True)
class HtcondorService(QueueService):
    """Commands of the submit description."""

    submit: Mapping[str, str] = option(
        "commands of the submit description, for instance {requirements: ...}", {}, flag=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxService(QueueService):
    """Options of flux submit and flux batch."""

    begin_time: str | None = option("when the job may start")
    broker_opts: tuple[str, ...] = option("options of the brokers, with a template", (), one=True, single="text")
    cores: int | None = option("cores of the job")
    cores_per_slot: int | None = option("cores of each slot")
    cores_per_task: int | None = option("cores of each task")
    env: tuple[str, ...] = option("a rule for variables that are passed on", (), one=True, single="text")
    env_file: tuple[str, ...] = option("file with such rules", (), one=True, single="text")
    env_remove: tuple[str, ...] = option("variables that are not passed on", (), one=True, single="text")
    exclusive: bool = option("no other jobs on the nodes", False)
    flags: str | None = option("submission flags")
    gpus_per_node: int | None = option("GPUs of each node")
    gpus_per_slot: int | None = option("GPUs of each slot")
    gpus_per_task: int | None = option("GPUs of each task")
    job_name: str | None = option("accepted for StreamFlow files; jobs are named after their rule", flag=None)
    label_io: bool = option("lines of output name their task", False, alias="labelIO")
    nodes: int | None = option("nodes")
    nslots: int | None = option("slots, with a template")
    ntasks: int | None = option("tasks")
    queue: str | None = option("queue")
    bank: str | None = option("bank to charge")
    requires: str | None = option("properties of the nodes")
    rlimit: tuple[str, ...] = option("limits that are passed on", (), one=True, single="text")
    setattr: Mapping[str, str] = option("attributes of the job", {})
    setopt: Mapping[str, str] = option("options of the job's shell", {})
    taskmap: str | None = option("how tasks are mapped")
    tasks_per_core: int | None = option("tasks on each core")
    tasks_per_node: int | None = option("tasks on each node")
    unbuffered: bool = option("no buffering of output", False)
    urgency: int | None = option("urgency, 0 to 31")


@dataclass(frozen=True, slots=True, kw_only=True)
class OarService(QueueService):
    """Options of oarsub."""

    queue: str | None = option("queue", flag="-q")
    project: str | None = option("project", flag="--project")
    properties: str | None = option("SQL condition on resources", flag="-p")
    resources: str | None = option("resources, as oarsub's -l", flag="-l")
    type: str | None = option("type of the jobs, for instance besteffort", flag="-t")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions(Machine):
    """What all queues have."""

    max_concurrent_jobs: int = option("jobs in the queue at once", 1000, minimum=1)
    polling_interval: int = option("longest time between two status calls, in seconds", 5, minimum=1)
    file: str | None = option("template of a batch script, for services without one", path=True, read=True)
    transfer_buffer_size: int = option("accepted for StreamFlow files; not used", 65536)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions(QueueOptions):
    """Slurm, through the deployment that it `wraps`, or on this machine."""

    services: Mapping[str, SlurmService] = option("ways to submit, by name", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class SgeOptions(QueueOptions):
    """Grid Engine, through the deployment that it `wraps`, or on this machine."""

    services: Mapping[str, SgeService] = option("ways to submit, by name", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class PbsOptions(QueueOptions):
    """OpenPBS, PBS Professional or Torque, through the deployment that it `wraps`, or on this machine."""

    services: Mapping[str, PbsService] = option("ways to submit, by name", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class LsfOptions(QueueOptions):
    """LSF, through the deployment that it `wraps`, or on this machine."""

    services: Mapping[str, LsfService] = option("ways to submit, by name", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class HtcondorOptions(QueueOptions):
    """HTCondor, through the deployment that it `wraps`, or on this machine."""

    services: Mapping[str, HtcondorService] = option("ways to submit, by name", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxOptions(QueueOptions):
    """Flux, through the deployment that it `wraps`, or on this machine."""

    services: Mapping[str, FluxService] = option("ways to submit, by name", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class OarOptions(QueueOptions):
    """OAR, through the deployment that it `wraps`, or on this machine."""

    services: Mapping[str, OarService] = option("ways to submit, by name", {})


QUEUE_OPTIONS: dict[str, type[Any]] = {
    "flux": FluxOptions,
    "htcondor": HtcondorOptions,
    "lsf": LsfOptions,
    "oar": OarOptions,
    "pbs": PbsOptions,
    "sge": SgeOptions,
    "slurm": SlurmOptions,
}

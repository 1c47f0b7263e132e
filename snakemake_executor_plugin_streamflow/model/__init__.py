"""The words of the design as frozen values. No I/O; imports nothing of ours."""

from .address import KEPT_HERE, SCHEME, Address, is_address, kept_as
from .apptainer_options import ApptainerOptions
from .bounds import Bounds, bounds_of, least
from .companion import Binding, Companion, Keep, NeededFile, Policy, Target
from .compose_options import ComposeOptions
from .deployment import CONTROLLER, Deployment, FilesystemSpec, Limits, Location, Mount, Request, Wraps
from .helm_options import HelmOptions
from .kubernetes_options import ClusterOptions, JobService, KubernetesJobOptions, KubernetesOptions
from .options import OPTIONS, DockerOptions, LocalOptions, SshHop, SshOptions
from .queue_options import QUEUE_OPTIONS, QueueOptions, SgeOptions, SgeService, SlurmOptions, SlurmService

__all__ = [
    "CONTROLLER",
    "KEPT_HERE",
    "OPTIONS",
    "QUEUE_OPTIONS",
    "SCHEME",
    "Address",
    "ApptainerOptions",
    "Binding",
    "Bounds",
    "ClusterOptions",
    "Companion",
    "ComposeOptions",
    "Deployment",
    "DockerOptions",
    "FilesystemSpec",
    "HelmOptions",
    "JobService",
    "Keep",
    "KubernetesJobOptions",
    "KubernetesOptions",
    "Limits",
    "LocalOptions",
    "Location",
    "Mount",
    "NeededFile",
    "Policy",
    "QueueOptions",
    "Request",
    "SgeOptions",
    "SgeService",
    "SlurmOptions",
    "SlurmService",
    "SshHop",
    "SshOptions",
    "Target",
    "Wraps",
    "bounds_of",
    "is_address",
    "kept_as",
    "least",
]

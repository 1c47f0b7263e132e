"""The words of the design as frozen values. No I/O; imports nothing of ours."""

from .companion import Binding, Companion, Policy, Target
from .deployment import CONTROLLER, Deployment, FilesystemSpec, Limits, Location, Mount, Request, Wraps
from .options import OPTIONS, DockerOptions, LocalOptions, SshHop, SshOptions

__all__ = [
    "CONTROLLER",
    "OPTIONS",
    "Binding",
    "Companion",
    "Deployment",
    "DockerOptions",
    "FilesystemSpec",
    "Limits",
    "LocalOptions",
    "Location",
    "Mount",
    "Policy",
    "Request",
    "SshHop",
    "SshOptions",
    "Target",
    "Wraps",
]

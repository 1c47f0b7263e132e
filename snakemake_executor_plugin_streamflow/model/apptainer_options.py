"""The `config:` of Apptainer and SingularityCE. Names are StreamFlow's where it has them; `flag` is the command's."""

from __future__ import annotations

from dataclasses import dataclass

from .machine import Machine, option


@dataclass(frozen=True, slots=True, kw_only=True)
class ApptainerOptions(Machine):
    """Containers of one image, as instances, or one for each process; all are at the same host."""

    image: str | None = option("SIF file or folder at the host, or an address such as docker://debian:12")
    instance_name: str | None = option("existing instance to use; never started or stopped by us")
    instances: bool = option("false: no instance; each process is an `exec` of its own", True)
    replicas: int = option("how many instances", 1, minimum=1)
    pull: str = option(
        "when an image with an address is fetched: 'missing' (default), 'always' or 'never'",
        "missing",
        choices=("missing", "always", "never"),
    )
    bind: tuple[str, ...] = option("SOURCE[:PATH[:OPTIONS]]", (), flag="--bind")
    mount: tuple[str, ...] = option("type=bind,source=S,destination=D", (), flag="--mount")
    nv: bool = option("NVIDIA GPUs", False, flag="--nv")
    nvccli: bool = option("set up NVIDIA GPUs with nvidia-container-cli", False, flag="--nvccli")
    rocm: bool = option("AMD GPUs", False, flag="--rocm")
    overlay: tuple[str, ...] = option("overlay images or folders, PATH[:ro]", (), flag="--overlay")
    writable: bool = option("the image itself is writable (folders only)", False, flag="--writable")
    writable_tmpfs: bool = option("a writable layer in memory", False, flag="--writable-tmpfs")
    fakeroot: bool = option("root in a user namespace", False, flag="--fakeroot")
    userns: bool = option("in a user namespace, without privileges", False, flag="--userns")
    cleanenv: bool = option("variables of the host are not passed on", False, flag="--cleanenv")
    contain: bool = option("empty /tmp and home directory, minimal /dev", False, flag="--contain")
    containall: bool = option("contain, and own PID and IPC namespaces and environment", False, flag="--containall")
    compat: bool = option("as Docker does: containall, a writable layer in memory ...", False, flag="--compat")
    home: str | None = option("home directory, SOURCE[:PATH]", flag="--home")
    no_home: bool = option("the home directory of the host is not mounted", False, flag="--no-home")
    no_mount: tuple[str, ...] = option("mounts of the configuration to leave out", (), flag="--no-mount")
    scratch: tuple[str, ...] = option("empty temporary folders in the container", (), flag="--scratch")
    fusemount: tuple[str, ...] = option("FUSE mounts, TYPE:COMMAND PATH", (), flag="--fusemount")
    hostname: str | None = option("host name of the container", flag="--hostname")
    dns: str | None = option("DNS servers, separated by commas", flag="--dns")
    net: bool = option("own network namespace", False, flag="--net")
    network: str | None = option("types of networks, separated by commas", flag="--network")
    network_args: tuple[str, ...] = option("arguments of network plugins", (), flag="--network-args")
    uts: bool = option("own UTS namespace", False, flag="--uts")
    ipc: bool = option("own IPC namespace", False, flag="--ipc")
    add_caps: str | None = option("capabilities to add, separated by commas", flag="--add-caps")
    drop_caps: str | None = option("capabilities to drop, separated by commas", flag="--drop-caps")
    keep_privs: bool = option("root keeps its privileges", False, flag="--keep-privs")
    no_privs: bool = option("root drops its privileges", False, flag="--no-privs")
    allow_setuid: bool = option("setuid programs work", False, flag="--allow-setuid")
    security: tuple[str, ...] = option("security features", (), flag="--security")
    no_init: bool = option("no init process", False, flag="--no-init")
    no_umask: bool = option("umask 0022 instead of the host's", False, flag="--no-umask")
    cpus: float | None = option("CPU limit of each container", above=0, flag="--cpus")
    memory_limit: int | None = option("memory limit of each container", size=True, flag="--memory")
    pids_limit: int | None = option("limit of processes in each container", flag="--pids-limit")
    apply_cgroups: str | None = option("file with limits at the host", flag="--apply-cgroups")
    transfer_buffer_size: int = option("accepted for StreamFlow files; not used", 65536)

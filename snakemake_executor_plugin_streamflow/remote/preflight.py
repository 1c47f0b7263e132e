"""What a location is and has, asked once, before any job is sent there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import DeployError
from .quote import quote

REQUIRED = (
    *("cat", "find", "grep", "head", "mkdir", "mktemp", "mv", "readlink", "rm", "sed", "setsid", "sha1sum", "sleep"),
    *("dd", "sort", "stat", "tail", "tar", "tee", "touch", "xargs"),
)
"""Tools that sessions, job directories and transfers use; busybox has all of them."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The answers of one location.

    Attributes:
        workdir: absolute, exists and is writable.
        cores: processors that are online, as far as a control group's quota allows; 1 when unknown.
        memory_b, disk_b: bytes in all, bytes free below `workdir`; None when unknown.
        tmpdir: where jobs put temporary files.
        bash: whether bash is there; `pipefail`: whether its `sh` knows the option.
    """

    workdir: PurePosixPath
    cores: float
    memory_b: int | None
    disk_b: int | None
    tmpdir: str
    bash: bool
    pipefail: bool


def script(workdir: str | None, *, shared: bool = False) -> str:
    """Return shell text that prints `NAME VALUE` lines; its first argument is a stable name of the workflow.

    `workdir` None means a default below the home directory. The first workflow that uses a `workdir` owns it; others
    get a folder of their own in it, so that files of the same name do not meet. Not so when it is `shared` with the
    controller: then it is the workflow's own directory.
    """
    own = "" if shared else _OWN
    where = quote(workdir) if workdir else '"${HOME:-/tmp}/.streamflow-work/$1"'
    return f"""
LC_ALL=C; export LC_ALL
for t in {" ".join(REQUIRED)}; do command -v $t >/dev/null 2>&1 || echo "missing $t"; done
stat -c %s / >/dev/null 2>&1 || echo "missing stat -c"
[ -e /dev/fd/1 ] || echo "missing /dev/fd"
w={where}
{own}e=$(mkdir -p "$w/.streamflow" 2>&1 && cd "$w" 2>&1 && mkdir -p .streamflow/jobs .streamflow/in 2>&1 \\
  && chmod 700 .streamflow 2>&1) || echo "unusable $e"
cd "$w" 2>/dev/null && printf 'workdir %s\\n' "$(pwd)"
echo "cores $({{ getconf _NPROCESSORS_ONLN || nproc || grep -c '^processor' /proc/cpuinfo; }} 2>/dev/null)"
if [ -r /sys/fs/cgroup/cpu.max ]; then echo "cpumax $(cat /sys/fs/cgroup/cpu.max)"
elif [ -r /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then
  echo "cpumax $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us) $(cat /sys/fs/cgroup/cpu/cpu.cfs_period_us)"; fi
while read -r k v u; do [ "$k" = MemTotal: ] && echo "memory $v"; done 2>/dev/null </proc/meminfo
for f in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
  [ -r $f ] && echo "memorymax $(cat $f)"; done
echo "disk $(df -Pk . 2>/dev/null | while read -r a b c d e; do x=$d; echo "$x"; done | tail -n 1)"
printf 'tmpdir %s\\n' "${{TMPDIR:-/tmp}}"
command -v bash >/dev/null 2>&1 && echo bash 1
(set -o pipefail) 2>/dev/null && echo pipefail 1
"""


_OWN = """(umask 077; mkdir -p "$w/.streamflow") 2>/dev/null; o="$w/.streamflow/owner"
[ -s "$o" ] || (set -C; echo "$1" >"$o") 2>/dev/null
[ ! -s "$o" ] || [ "$(cat "$o")" = "$1" ] || w="$w/.streamflow/work/$1"
"""


def parse(text: str, location: str) -> Facts:
    """Read the answers.

    Raises:
        DeployError: tools are missing, or the working directory cannot be used; names them and the location.
    """
    missing, values = [], dict[str, str]()
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "missing":
            missing.append(value)
        else:
            values.setdefault(name, value)
    if missing:
        raise DeployError(f"{location}: these tools are missing there: {', '.join(missing)}. Install them, or busybox.")
    if "unusable" in values or not values.get("workdir", "").startswith("/"):
        reason = values.get("unusable", "it cannot be entered")
        raise DeployError(f"{location}: its working directory cannot be used: {reason}. Set `workdir` to another one.")
    return Facts(
        workdir=PurePosixPath(values["workdir"]),
        cores=_cores(values),
        memory_b=_memory(values),
        disk_b=int(values["disk"]) * 1024 if values.get("disk", "").isdigit() else None,
        tmpdir=values.get("tmpdir", "/tmp"),
        bash="bash" in values,
        pipefail="pipefail" in values,
    )


def _cores(values: dict[str, str]) -> float:
    cores = float(values["cores"]) if values.get("cores", "").isdigit() else 1.0
    quota, _, period = values.get("cpumax", "").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        cores = min(cores, int(quota) / int(period))
    return cores


def _memory(values: dict[str, str]) -> int | None:
    known = [int(values["memory"]) * 1024] if values.get("memory", "").isdigit() else []
    if values.get("memorymax", "").isdigit():
        known.append(int(values["memorymax"]))
    return min(known, default=None)

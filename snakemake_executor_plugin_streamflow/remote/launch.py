"""Commands that a job starts at its other locations, without ssh between them: what lies in its job directory.

`launch HOST COMMAND...` is used like ssh. It makes a folder `ask-N` with the host's name and the command, writes its
name into the pipe `asks`, and waits for what comes through the pipe `out`; then `code` and `errors` are there. Who
watches `asks` starts the command at that location, without input, in the working directory there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .job import Command
from .quote import quote, words

NAME = re.compile(r"ask-[0-9.]{1,40}", re.ASCII)
"""Names of requests. They come from the job: nothing else is taken."""

_LAUNCH = r"""#!/bin/sh
d=${0%/*}
while :; do case $1 in
  --) shift; break;;
  -[bcDEeFIiJLlmOopQRSWw]) shift 2 || exit 255;;
  -*) shift;;
  *) break;;
esac; done
[ $# -ge 2 ] || { echo "usage: launch HOST COMMAND..." >&2; exit 255; }
h=${1#*@}; shift
n=$$; until r=$d/ask-$n; mkdir "$r" 2>/dev/null; do n=$n.1; [ ${#n} -lt 36 ] || exit 255; done
mkfifo "$r/out" && printf '%s\n%s' "$h" "$*" >"$r/command" && echo $$ >"$r/pid" && echo "ask-$n" >"$d/asks" || exit 255
cat "$r/out"
c=255
[ ! -s "$r/code" ] || { read -r c <"$r/code"; cat "$r/errors" >&2; }
rm -rf "$r"
exit "$c"
"""

WATCH = r"""
until [ -p "$1/asks" ]; do sleep 0.1; done
cd "$1" || exit
exec 4<&0 5<>asks
cat <&5 4<&- & c=$!
for r in ask-*; do [ ! -p "$r/out" ] || echo "$r"; done
cat <&4 >/dev/null
kill $c"""
"""Prints the names of requests, those that were made before first, until its input ends. `$1`: the job directory."""

START = r"""cd "$1" && exec sh -c "$2" """
"""Runs a command `$2` in the working directory `$1`."""

DELIVER = r"""cd "$1" || exit
(read -r p <pid; while kill -0 "$p" && kill -0 $$; do sleep 0.5; done; kill $$) </dev/null >/dev/null 2>&1 &
exec cat >out"""
"""Gives its input to who has asked, in the folder `$1`; ends when that is gone."""

ANSWER = r"""cd "$1" && printf '%s' "$3" >errors && echo "$2" >code"""
"""Leaves the code `$2` and standard error `$3` for who has asked, in the folder `$1`."""

MARK = "STREAMFLOW_LAUNCHED"
"""The variable by which processes that were started so are found."""

END = r"""
sf_end() { for e in $(grep -la "$2" /proc/[0-9]*/environ 2>/dev/null); do
    q=${e#/proc/}; q=${q%/environ}; [ "$q" = $$ ] || kill "-$1" "$q" 2>/dev/null && found=1; done; }
found=; sf_end TERM "$1"; [ -z "$found" ] || { sleep 1; sf_end KILL "$1"; }"""
"""Ends the processes whose environment holds `$1`."""

_AGENT = 'sh -c sh${IFS}"$STREAMFLOW_LAUNCHER"${IFS}"$@" sh'
"""What Open MPI starts in place of ssh. It takes this apart at blanks and colons, which the launcher's path may have,
and knows no quotes; it looks for the first word at the other locations, too."""

_EVERYWHERE = {"STREAMFLOW_HOSTS", "STREAMFLOW_LOCATIONS", "STREAMFLOW_SLOTS", "STREAMFLOW_RANKS"}


def preparation(directory: str, hosts: Sequence[str], slots: int) -> Command:
    """Return the command that makes the host files and the launcher before a job's own commands."""
    files = {
        "hostfile": words(f"{host} slots={slots}" for host in hosts),
        "machinefile": words(f"{host}:{slots}" for host in hosts),
    }
    lines = [f"cd {quote(directory)} && mkfifo asks || exit 125"]
    lines += [f"printf '%s\\n' {lists} >{name} || exit 125" for name, lists in files.items()]
    lines.append(f"printf '%s' {quote(_LAUNCH)} >launch && chmod 700 launch || exit 125")
    return Command("\n".join(lines), "sh")


def environment(directory: str, hosts: Sequence[str], slots: int) -> dict[str, str]:
    """Return what tells a job of its locations, and `mpirun` (Open MPI 3 to 5, MPICH) how to use them."""
    launch, hostfile, machinefile = (f"{directory}/{name}" for name in ("launch", "hostfile", "machinefile"))
    return {
        "STREAMFLOW_HOSTS": ",".join(hosts),
        "STREAMFLOW_HOSTFILE": hostfile,
        "STREAMFLOW_MACHINEFILE": machinefile,
        "STREAMFLOW_LAUNCHER": launch,
        "STREAMFLOW_LOCATIONS": str(len(hosts)),
        "STREAMFLOW_SLOTS": str(slots),
        "STREAMFLOW_RANKS": str(slots * len(hosts)),
        "OMPI_MCA_plm_rsh_agent": _AGENT,
        "OMPI_MCA_plm_rsh_no_tree_spawn": "1",  # other locations have no launcher
        "OMPI_MCA_orte_leave_session_attached": "1",  # what goes into the background would outlive its end here
        "OMPI_MCA_orte_default_hostfile": hostfile,
        "PRTE_MCA_plm_ssh_agent": _AGENT,
        "PRTE_MCA_plm_ssh_no_tree_spawn": "1",
        "PRTE_MCA_prte_leave_session_attached": "1",
        "PRTE_MCA_prte_default_hostfile": hostfile,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",  # whoever a container has
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "HYDRA_LAUNCHER": "ssh",
        # MPICH writes this name into the commands for the other locations, without quotes: with a blank it would hang
        **({} if re.search(r"[^\w@%+=:,./-]", launch) else {"HYDRA_LAUNCHER_EXEC": launch}),
        "HYDRA_HOST_FILE": machinefile,
    }


def elsewhere(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for the job's other locations: without what says where its launcher is."""
    own = environment("/", (), 1).keys() - _EVERYWHERE
    return {name: value for name, value in env.items() if name not in own}

"""A Grid Engine cell of one host with four slots, which is reached by ssh as root.

    from ..servers import sge as servers
    sge = servers.sge

Needs root. The packages are installed when they are missing; no daemon runs on this machine itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Self

import pytest

from .ssh import SshHosts

PACKAGES = ("gridengine-master", "gridengine-exec", "gridengine-client")
ANSWERS = """\
gridengine-common shared/gridenginemaster string h1
gridengine-common shared/gridenginecell string default
gridengine-common shared/gridengineconfig boolean false
gridengine-master shared/gridengineconfig boolean false
gridengine-client shared/gridengineconfig boolean false
"""
START_S = 40.0

START = r"""
exec >/tmp/sge-start 2>&1 </dev/null
printf '127.0.0.1 localhost\n{address} h1\n' >/etc/hosts
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default DEBIAN_FRONTEND=noninteractive
printf 'SGE_ROOT=%s\nSGE_CELL=%s\n' $SGE_ROOT $SGE_CELL >>/etc/environment
common=$SGE_ROOT/default/common
spool=/var/spool/gridengine
echo h1 >$common/act_qmaster; mkdir -p /run/gridengine; chown -R sgeadmin: /run/gridengine $common/. $spool
su -s /bin/sh -c "/usr/share/gridengine/scripts/init_cluster $SGE_ROOT default $spool/spooldb sgeadmin" sgeadmin
for i in 1 2 3; do  # its first start sometimes ends at once
  sge_qmaster; for t in $(seq 50); do qhost >/dev/null 2>&1 && break 2; sleep 0.1; done; done
qconf -as h1; su -s /bin/bash sgeadmin -c "qconf -am root"; qconf -ah h1
printf 'group_name @allhosts\nhostlist h1\n' >/tmp/hg; qconf -Ahgrp /tmp/hg || qconf -Mhgrp /tmp/hg
printf '%s\n' 'hostname h1' 'load_scaling NONE' 'complex_values h_vmem=4G,mem_free=4G' 'user_lists NONE' \
  'xuser_lists NONE' 'projects NONE' 'xprojects NONE' 'usage_scaling NONE' 'report_variables NONE' >/tmp/eh
qconf -Ae /tmp/eh
printf '%s\n' 'pe_name smp' 'slots 99' 'user_lists NONE' 'xuser_lists NONE' 'start_proc_args /bin/true' \
  'stop_proc_args /bin/true' 'allocation_rule $pe_slots' 'control_slaves FALSE' 'job_is_first_task TRUE' \
  'urgency_slots min' 'accounting_summary FALSE' 'qsort_args NONE' >/tmp/pe
qconf -Ap /tmp/pe
qconf -sq | sed 's/^qname .*/qname all.q/; s/^hostlist .*/hostlist @allhosts/; s/^slots .*/slots 4/
  s/^pe_list .*/pe_list smp/; s#^shell .*#shell /bin/bash#; s/^load_thresholds .*/load_thresholds NONE/' >/tmp/q
qconf -Aq /tmp/q
qconf -ssconf | sed 's/^schedule_interval .*/schedule_interval 0:0:1/; s/^flush_submit_sec .*/flush_submit_sec 1/
  s/^flush_finish_sec .*/flush_finish_sec 1/' >/tmp/sc
qconf -Msconf /tmp/sc
qconf -sconf global | sed 's/^min_uid .*/min_uid 0/; s/^min_gid .*/min_gid 0/
  s/accounting_flush_time=[0-9:]*/accounting_flush_time=00:00:01/' >/tmp/global
cd /tmp; qconf -Mconf /tmp/global
mkdir -p /var/spool/gridengine/execd; for t in 1 2 3 4 5; do sge_execd && break; sleep 0.3; done
"""


class Sge(SshHosts):
    """The host h1 of `hosts`; sessions have SGE_ROOT."""

    def __init__(self) -> None:
        super().__init__(1, options=("SetEnv=SGE_ROOT=/var/lib/gridengine SGE_CELL=default",))

    def __enter__(self) -> Self:
        install()
        super().__enter__()
        try:
            self.run(1, START.replace("{address}", self.hosts[0]))
            end = time.monotonic() + START_S
            while "lx-" not in (said := self.said("qhost -h h1 | tail -n 1")) or " - " in said:
                if time.monotonic() > end:
                    raise RuntimeError(f"Grid Engine did not come up: {said}\n{self.said('cat /tmp/sge-start')}")
                time.sleep(0.2)
        except BaseException:
            self.close()
            raise
        return self

    def said(self, command: str) -> str:
        """Run a command at the host and return what it printed."""
        done = self.run(1, f"export SGE_ROOT=/var/lib/gridengine SGE_CELL=default; {command}")
        return done.stdout + done.stderr


def install() -> None:
    """Install what is missing."""
    if shutil.which("sge_qmaster", path=f"{os.environ['PATH']}:/usr/sbin"):
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["debconf-set-selections"], input=ANSWERS, text=True, check=True, capture_output=True)
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", *command], check=True, capture_output=True, env=env)


@pytest.fixture(scope="session")
def sge() -> Iterator[Sge]:
    """The cell."""
    with Sge() as cell:
        yield cell

"""Two ssh hosts."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_streamflow.conformance import ConformanceSuite
from snakemake_executor_plugin_streamflow.model import Deployment, SshOptions
from tests.servers import ssh as servers
from tests.servers.ssh import SshHosts

ssh_hosts = servers.ssh_hosts


def lab(hosts: SshHosts) -> Deployment:
    """A deployment of all hosts."""
    options = SshOptions(
        nodes=tuple(hosts.hosts), username="root", ssh_key=str(hosts.key), known_hosts=str(hosts.known_hosts), retries=0
    )
    return Deployment(name="lab", type="ssh", options=options)


class TestSsh(ConformanceSuite):
    """Directly."""

    small = "/small"

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, ssh_hosts: SshHosts) -> dict[str, Deployment]:
        return {"lab": lab(ssh_hosts)}

"""Whether an address names a deployment whose files last."""

from __future__ import annotations

import re

from snakemake_executor_plugin_streamflow.config.nearest import did_you_mean
from snakemake_executor_plugin_streamflow.errors import ConfigError, at
from snakemake_executor_plugin_streamflow.model import Address, Companion, DockerOptions

_SECTION = re.compile(r"(deployments|models)\s*:")


def known(companion: Companion, address: Address) -> None:
    """Check that files can be addressed at a deployment.

    Raises:
        ConfigError: the companion file has no such deployment, or each run makes it anew.
    """
    deployment = companion.holder(address.holder)
    if deployment is None:
        hint = did_you_mean(address.holder, companion.deployments)
        _refuse(companion, f"{address}: there is no deployment {address.holder!r}{hint}")
    elif (
        isinstance(deployment.options, DockerOptions)
        and not deployment.external
        and deployment.options.container_id is None
    ):
        _refuse(
            companion,
            f"{address}: the containers of {address.holder!r} are made anew for each run, so nothing lasts there: "
            "address files of existing containers (containerId, or external: true) or of hosts",
        )


def _refuse(companion: Companion, message: str) -> None:
    line = 1
    try:
        for number, text in enumerate(companion.path.read_text("utf-8", "replace").splitlines(), 1):
            if _SECTION.match(text):
                line = number
                break
    except OSError:
        pass
    raise ConfigError([at(companion.path, line, 1, "deployments", message)])

"""Deployment types and the connectors that speak to them, imported on first use."""

from __future__ import annotations

from importlib import import_module

from ..errors import ConfigError
from .base import Connector

CONNECTORS: dict[str, str] = {
    "apptainer": "apptainer:ApptainerConnector",
    "docker": "docker:DockerConnector",
    "docker-compose": "compose:ComposeConnector",
    "flux": "flux:FluxConnector",
    "helm": "helm:HelmConnector",
    "helm3": "helm:HelmConnector",
    "helm4": "helm:HelmConnector",
    "htcondor": "htcondor:HtcondorConnector",
    "kubernetes": "kubernetes:KubernetesConnector",
    "kubernetes-job": "kubernetes_job:KubernetesJobConnector",
    "local": "local:LocalConnector",
    "lsf": "lsf:LsfConnector",
    "oar": "oar:OarConnector",
    "pbs": "pbs:PbsConnector",
    "podman": "podman:PodmanConnector",
    "sge": "sge:SgeConnector",
    "singularity": "apptainer:SingularityConnector",
    "slurm": "slurm:SlurmConnector",
    "ssh": "ssh:SshConnector",
}
"""type -> MODULE:CLASS below this package, sorted."""


def connector_class(type_name: str) -> type[Connector]:
    """Return the connector class of a deployment type.

    Raises:
        ConfigError: the type is unknown, or a package that it needs is not installed.
    """
    try:
        module, _, name = CONNECTORS[type_name].partition(":")
    except KeyError:
        raise ConfigError([f"no deployment type {type_name!r}; known: {', '.join(CONNECTORS)}"]) from None
    try:
        found = getattr(import_module(f"{__package__}.{module}"), name)
    except ModuleNotFoundError as missing:
        raise ConfigError(
            [f"deployment type {type_name!r} needs the package {missing.name!r}: install it"]
        ) from missing
    assert isinstance(found, type)
    assert issubclass(found, Connector)
    return found

"""What StreamFlow's own files hold beyond what this plugin reads."""

from __future__ import annotations

from ..model import ApptainerOptions, ComposeOptions, DockerOptions, HelmOptions, KubernetesOptions
from ..model.queue_options import FluxService, HtcondorService, LsfService, OarService, PbsService, SgeService
from .sections import CompanionSection

IGNORED_SECTIONS = {
    "bindingFilters": "StreamFlow's binding filters",
    "checkpointManager": "StreamFlow's checkpointing",
    "dataManager": "StreamFlow's data manager",
    "database": "StreamFlow's database",
    "deploymentManager": "StreamFlow's deployment manager",
    "failureManager": "StreamFlow's fault tolerance",
    "scheduling": "StreamFlow's scheduler and its policies",
}
"""Top-level keys that are accepted and not used."""

TYPES_NOT_YET = (
    "occam",
    "unknown",
)
"""Deployment types of StreamFlow that have no connector here yet."""

IGNORED_OPTIONS: dict[type, frozenset[str]] = {
    CompanionSection: frozenset(IGNORED_SECTIONS),
    ApptainerOptions: frozenset(
        ("locationsCacheSize", "locationsCacheTTL", "noEval", "resourcesCacheSize", "resourcesCacheTTL")
    ),
    ComposeOptions: frozenset(
        (
            "locationsCacheSize",
            "locationsCacheTTL",
            "logLevel",
            "noAnsi",
            "resourcesCacheSize",
            "resourcesCacheTTL",
            "skipHostnameCheck",
            "verbose",
        )
    ),
    DockerOptions: frozenset({"cidfile", "detachKeys", "rm", "sigProxy"}),
    HelmOptions: frozenset(
        (
            "atomic",
            "force",
            "forceReplace",
            "generateFlag",
            "hideNotes",
            "locationsCacheSize",
            "locationsCacheTTL",
            "nameTemplate",
            "output",
            "renderSubchartNotes",
            "resourcesCacheSize",
            "resourcesCacheTTL",
            "rollbackOnFailure",
        )
    ),
    KubernetesOptions: frozenset(
        ("locationsCacheSize", "locationsCacheTTL", "resourcesCacheSize", "resourcesCacheTTL")
    ),
}
"""Keys that are accepted and not used. Of docker's and helm's: cleaning up and attaching is the connector's affair."""

OPTIONS_NOT_YET: dict[type, frozenset[str]] = {
    ApptainerOptions: frozenset(
        (
            "blkioWeight",
            "blkioWeightDevice",
            "boot",
            "command",
            "cpuShares",
            "cpusetCpus",
            "cpusetMems",
            "disableCache",
            "dockerHost",
            "envFile",
            "instanceNames",
            "memoryReservation",
            "memorySwap",
            "noHttps",
            "oomKillDisable",
            "pemPath",
            "pidFile",
            "workdir",
        )
    ),
    ComposeOptions: frozenset({"noStart", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify"}),
    DockerOptions: frozenset(
        (
            "blkioWeight",
            "blkioWeightDevice",
            "cgroupParent",
            "cgroupns",
            "cpuPeriod",
            "cpuQuota",
            "cpuRTPeriod",
            "cpuRTRuntime",
            "cpuShares",
            "cpusetCpus",
            "cpusetMems",
            "deviceCgroupRule",
            "deviceReadBps",
            "deviceReadIops",
            "deviceWriteBps",
            "deviceWriteIops",
            "dnsOption",
            "dnsSearch",
            "envFile",
            "expose",
            "groupAdd",
            "healthCmd",
            "healthInterval",
            "healthRetries",
            "healthStartPeriod",
            "healthTimeout",
            "ip",
            "ip6",
            "isolation",
            "kernelMemory",
            "labelFile",
            "link",
            "linkLocalIP",
            "logDriver",
            "logOpt",
            "macAddress",
            "memoryReservation",
            "memorySwap",
            "memorySwappiness",
            "networkAlias",
            "noHealthcheck",
            "oomKillDisable",
            "oomScoreAdj",
            "pidsLimit",
            "publishAll",
            "restart",
            "stopSignal",
            "stopTimeout",
            "storageOpt",
            "sysctl",
            "userns",
            "uts",
            "volumeDriver",
            "volumesFrom",
        )
    ),
    HelmOptions: frozenset(
        (
            "forceConflicts",
            "serverSide",
        )
    ),
}
"""Options of StreamFlow that would make a difference, and that no connector here passes on yet."""

NOT_HERE: dict[type, dict[str, str]] = {
    service: {"pack": "an allocation is held, and its nodes entered, with slurm only so far"}
    for service in (FluxService, HtcondorService, LsfService, OarService, PbsService, SgeService)
}
"""Keys that others of the kind have, and why this one has not."""

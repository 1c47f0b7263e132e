"""Two pods of a real cluster."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.conformance import ConformanceSuite
from snakemake_executor_plugin_streamflow.model import Deployment, KubernetesOptions
from tests.servers import kubernetes as servers

namespace = servers.namespace


class TestPods(ConformanceSuite):
    """The pods of a StatefulSet."""

    small = "/small"

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployment]:
        box = servers.workload("StatefulSet", "box", 2)
        box["metadata"] = {"generateName": "box-"}  # the suite brings up a second one beside it
        file = servers.manifest(tmp_path_factory.mktemp("manifest"), box)
        options = KubernetesOptions(files=(file,), namespace=namespace, grace_period=1, timeout=60)
        return {"box": Deployment("box", "kubernetes", options, workdir=PurePosixPath("/work"))}

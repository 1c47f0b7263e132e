"""Two instances of an Apptainer image at this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.conformance import ConformanceSuite
from snakemake_executor_plugin_streamflow.model import ApptainerOptions, Deployment
from tests.servers import apptainer as servers

apptainer_image = servers.apptainer_image


class TestInstances(ConformanceSuite):
    """Their working directory is a folder of this machine."""

    small = "/small"

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(
        cls, tmp_path_factory: pytest.TempPathFactory, apptainer_image: Path
    ) -> Iterator[dict[str, Deployment]]:
        folder = tmp_path_factory.mktemp("host")
        with servers.small_folder(folder / "small") as small:
            options = ApptainerOptions(image=str(apptainer_image), replicas=2, bind=(f"{small}:/small",))
            workdir = PurePosixPath(folder / "work")
            yield {"box": Deployment(name="box", type="apptainer", options=options, workdir=workdir)}

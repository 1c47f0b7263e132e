"""The suite that every connector passes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

from ..connect.lifecycle import Lifecycle
from ..model import Companion, Deployment
from ..move.here import Here
from ..site import Site
from .commands import RunsCommands
from .data import MovesFiles
from .faults import SurvivesFaults
from .place import Place, Watched


class ConformanceSuite(RunsCommands, MovesFiles, SurvivesFaults):
    """Behaviours of a connector. Subclass it under a name that starts with `Test` and give the fixture `deployments`.

    Attributes:
        env: environment of each process that is opened at the location.
        small: a directory on a filesystem of at most 8 MiB at the first location, for tests of a full disk.
    """

    env: Mapping[str, str] = {}
    small: str | None = None

    @pytest.fixture(scope="class")
    @classmethod
    def deployments(cls) -> Mapping[str, Deployment]:
        """Return the deployment under test, after those that it wraps."""
        raise NotImplementedError("give a fixture `deployments`")

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, deployments: Mapping[str, Deployment], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        """The deployment, up for all tests of the class."""
        here = tmp_path_factory.mktemp("here")
        log = logging.getLogger("streamflow.conformance")
        lifecycle = Lifecycle(
            Companion(Path("streamflow.yml"), deployments=deployments), f"c{secrets.token_hex(4)}", log
        )

        async def up() -> Place:
            connector = Watched(await lifecycle.up(list(deployments)[-1]), cls.env)
            sites = [
                await Site.open(
                    connector, location, here=PurePosixPath(here), key="conformance", limit=8, log=log.warning
                )
                for location in await connector.locations(None)
            ]
            place = Place(runner, connector, sites, Here("here", here))
            place.small = cls.small
            await place.start()
            return place

        async def down() -> None:
            try:
                await place.stop()
            finally:
                assert await lifecycle.down() == []

        with asyncio.Runner() as runner:
            try:
                place = runner.run(up())
            except BaseException:
                runner.run(lifecycle.down())
                raise
            try:
                yield place
            finally:
                runner.run(down())

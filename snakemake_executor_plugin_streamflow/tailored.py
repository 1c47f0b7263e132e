"""Locations that are made for one task, and go with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from .connect.undisturbed import undisturbed
from .engine import Engine
from .errors import SiteError
from .jobs import Task
from .model import Binding, Target
from .place import insist


@asynccontextmanager
async def opened(engine: Engine, task: Task, binding: Binding) -> AsyncIterator[Binding]:
    """Bring up what a task may run on, and give its binding, to locations of its own where its deployment tailors.

    These go at the end; what the task has left there alone comes home first, when the task has ended well.

    Raises:
        DeployError, Unreachable: there is nothing to run it on.
    """
    target = binding.targets[0]
    if not engine.companion.deployments[target.deployment].tailors:
        await engine.sites.open(binding.targets)
        yield binding
        return
    connector = await engine.lifecycle.up(target.deployment)
    name = await connector.tailor(target.service, task.request, target.locations)
    own = replace(target, service=name)
    try:
        await engine.sites.open_own(connector, own)
        yield replace(binding, targets=(own,))
        left = [output.path for output in task.outputs()] if task.floating else []
        await insist(lambda: engine.errands.bring_home(left))
    finally:
        await undisturbed(_discard(engine, own))


async def _discard(engine: Engine, own: Target) -> None:
    mine = [s for s in engine.sites if (s.location.deployment, s.location.service) == (own.deployment, own.service)]
    await engine.sites.retire(mine)
    connector = engine.lifecycle.connectors().get(own.deployment)
    try:
        if connector is not None and own.service is not None:
            await connector.discard(own.service)
    except SiteError as error:  # all of it goes with the deployment
        engine.log.debug(f"{own.deployment}: {own.service} is left for now: {error}")

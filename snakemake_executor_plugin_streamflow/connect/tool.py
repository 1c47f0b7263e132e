"""Commands of this machine that bring deployments up and down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from ..errors import DeployError, quote_tail


async def run_tool(words: Sequence[str], env: Mapping[str, str], folder: str = "/") -> str:
    """Run a command in `folder` and return what it prints; when cancelled, it is ended first.

    Raises:
        DeployError: it failed; with its own text.
    """
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        cwd=folder,
        start_new_session=True,
    )
    try:
        out, errors = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 15)
        if process.returncode is None:
            process.kill()
        raise
    if process.returncode:
        raise DeployError(quote_tail(errors or out))
    return out.decode("utf-8", "replace")

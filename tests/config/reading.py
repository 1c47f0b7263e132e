"""Read companion files from text."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from snakemake_executor_plugin_streamflow.config import read_companion
from snakemake_executor_plugin_streamflow.errors import ConfigError
from snakemake_executor_plugin_streamflow.model import Companion

HOME = Path("/home/me")


def read(text: str | bytes, environ: Mapping[str, str] | None = None) -> Companion:
    """Read `text`, with common indentation removed, as `streamflow.yml` of an empty folder."""
    content = text if isinstance(text, bytes) else dedent(text).encode("utf-8", "surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "streamflow.yml")
        path.write_bytes(content)
        try:
            return read_companion(path, environ or {}, HOME)
        except ConfigError as error:
            raise ConfigError([line.replace(f"{path}:", "streamflow.yml:") for line in error.problems]) from None


def problems(text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the mistakes of `text`, as `line:column: path: message`."""
    try:
        read(text, environ)
    except ConfigError as error:
        found = error.problems
    else:
        found = ()
    assert all(line.startswith("streamflow.yml:") for line in found), found
    return [line.removeprefix("streamflow.yml:") for line in found]


def one_problem(text: str | bytes, environ: Mapping[str, str] | None = None) -> str:
    """Return the only mistake of `text`."""
    (problem,) = problems(text, environ)
    return problem


def deployments(*lines: str) -> str:
    """Return a file whose line 3 is the first of `lines`, entries of `deployments:`, unindented."""
    return "version: v1.0\ndeployments:\n" + "".join(f"  {line}\n" for line in lines)


def bindings(*lines: str) -> str:
    """Return a file with the deployments `farm` (two hosts, service `queue`) and `box`; `lines` start at line 6."""
    return (
        "version: v1.0\ndeployments:\n"
        "  farm: {type: ssh, config: {nodes: [a, b], services: {queue: null}}}\n"
        "  box: {type: docker, config: {image: i}}\n"
        "bindings:\n" + "".join(f"  {line}\n" for line in lines)
    )

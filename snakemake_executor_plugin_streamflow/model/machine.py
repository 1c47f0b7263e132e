"""What the options of all deployment types are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def option(help: str, default: Any = None, **metadata: Any) -> Any:
    """Declare an option with its help text."""
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"help": help, **metadata})
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What jobs may use of each location; what is not given is asked of the location."""

    cores: float | None = option("cores that jobs may use at each location", above=0)
    memory: int | None = option("memory that jobs may use at each location", size=True, minimum=1)
    disk: int | None = option("disk that jobs may use at each location", size=True)
    resources: Mapping[str, int] = option("named custom resources, for instance {gpu: 2}", {})
    env: Mapping[str, str] = option("environment of every job", {}, variables=True, pairs=True)
    jobs: int | None = option("jobs at once at each location", minimum=1)
    python: str | None = option(
        "Python for jobs that need Snakemake there; where it has no Snakemake, or none is named, one is built there"
    )

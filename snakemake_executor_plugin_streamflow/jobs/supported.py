"""What this plugin needs of Snakemake."""

from __future__ import annotations

import re

OLDEST = "9.23.1"
"""The oldest release of Snakemake that has all that is used."""


def why_too_old(version: str) -> str | None:
    """Return what is wrong with a version of Snakemake; None when nothing is."""
    if _numbers(version) >= _numbers(OLDEST):
        return None
    return (
        f"This is Snakemake {version}; --executor streamflow needs {OLDEST} or newer: pip install 'snakemake>={OLDEST}'"
    )


def _numbers(version: str) -> list[int]:
    found = re.match(r"\d+(\.\d+)*", version)
    return [int(number) for number in found.group().split(".")] if found else []

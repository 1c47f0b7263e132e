"""The settings of the storage plugin.

No `from __future__ import annotations` and no `X | None` here: Snakemake reads the field types when it builds its CLI.
"""

from dataclasses import dataclass, field
from typing import Optional

from snakemake_interface_storage_plugins.settings import StorageProviderSettingsBase


@dataclass
class StorageProviderSettings(StorageProviderSettingsBase):
    file: Optional[str] = field(
        default=None,
        metadata={
            "help": "The companion file that describes the deployments "
            "(default: streamflow.yml in the working directory or in its folder workflow).",
        },
    )

"""Snakemake storage plugin: files that live at the sites of a companion file, `streamflow://DEPLOYMENT/abs/path`.

Every snakemake process imports this module, nested ones too: it imports the standard library and the interfaces only.
"""

from .provider import StorageObject, StorageProvider
from .settings import StorageProviderSettings

__all__ = ["StorageObject", "StorageProvider", "StorageProviderSettings"]

"""Helm as a library: `helm-python-sdk`, which has no wheels for some processors.

from ..servers.helm import helm_library
"""

from __future__ import annotations

import importlib
import platform
from importlib.util import find_spec
from types import ModuleType

import pytest


def helm_library() -> ModuleType:
    """Return the library; a test that needs it says loudly where it is not tested."""
    if find_spec("helm_python") is None and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"NOT TESTED: helm-python-sdk has no wheel for {platform.machine()}")
    return importlib.import_module("helm_python")

"""What all tests rely on."""

from __future__ import annotations

import signal

import pytest

# Started in the background of a shell, this process ignores Ctrl-C, and what it starts would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: at the end one worker would go on alone."""
    first = ("snakemake_workflows", "executor", "storage")
    items.sort(key=lambda item: next((n for n, room in enumerate(first) if item.path.parent.name == room), len(first)))

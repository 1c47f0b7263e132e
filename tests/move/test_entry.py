"""Names that lead outside."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_streamflow.errors import TransferError
from snakemake_executor_plugin_streamflow.move.entry import Entry, Item, checked, inside

PATH = st.lists(st.sampled_from(["a", "b", "..", ".", "", "..."]), min_size=1, max_size=6).map("/".join)


@given(name=PATH)
def test_a_name_that_passes_stays_below(name: str) -> None:
    try:
        checked(Item("s", "t", (Entry("", "d"), Entry(name, "f"))), "here")
    except TransferError:
        return
    full = posixpath.normpath(posixpath.join("/top", name))
    assert full.startswith("/top/")
    assert full == f"/top/{name}"


@given(name=st.sampled_from(["l", "a/l", "a/b/l"]), target=PATH)
def test_a_link_that_is_kept_stays_below(name: str, target: str) -> None:
    kept = inside(name, target, "/top")
    if kept is not None:
        full = posixpath.normpath(posixpath.join("/top", posixpath.dirname(name), kept))
        assert full == "/top" or full.startswith("/top/")


def test_a_look_alike_prefix_is_outside() -> None:
    assert inside("l", "/data", "/data") == "."
    assert inside("d/l", "/data/x", "/data") == "../x"
    assert inside("l", "/database/x", "/data") is None


def test_a_name_that_is_there_twice_is_refused() -> None:
    entries = (Entry("", "d"), Entry("x", "l", target="/etc/passwd"), Entry("x", "f", 1))
    with pytest.raises(TransferError, match="twice"):
        checked(Item("s", "t", entries), "here")

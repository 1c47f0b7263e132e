"""Which queries are addresses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from snakemake_executor_plugin_streamflow.model import Address
from snakemake_storage_plugin_streamflow import StorageProvider
from snakemake_storage_plugin_streamflow.address import local_suffix, why_no_address


@pytest.mark.parametrize(
    "query",
    [
        "streamflow://one/data/x",
        "streamflow://my-site.2/data/{sample}.txt",
        "streamflow://one/{path,[a-z]+/[a-z/]+}/x",
        "streamflow://{site}/data/a b",
    ],
)
def test_addresses_are_valid(query: str) -> None:
    assert StorageProvider.is_valid_query(query)


@pytest.mark.parametrize("query", ["s3://bucket/x", "results/x", "/abs/x", "streamflow://", "streamflow://a\0b"])
def test_other_queries_are_refused_with_a_reason(query: str) -> None:
    result = StorageProvider.is_valid_query(query)
    assert not result
    assert "expected" in str(result)


@pytest.mark.parametrize(
    "query",
    [
        "streamflow://one",
        "streamflow://one/",
        "streamflow:///data/x",
        "streamflow://me@one/data/x",
        "streamflow://one//data",
        "streamflow://one/data/../x",
        "streamflow://one/data/",
    ],
)
def test_a_query_that_can_only_be_an_address_has_a_whole_path(query: str) -> None:
    assert "expected streamflow://DEPLOYMENT/absolute/path" in str(why_no_address(query))


@pytest.mark.parametrize(
    ("query", "suffix"),
    [
        ("streamflow://./results/a b.txt", "results/a b.txt"),
        ("streamflow://one/data/x", "@at/one/data/x"),
        ("streamflow://./../x", "@up/x"),
        ("streamflow://.//data/x", "@root/data/x"),
    ],
)
def test_local_copies_stay_in_a_folder_of_their_own(query: str, suffix: str) -> None:
    assert local_suffix(query) == suffix


def test_an_address_is_split_and_printed() -> None:
    assert Address.parse("streamflow://one/data/x") == Address("one", "/data/x")
    assert str(Address("one", "/data/x")) == "streamflow://one/data/x"


def test_loading_the_plugin_imports_nothing_of_ours_but_itself() -> None:
    code = (
        "import sys, snakemake_interface_storage_plugins.storage_object as s; before = set(sys.modules)\n"
        "import snakemake_storage_plugin_streamflow\n"
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('snakemake_storage_plugin_streamflow')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

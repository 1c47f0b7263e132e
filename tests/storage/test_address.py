"""Which queries are addresses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from snakemake_storage_plugin_streamflow import StorageProvider
from snakemake_storage_plugin_streamflow.address import Address, parse


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


@pytest.mark.parametrize(
    "query",
    [
        "s3://bucket/x",
        "results/x",
        "/abs/x",
        "streamflow://",
        "streamflow://one",
        "streamflow://one/",
        "streamflow:///data/x",
        "streamflow://me@one/data/x",
        "streamflow://one//data",
        "streamflow://one/data/../x",
        "streamflow://one/data/",
    ],
)
def test_other_queries_are_refused_with_a_reason(query: str) -> None:
    result = StorageProvider.is_valid_query(query)
    assert not result
    assert "expected streamflow://DEPLOYMENT/absolute/path" in str(result)


def test_a_path_of_the_working_directory_is_refused_as_not_addressed() -> None:
    assert "only addressed files are supported" in str(StorageProvider.is_valid_query("results/x"))


def test_an_address_is_split_and_printed() -> None:
    assert parse("streamflow://one/data/x") == Address("one", "/data/x")
    assert str(Address("one", "/data/x")) == "streamflow://one/data/x"


def test_loading_the_plugin_imports_nothing_of_ours_but_itself() -> None:
    code = (
        "import sys, snakemake_interface_storage_plugins.storage_object as s; before = set(sys.modules)\n"
        "import snakemake_storage_plugin_streamflow\n"
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('snakemake_storage_plugin_streamflow')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

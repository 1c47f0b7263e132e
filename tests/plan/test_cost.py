"""What it costs to bring inputs somewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_streamflow.plan import Bandwidths, Ledger, Replica
from snakemake_executor_plugin_streamflow.plan.cost import transfer_costs

MB = 1_000_000


def ledger_of(**where: str) -> Ledger:
    return Ledger(Replica(path, name, "1", 1, 0) for path, names in where.items() for name in names.split())


def test_a_filesystem_that_has_everything_costs_nothing() -> None:
    costs = transfer_costs([("a", 100 * MB), ("b", 1)], ledger_of(a="x y", b="x"), Bandwidths())
    assert costs.at("x") == 0
    assert costs.missing_b("x") == 0
    assert costs.at("y") == pytest.approx(0.05, abs=1e-6)
    assert costs.at("anywhere") == pytest.approx(1.05, abs=1e-6)


def test_an_unknown_input_is_at_the_controller() -> None:
    costs = transfer_costs([("a", 100 * MB)], Ledger(), Bandwidths())
    assert costs.at("controller") == 0
    assert costs.at("x") == pytest.approx(1.05)


def test_the_latency_is_paid_once_per_route() -> None:
    ledger = ledger_of(a="x", b="x", c="y")
    assert transfer_costs([("a", 0), ("b", 0), ("c", 0)], ledger, Bandwidths()).at("z") == pytest.approx(0.1)
    assert transfer_costs([("a", 0), ("b", 0), ("c", 0)], ledger, Bandwidths()).at("y") == pytest.approx(0.05)


def test_an_observed_route_counts_instead_of_the_default() -> None:
    bandwidths = Bandwidths()
    bandwidths.observe("x", "slow", 10 * MB, 10)
    costs = transfer_costs([("a", 100 * MB)], ledger_of(a="x"), bandwidths)
    assert costs.at("slow") > 50
    assert costs.at("other") == pytest.approx(1.05)


def test_bytes_come_from_the_holder_with_the_quickest_observed_route() -> None:
    bandwidths = Bandwidths()
    for name in ("p", "q", "r"):
        bandwidths.observe("controller", name, 10 * MB, 1)
    bandwidths.observe("x", "p", 1000 * MB, 1)
    costs = transfer_costs([("a", 1000 * MB)], ledger_of(a="controller x"), bandwidths)
    assert costs.at("p") < 2
    assert costs.at("q") > 90


def test_small_transfers_teach_the_latency_and_large_ones_the_rate() -> None:
    bandwidths = Bandwidths()
    bandwidths.observe("x", "y", 100, 0.5)
    assert bandwidths.link("x", "y").latency_s == pytest.approx(0.5, rel=0.01)
    assert bandwidths.link("x", "y").rate_b_s == 100e6
    bandwidths.observe("x", "y", 20 * MB, 2.5)
    assert bandwidths.link("x", "y").rate_b_s == pytest.approx(10e6, rel=0.01)
    bandwidths.observe("x", "x", MB, 100)
    bandwidths.observe("x", "z", MB, 0)
    assert bandwidths.link("x", "z").rate_b_s == 100e6


NAMES = ["controller", "x", "y", "z"]


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.lists(st.sampled_from(NAMES), unique=True)), max_size=6),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.floats(0.1, 100)), max_size=6),
)
def test_costs_are_those_of_moving_each_group_from_one_of_its_holders(
    files: list[tuple[int, list[str]]], seen: list[tuple[str, str, float]]
) -> None:
    ledger, bandwidths = Ledger(), Bandwidths()
    for source, target, seconds in seen:
        bandwidths.observe(source, target, 10 * MB, seconds)
    inputs = []
    for number, (size_b, names) in enumerate(files):
        inputs.append((str(number), size_b))
        for name in names:
            ledger.put(Replica(str(number), name, "1", size_b, 0))
    costs = transfer_costs(inputs, ledger, bandwidths)
    for target in [*NAMES, "new"]:
        least = most = 0.0
        for size_b, names in files:
            holders = names or ["controller"]
            if target not in holders:
                times = [bandwidths.link(name, target).seconds(size_b) for name in holders]
                least += min(times) - 0.05
                most += max(times)
        # Routes share their latency and an unseen one is never preferred to one that was seen, hence a range.
        latest = max((bandwidths.link(name, target).latency_s for name in NAMES), default=0.0)
        assert least - len(files) * latest - 1e-6 <= costs.at(target) <= most + 1e-6
        missing = sum(size_b for size_b, names in files if target not in (names or ["controller"]))
        assert costs.missing_b(target) == missing
        if missing == 0 and all(target in (names or ["controller"]) for _, names in files):
            assert costs.at(target) == 0

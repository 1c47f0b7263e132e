"""What a run needs no more goes, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_streamflow.plan import Up, unneeded

NAMES = [f"d{number}" for number in range(6)]


@st.composite
def deployments(draw: st.DrawFn) -> dict[str, Up]:
    """Some that are up; each may go through one of lower number, which is up, too."""
    up: dict[str, Up] = {}
    for name in NAMES[: draw(st.integers(0, len(NAMES)))]:
        up[name] = Up(draw(st.sampled_from([None, *up])), stays=draw(st.booleans()))
    return up


names = st.lists(st.sampled_from(NAMES))
sets = st.lists(st.frozensets(st.sampled_from(NAMES)), max_size=4)


def test_a_wrapper_goes_before_what_it_wraps_and_a_used_one_keeps_all_below_it() -> None:
    up = {"login": Up(), "queue": Up("login"), "box": Up("queue"), "other": Up("login"), "ours": Up(stays=True)}
    assert unneeded(up, []) == ["box", "other", "queue", "login"]
    assert unneeded(up, ["queue"]) == ["box", "other"]
    assert unneeded(up, ["box"]) == ["other"]


def test_one_of_the_holders_of_something_needed_stays() -> None:
    up = {"a": Up(), "b": Up()}
    assert unneeded(up, [], [{"a", "b"}]) == ["b"]
    assert unneeded(up, ["b"], [{"a", "b"}]) == ["a"]


@given(deployments(), names, sets)
def test_what_goes_is_needed_by_nobody_who_stays(
    up: dict[str, Up], used: list[str], holders: list[frozenset[str]]
) -> None:
    gone = unneeded(up, used, holders)
    assert len(set(gone)) == len(gone)
    assert not {*gone} & {*used}
    assert {*gone} <= up.keys()
    left = up.keys() - {*gone}
    for name, one in up.items():
        assert not (one.stays and name in gone)
        assert name in gone or one.wraps is None or one.wraps in left
        if name in gone and one.wraps in gone:
            assert gone.index(name) < gone.index(one.wraps)
    assert all({*held} - {*gone} for held in holders if held)


@given(deployments(), names, names)
def test_more_use_never_takes_down_more(up: dict[str, Up], used: list[str], more: list[str]) -> None:
    assert {*unneeded(up, [*used, *more])} <= {*unneeded(up, used)}


@given(deployments(), names, sets)
def test_what_is_left_is_left_the_next_time_too(
    up: dict[str, Up], used: list[str], holders: list[frozenset[str]]
) -> None:
    left = {name: one for name, one in up.items() if name not in unneeded(up, used, holders)}
    assert unneeded(left, used, [held & left.keys() or held for held in holders]) == []

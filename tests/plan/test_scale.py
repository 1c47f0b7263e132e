"""Replicas follow what waits, within their bounds; what is used stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_streamflow.model import Bounds, Location, Policy, Request, Target
from snakemake_executor_plugin_streamflow.plan import Ledger, Placement, Scale, Seen, Wanted

NAMES = [f"box/{number}" for number in range(1, 9)]


@st.composite
def moments(draw: st.DrawFn) -> Seen:
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    some, held = (st.frozensets(st.sampled_from(names), min_size=size) for size in (0, 1))
    return Seen(names, draw(some), draw(st.integers(0, 9)), draw(st.lists(held, max_size=3)))


bounds = st.builds(
    lambda least, more: Bounds(min=least, max=least + more, idle=60), st.integers(1, 4), st.integers(0, 4)
)


@given(bounds, st.booleans(), st.lists(st.tuples(moments(), st.floats(0, 100)), min_size=1, max_size=8))
def test_what_is_used_or_needed_stays_and_no_more_come_than_can_be_filled(
    limits: Bounds, in_order: bool, story: list[tuple[Seen, float]]
) -> None:
    scale, now = Scale(limits, in_order=in_order), 0.0
    for seen, pause in story:
        now += pause
        count = len(seen.locations)
        resize = scale.decide(seen, now)
        if resize is None:
            assert count >= limits.min
            assert not seen.wanted or count >= limits.max
            continue
        gone = {*seen.locations} - resize.spare
        assert len(gone) == max(0, count - resize.count)
        if resize.count > count:
            assert limits.min <= resize.count <= limits.max
            assert resize.count <= max(limits.min, count + seen.wanted)
        else:
            assert gone
            assert not seen.wanted
            assert resize.count >= limits.min
            assert not gone & {*seen.busy}
            assert all(not {*held} <= gone for held in seen.holders)
            assert not in_order or gone == {*seen.locations[resize.count :]}


@given(bounds, st.integers(1, 8), st.integers(1, 60))
def test_without_work_all_but_the_least_go_after_the_idle_time_and_not_before(
    limits: Bounds, count: int, step_s: int
) -> None:
    scale, seen, now = Scale(limits, in_order=False), Seen(NAMES[: max(count, limits.min)]), 0
    assert scale.decide(seen, now) is None
    while now + step_s < 60:
        now += step_s
        assert scale.decide(seen, now) is None
    resize = scale.decide(seen, 60)
    assert (resize.count if resize else limits.min) == limits.min == max(limits.min, min(limits.min, count))


def test_one_that_has_worked_meanwhile_begins_anew_to_be_idle() -> None:
    scale = Scale(Bounds(min=1, max=3, idle=10), in_order=False)
    assert scale.decide(Seen(NAMES[:3]), 0) is None
    assert scale.decide(Seen(NAMES[:3], busy=[NAMES[1]]), 9) is None
    resize = scale.decide(Seen(NAMES[:3]), 10)
    assert resize is not None
    assert resize.spare == {NAMES[1]}


def _placement(cores: float, jobs: int | None = None) -> Placement:
    placement = Placement(Ledger())
    placement.add(Location(NAMES[0], "box", "", "h", NAMES[0], cores=cores), None, jobs)
    return placement


def _submit(placement: Placement, number: int, cores: float, locations: int = 1, deployment: str = "box") -> None:
    for index in range(number):
        target = Target(deployment, locations=locations)
        one = Wanted(f"{deployment}-{cores}-{index}", Request(cores), (target,), Policy.LOCALITY, ())
        placement.submit(one)
    placement.place(0)


def test_waiting_tasks_fill_as_many_replicas_as_they_have_room_in() -> None:
    placement = _placement(cores=4)
    _submit(placement, 11, 1)  # four run at once
    assert placement.wanted(NAMES[0], 9) == 2
    assert placement.wanted(NAMES[0], 1) == 1
    _submit(placement, 2, 3)
    assert placement.wanted(NAMES[0], 9) == 4
    _submit(placement, 1, 5)
    _submit(placement, 5, 1, deployment="other")
    assert placement.wanted(NAMES[0], 9) == 4, "what does not fit, or goes elsewhere, wants none"


def test_the_limit_on_jobs_at_each_location_counts() -> None:
    placement = _placement(cores=64, jobs=1)
    _submit(placement, 4, 1)
    assert placement.wanted(NAMES[0], 9) == 3

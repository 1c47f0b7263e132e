"""Placement: what goes where, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snakemake_executor_plugin_streamflow.errors import CapacityError
from snakemake_executor_plugin_streamflow.model import Limits, Location, Policy, Request, Target
from snakemake_executor_plugin_streamflow.plan import Capacity, Decision, Ledger, Placement, Replica, Wanted

MB = 1_000_000
GB = 1000 * MB


def location(name: str, filesystem: str | None = None, host: str | None = None) -> Location:
    deployment, _, rest = name.partition("/")
    service, _, instance = rest.rpartition("/")
    return Location(name, deployment, service, host or instance, filesystem or name)


def wanted(
    task: str,
    *targets: str | Target,
    cores: float = 1,
    policy: Policy = Policy.LOCALITY,
    inputs: dict[str, int] | None = None,
    **custom: int,
) -> Wanted:
    chosen = tuple(Target(target) if isinstance(target, str) else target for target in targets or ("d",))
    return Wanted(task, Request(cores, custom=custom), chosen, policy, tuple((inputs or {}).items()))


def placement(*names: str, cores: float = 1, ledger: Ledger | None = None) -> Placement:
    core = Placement(ledger or Ledger())
    for name in names:
        core.add(location(name), Capacity(cores))
    return core


def where(decisions: list[Decision]) -> dict[str, list[str]]:
    return {each.id: [place.name for place in each.locations] for each in decisions}


def test_a_task_goes_where_its_data_is() -> None:
    core = placement("d/a", "d/b", "d/c", ledger=Ledger([Replica("big", "d/b", "1", GB, 0)]))
    core.submit(wanted("t", inputs={"big": GB, "small": 1}))
    (decision,) = core.place(0)
    assert decision.locations[0].name == "d/b"
    assert decision.cost_s == pytest.approx(0.05, abs=1e-3)
    assert decision.target == Target("d")
    assert "\n" not in decision.explanation
    assert "d/b" in decision.explanation
    assert "next d/a" in decision.explanation


def test_the_data_decides_across_all_targets() -> None:
    core = placement("d/a", "e/a", ledger=Ledger([Replica("big", "e/a", "1", GB, 0)]))
    core.submit(wanted("t", "d", "e", inputs={"big": GB}))
    (decision,) = core.place(0)
    assert decision.target == Target("e")


def test_locations_on_one_filesystem_cost_the_same() -> None:
    core = Placement(Ledger([Replica("big", "shared", "1", GB, 0)]))
    core.add(location("d/a", "shared"), Capacity(1))
    core.add(location("d/b", "shared"), Capacity(2))
    core.add(location("d/c"), Capacity(9))
    for task in "123":
        core.submit(wanted(task, inputs={"big": GB}))
    assert where(core.place(0)) == {"1": ["d/a"], "2": ["d/b"], "3": ["d/b"]}


def test_ties_go_to_the_least_loaded_then_by_name() -> None:
    core = placement("d/b", "d/a", cores=2)
    for task in "123":
        core.submit(wanted(task))
    assert where(core.place(0)) == {"1": ["d/a"], "2": ["d/b"], "3": ["d/a"]}


def test_a_service_is_only_offered_what_belongs_to_it() -> None:
    core = placement("d/s/a", "d/t/a", "e/a")
    core.submit(wanted("1", Target("d", "t")))
    core.submit(wanted("2", Target("d", "t")))
    assert where(core.place(0)) == {"1": ["d/t/a"]}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(Policy.SPREAD, "e/b"), (Policy.PACK, "d/a"), (Policy.ORDER, "d/a"), (Policy.LOCALITY, "e/c")],
)
def test_policies_choose_differently(policy: Policy, expected: str) -> None:
    core = placement("d/a", "e/b", "e/c", cores=4, ledger=Ledger([Replica("big", "e/c", "1", GB, 0)]))
    core.submit(wanted("fill", "d", cores=2))
    core.submit(wanted("fill2", Target("e"), cores=1, inputs={"big": GB}))
    core.place(0)
    core.submit(wanted("t", "d", "e", policy=policy, inputs={"big": GB}))
    assert where(core.place(0)) == {"t": [expected]}


def test_random_is_the_same_each_time_and_uses_all_locations() -> None:
    names = [f"d/{number}" for number in range(8)]
    runs = []
    for _ in range(2):
        core = placement(*names, cores=1000)
        for task in range(200):
            core.submit(wanted(str(task), policy=Policy.RANDOM))
        runs.append(where(core.place(0)))
    assert runs[0] == runs[1]
    used = [name for (name,) in runs[0].values()]
    assert all(used.count(name) > 8 for name in names)


def test_order_takes_the_next_target_only_when_none_of_the_first_is_free() -> None:
    core = placement("d/a", "e/a", cores=1, ledger=Ledger([Replica("big", "e/a", "1", GB, 0)]))
    for task in "123":
        core.submit(wanted(task, "d", "e", policy=Policy.ORDER, inputs={"big": GB}))
    assert where(core.place(0)) == {"1": ["d/a"], "2": ["e/a"]}
    core.release("1", 1)
    assert where(core.place(1)) == {"3": ["d/a"]}


def test_a_task_waits_for_a_busy_location_that_is_sooner_than_moving_the_data() -> None:
    core = placement("d/a", "d/b", ledger=Ledger([Replica("big", "d/a", "1", 100 * GB, 0)]))
    core.submit(wanted("first", inputs={"big": 100 * GB}))
    core.place(0)
    core.release("first", 10)
    core.submit(wanted("second", inputs={"big": 100 * GB}))
    assert where(core.place(10)) == {"second": ["d/a"]}
    core.submit(wanted("third", inputs={"big": 100 * GB}))
    assert core.place(11) == []
    core.release("second", 10)
    assert where(core.place(20)) == {"third": ["d/a"]}
    assert core.look_again_at() is None


def test_a_task_waits_only_for_a_moment_when_nothing_is_known_or_moving_is_sooner() -> None:
    core = placement("d/a", "d/b", ledger=Ledger([Replica("big", "d/a", "1", 100 * GB, 0)]))
    core.submit(wanted("first", inputs={"big": 100 * GB}))
    core.submit(wanted("second", inputs={"big": 100 * GB}))
    assert where(core.place(0)) == {"first": ["d/a"]}
    at = core.look_again_at()
    assert at == pytest.approx(30), "the job there may end soon"
    assert where(core.place(at)) == {"second": ["d/b"]}
    core.release("first", 5000)
    core.release("second", 5000)
    core.submit(wanted("third", inputs={"big": 100 * GB}))
    core.submit(wanted("fourth", inputs={"big": 100 * GB}))
    decisions = core.place(5000)
    assert where(decisions) == {"third": ["d/a"], "fourth": ["d/b"]}
    assert "no wait: d/a would need" in decisions[1].explanation


def test_only_as_many_tasks_wait_as_it_is_worth() -> None:
    core = placement("d/a", "d/b", ledger=Ledger([Replica("big", "d/a", "1", 2 * GB, 0)]))
    core.submit(wanted("first", inputs={"big": 2 * GB}))
    core.place(0)
    core.release("first", 9)
    for task in "1234567":
        core.submit(wanted(task, inputs={"big": 2 * GB}))
    # 20 s to move are worth 50 s: the second waits 9 s, the sixth 45 s, the seventh would wait 54 s.
    assert where(core.place(9)) == {"1": ["d/a"], "7": ["d/b"]}


def test_tasks_go_on_waiting_in_their_order_when_another_location_is_freed() -> None:
    core = placement("d/a", "d/b", ledger=Ledger([Replica("big", "d/a", "1", 2 * GB, 0)]))
    core.submit(wanted("first", inputs={"big": 2 * GB}))
    core.place(0)
    core.release("first", 9)
    for task in "123":
        core.submit(wanted(task, inputs={"big": 2 * GB}))
    core.submit(wanted("other", cores=0.5))
    assert where(core.place(9)) == {"1": ["d/a"], "other": ["d/b"]}
    core.release("other", 1)
    assert core.place(10) == []
    core.release("1", 9)
    assert where(core.place(18)) == {"2": ["d/a"]}
    core.remove("d/a")
    assert where(core.place(19)) == {"3": ["d/b"]}


def test_waiting_ends_when_the_job_there_is_late() -> None:
    core = placement("d/a", "d/b", ledger=Ledger([Replica("big", "d/a", "1", 10 * GB, 0)]))
    core.submit(wanted("first", inputs={"big": 10 * GB}))
    core.place(0)
    core.release("first", 10)
    core.submit(wanted("hangs", inputs={"big": 10 * GB}))
    core.submit(wanted("waits", inputs={"big": 10 * GB}))
    assert where(core.place(10)) == {"hangs": ["d/a"]}
    at = core.look_again_at()
    assert at is not None
    assert at < 10 + 10 + 131
    assert where(core.place(at + 1)) == {"waits": ["d/b"]}


def test_a_task_whose_data_is_at_the_freed_location_goes_first() -> None:
    core = placement("d/a", "d/b", ledger=Ledger([Replica("mine", "d/b", "1", GB, 0)]))
    core.submit(wanted("x", cores=1))
    core.submit(wanted("y", cores=1))
    core.place(0)
    core.submit(wanted("head", inputs={"theirs": GB}))
    core.submit(wanted("local", inputs={"mine": GB}))
    core.release("y")
    assert where(core.place(1)) == {"local": ["d/b"]}
    core.release("x")
    assert where(core.place(2)) == {"head": ["d/a"]}


def test_the_first_of_a_class_is_not_overtaken_for_ever() -> None:
    core = placement("d/a", ledger=Ledger([Replica("mine", "d/a", "1", GB, 0)]))
    core.submit(wanted("blocker"))
    core.place(0)
    core.submit(wanted("head", inputs={"theirs": GB}))
    running = "blocker"
    for number in range(200):
        core.submit(wanted(str(number), inputs={"mine": GB}))
        core.release(running)
        (decision,) = core.place(number)
        running = decision.id
        if running == "head":
            return
    pytest.fail("the first task never ran")


def test_several_locations_are_given_at_once_on_distinct_hosts() -> None:
    core = Placement(Ledger())
    for name, host in (("d/a", "h1"), ("d/b", "h1"), ("d/c", "h2")):
        core.add(location(name, host=host), Capacity(1))
    core.submit(wanted("pair", Target("d", locations=2)))
    core.submit(wanted("another", Target("d", locations=2)))
    assert where(core.place(0)) == {"pair": ["d/a", "d/c"]}
    core.release("pair", 1)
    assert where(core.place(1)) == {"another": ["d/a", "d/c"]}


def test_several_locations_on_one_filesystem_are_fed_once() -> None:
    core = Placement(Ledger([Replica("big", "d/a", "1", GB, 0)]))
    for name, filesystem in (("d/a", "d/a"), ("d/b", "d/b"), ("d/c", "s"), ("d/e", "s"), ("d/f", "s")):
        core.add(location(name, filesystem), Capacity(1))
    core.observe("d/a", "d/b", GB, 50)
    core.submit(wanted("triple", Target("d", locations=3), inputs={"big": GB}))
    (decision,) = core.place(0)
    assert {each.name for each in decision.locations} in ({"d/a", "d/c", "d/e"}, {"d/c", "d/e", "d/f"})
    assert decision.cost_s == pytest.approx(10.05, abs=0.01)


def test_a_custom_resource_is_counted_where_it_is_defined() -> None:
    core = Placement(Ledger())
    core.add(location("d/a"), Capacity(8))
    core.add(location("d/b"), Capacity(8, custom={"gpu": 2}))
    for task in "123":
        core.submit(wanted(task, gpu=1, licence=5))
    assert where(core.place(0)) == {"1": ["d/b"], "2": ["d/b"]}
    core.release("1")
    assert where(core.place(0)) == {"3": ["d/b"]}


def test_a_deployment_cap_holds_over_all_its_locations() -> None:
    core = placement("d/a", "d/b", cores=8)
    core.limit("d", Limits(jobs=3))
    for task in range(5):
        core.submit(wanted(str(task)))
    assert len(core.place(0)) == 3
    core.release("0")
    assert len(core.place(0)) == 1
    core.limit("d", Limits())
    assert len(core.place(0)) == 1


def test_the_number_of_jobs_at_one_location_is_capped() -> None:
    core = Placement(Ledger())
    core.add(location("d/a"), Capacity(), 2)
    for task in "123":
        core.submit(wanted(task, cores=100))
    assert len(core.place(0)) == 2


def test_a_location_of_unknown_size_takes_everything() -> None:
    core = Placement(Ledger())
    core.add(location("d/a"))
    for task in range(50):
        core.submit(wanted(str(task), cores=64))
    assert len(core.place(0)) == 50


def test_a_location_set_aside_gets_nothing_until_it_is_restored() -> None:
    core = placement("d/a")
    core.set_aside("d/a")
    core.submit(wanted("t"))
    assert core.place(0) == []
    core.restore("d/a")
    assert len(core.place(0)) == 1


def test_a_removed_location_is_forgotten_and_its_allocations_with_it() -> None:
    core = placement("d/a")
    core.submit(wanted("t"))
    core.place(0)
    core.remove("d/a")
    core.add(location("d/a"), Capacity(1))
    core.submit(wanted("u"))
    assert where(core.place(0)) == {"u": ["d/a"]}
    core.release("t", 1)
    core.submit(wanted("v"))
    assert core.place(0) == []


def test_a_withdrawn_task_is_never_placed() -> None:
    core = placement("d/a")
    core.submit(wanted("t"))
    core.withdraw("t")
    core.withdraw("t")
    assert core.place(0) == []
    assert core.queued == 0


def test_a_task_cannot_be_submitted_twice() -> None:
    core = placement("d/a")
    core.submit(wanted("t"))
    with pytest.raises(ValueError, match="t"):
        core.submit(wanted("t"))


def test_a_small_task_is_not_held_up_by_a_large_one_of_another_class() -> None:
    core = placement("d/a", cores=4)
    core.submit(wanted("half", cores=2))
    core.place(0)
    core.submit(wanted("large", cores=4))
    core.submit(wanted("small", cores=1))
    assert where(core.place(0)) == {"small": ["d/a"]}
    core.release("half")
    core.release("small")
    assert where(core.place(0)) == {"large": ["d/a"]}


def test_a_request_larger_than_every_candidate_is_refused_with_the_largest_named() -> None:
    core = Placement(Ledger())
    core.add(location("d/a"), Capacity(4, 8 * GB))
    core.add(location("d/b"), Capacity(16, 2 * GB))
    with pytest.raises(CapacityError, match=r"^big \(jobid 3\) .*cores: 64.*d/b.*16"):
        core.check(replace(wanted("t", cores=64), name="big (jobid 3)"))
    with pytest.raises(CapacityError, match=r"memory: 100 GB.*d/a.*8 GB"):
        core.check(Wanted("t", Request(1, 100 * GB), (Target("d"),), Policy.LOCALITY, ()))
    with pytest.raises(CapacityError, match=r"cores 16, memory 8 GB.*none has all"):
        core.check(Wanted("t", Request(16, 8 * GB), (Target("d"),), Policy.LOCALITY, ()))
    core.check(wanted("t", cores=16))


def test_a_request_for_more_custom_resources_or_hosts_than_there_are_is_refused() -> None:
    core = Placement(Ledger())
    core.add(location("d/a", host="h"), Capacity(4, custom={"gpu": 2}))
    core.add(location("d/b", host="h"), Capacity(4))
    with pytest.raises(CapacityError, match=r"gpu: 3.*d/a.*2"):
        core.check(wanted("t", gpu=3))
    core.check(wanted("t", gpu=2, unheard_of=10))
    with pytest.raises(CapacityError, match="2 locations of d at once, but only 1 distinct"):
        core.check(wanted("t", Target("d", locations=2)))
    core.limit("d", Limits(cores=2))
    with pytest.raises(CapacityError, match="4 cores, more than the limit of 2"):
        core.check(wanted("t", cores=4))


def test_nothing_is_refused_while_a_target_is_not_known_yet() -> None:
    core = placement("d/a")
    core.check(wanted("t", "d", "later", cores=100))


def test_a_class_that_nothing_fits_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    core = placement("d/a")
    for task in range(1000):
        core.submit(wanted(str(task)))
    core.place(0)
    looks = 0
    window = type(core._queued["5"]).window

    def counted(self: object) -> object:
        nonlocal looks
        looks += 1
        return window(self)  # type: ignore[arg-type]

    monkeypatch.setattr(type(core._queued["5"]), "window", counted)
    for now in range(100):
        core.place(now)
    assert looks == 0


def test_a_task_that_wants_several_locations_is_not_starved_by_a_stream_of_small_ones() -> None:
    core = placement("d/a", "d/b", "d/c")
    for number in range(3):
        core.submit(wanted(f"n{number}"))
    running = [each.id for each in core.place(0)]
    core.submit(wanted("wide", Target("d", locations=3)))
    for step in range(3, 100):
        core.submit(wanted(f"n{step}"))
        core.release(running.pop(0), 1)
        decided = core.place(step)
        running += [each.id for each in decided]
        if "wide" in running:
            break
        if not running:
            pytest.fail("everything is free and nothing runs")
    else:
        pytest.fail("it never got its three locations")
    assert step < 30
    core.release("wide")
    assert len(core.place(100)) == 3, "what was kept is given to others again"


def test_what_is_kept_for_a_task_that_is_withdrawn_is_free_again() -> None:
    core = placement("d/a", "d/b")
    core.submit(wanted("n0"))
    core.submit(wanted("n1"))
    core.place(0)
    core.submit(wanted("wide", Target("d", locations=2)))
    for step in range(2, 30):
        core.submit(wanted(f"n{step}"))
        core.release(f"n{step - 2}", 1)
        if not core.place(step):
            break
    assert not core.place(30)
    core.withdraw("wide")
    assert core.place(31)

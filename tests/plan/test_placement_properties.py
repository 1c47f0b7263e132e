"""What holds for placement whatever happens."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from snakemake_executor_plugin_streamflow.model import Limits, Location, Policy, Request, Target
from snakemake_executor_plugin_streamflow.plan import Capacity, Ledger, Placement, Replica, Wanted

NAMES = [f"{deployment}/{number}" for deployment in "de" for number in range(3)]
CAPACITY = {
    name: (Capacity(2 + index, 10 * (index + 1), custom={"gpu": 1} if index % 2 else {}), 3 if index == 2 else None)
    for index, name in enumerate(NAMES)
}
LIMITS = Limits(jobs=5, cores=6, memory_b=60)
PATHS = ["p", "q", "r"]


class Events(RuleBasedStateMachine):
    """Throw events at a placement, and keep books of our own."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.core = Placement(self.ledger)
        self.now = 0.0
        self.count = 0
        self.submitted: dict[str, Wanted] = {}
        self.running: dict[str, tuple[Location, ...]] = {}
        self.decided: set[str] = set()
        self.aside: set[str] = set()
        for name in NAMES:
            capacity, jobs = CAPACITY[name]
            deployment, _, number = name.partition("/")
            filesystem = "shared" if number == "2" else name
            self.core.add(Location(name, deployment, "", number, filesystem), capacity, jobs)
        self.core.limit("d", LIMITS)

    @rule(
        cores=st.sampled_from([0.1, 0.3, 1, 2, 4]),
        memory_b=st.sampled_from([0, 5, 20]),
        gpu=st.booleans(),
        places=st.sampled_from(
            [
                (Target("d"),),
                (Target("e"), Target("d")),
                (Target("d", locations=2),),
                (Target("e", locations=3), Target("d")),
                (Target("d"), Target("e", locations=2)),
            ]
        ),
        policy=st.sampled_from(list(Policy)),
        inputs=st.lists(st.tuples(st.sampled_from(PATHS), st.integers(0, 10**10)), max_size=3),
        copies=st.integers(1, 5),
    )
    def submit(
        self,
        cores: float,
        memory_b: int,
        gpu: bool,
        places: tuple[Target, ...],
        policy: Policy,
        inputs: list[tuple[str, int]],
        copies: int,
    ) -> None:
        for _ in range(copies):
            self.count += 1
            request = Request(cores, memory_b, custom={"gpu": 1, "other": 9} if gpu else {})
            wanted = Wanted(f"t{self.count}", request, places, policy, tuple(inputs))
            try:
                self.core.check(wanted)
            except Exception:
                continue
            self.core.submit(wanted)
            self.submitted[wanted.id] = wanted

    @rule(seconds=st.floats(0, 100))
    def place(self, seconds: float) -> None:
        self.now += seconds
        for decision in self.core.place(self.now):
            assert decision.id in self.submitted
            assert decision.id not in self.decided
            assert not {place.name for place in decision.locations} & self.aside
            wanted = self.submitted[decision.id]
            assert decision.target in wanted.targets
            assert len({place.host for place in decision.locations}) == decision.target.locations
            assert {place.deployment for place in decision.locations} == {decision.target.deployment}
            assert decision.cost_s >= 0
            self.decided.add(decision.id)
            self.running[decision.id] = decision.locations

    @precondition(lambda self: self.running)
    @rule(data=st.data(), known=st.booleans())
    def release(self, data: st.DataObject, known: bool) -> None:
        task = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[task]
        self.core.release(task, 10.0 if known else None)

    @precondition(lambda self: set(self.submitted) - self.decided)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(set(self.submitted) - self.decided)))
        del self.submitted[task]
        self.core.withdraw(task)

    @rule(name=st.sampled_from(NAMES))
    def set_aside_or_restore(self, name: str) -> None:
        if name in self.aside:
            self.aside.remove(name)
            self.core.restore(name)
        else:
            self.aside.add(name)
            self.core.set_aside(name)

    @rule(path=st.sampled_from(PATHS), filesystem=st.sampled_from([*NAMES, "shared"]))
    def put(self, path: str, filesystem: str) -> None:
        self.ledger.put(Replica(path, filesystem, "1", 1, 0))

    @rule(source=st.sampled_from(NAMES), goal=st.sampled_from(NAMES), seconds=st.floats(0.001, 100))
    def observe(self, source: str, goal: str, seconds: float) -> None:
        self.core.observe(source, goal, 10**7, seconds)

    @invariant()
    def nothing_is_given_twice(self) -> None:
        for name in NAMES:
            capacity, jobs = CAPACITY[name]
            here = [self.submitted[task].request for task, at in self.running.items() if name in [p.name for p in at]]
            assert jobs is None or len(here) <= jobs
            assert sum(request.cores for request in here) <= (capacity.cores or 0) + 1e-6
            assert sum(request.memory_b for request in here) <= (capacity.memory_b or 0)
            assert sum(request.custom.get("gpu", 0) for request in here) <= capacity.custom.get("gpu", 0)
        capped = [(self.submitted[task].request, at) for task, at in self.running.items() if at[0].deployment == "d"]
        assert len(capped) <= (LIMITS.jobs or 0)
        assert sum(request.cores * len(at) for request, at in capped) <= (LIMITS.cores or 0) + 1e-6
        assert sum(request.memory_b * len(at) for request, at in capped) <= (LIMITS.memory_b or 0)

    def teardown(self) -> None:
        """Releasing everything drains the queue, however much waits and for whatever."""
        for name in sorted(self.aside):
            self.core.restore(name)
        self.aside.clear()
        for _ in range(10 * len(self.submitted) + 10):
            self.place(0.0)
            if not self.running:
                at = self.core.look_again_at()
                if at is None:
                    break
                self.now = max(self.now, at)
                continue
            for task in sorted(self.running):
                self.core.release(task, 5.0)
            self.running.clear()
        assert self.decided >= set(self.submitted)
        assert self.core.queued == 0
        assert all(not site.claims and not site.running for site in self.core._sites.values())


Events.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestEvents = Events.TestCase

"""Which replicas are made, and which are given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_streamflow.plan import Copies, Replica, copies, evict

SITES = ["one", "two", "three", "controller"]
sites = st.lists(st.sampled_from(SITES), max_size=4)


def made(path: str, size_b: int = 10) -> Replica:
    return Replica(path, "here", "o-1", size_b, 0)


def source(path: str, size_b: int = 10) -> Replica:
    return Replica(path, "here", "c-1", size_b, 0)


def test_the_best_candidate_that_lacks_a_file_gets_it() -> None:
    assert copies(["one"], 2, [], ["one", "two", "controller"]) == Copies(("two",))
    assert copies(["one", "controller"], 2, [], ["two"]) == Copies(())


def test_names_are_served_and_count() -> None:
    assert copies(["one"], 2, ["controller"], ["two"]) == Copies(("controller",))
    assert copies(["one"], 1, ["controller", "one"], []) == Copies(("controller",))
    assert copies(["one"], 3, ["controller"], ["two"]) == Copies(("controller", "two"))


def test_what_is_lacking_in_the_end_is_told() -> None:
    assert copies(["one"], 4, [], ["two"]) == Copies(("two",), 2)


@given(st.sets(st.sampled_from(SITES)), st.integers(1, 5), sites, sites)
def test_no_copy_too_many_and_none_too_few(holders: set[str], replicas: int, on: list[str], others: list[str]) -> None:
    found = copies(holders, replicas, on, others)
    after = holders | set(found.to)
    assert len(found.to) == len(set(found.to) - holders)
    assert after >= set(on)
    assert len(after) + found.short >= replicas
    assert not found.short or after >= set(others)
    assert len(after) <= max(replicas, len(holders | set(on)))


def test_what_is_elsewhere_goes_before_what_can_be_made_again_whenever_it_was_used() -> None:
    replicas = [made("old"), source("copy"), made("copied")]
    found = evict(
        replicas,
        ["old", "copied", "copy"],
        15,
        needed=(),
        later=(),
        elsewhere=lambda path: int(path.startswith("cop")),
    )
    assert found.paths == ("copied", "copy")
    assert found.short_b == 0


def test_what_nobody_has_and_nobody_can_make_stays() -> None:
    found = evict([source("s"), made("m")], [], 30, needed=(), later=(), elsewhere=lambda _: 0)
    assert found == (type(found))(("m",), 20)


def test_what_will_be_read_goes_only_while_it_is_elsewhere() -> None:
    def paths(others: int) -> tuple[str, ...]:
        return evict([made("m")], [], 1, needed=(), later=["m"], elsewhere=lambda _: others).paths

    assert paths(0) == ()
    assert paths(1) == ("m",)


def test_directories_are_kept_for_what_is_in_them_and_the_other_way_round() -> None:
    replicas = [made("d"), made("e/x"), made("dd")]
    found = evict(replicas, [], 100, needed=["d/deep/x", "e"], later=(), elsewhere=lambda _: 1)
    assert found.paths == ("dd",)


def test_as_many_replicas_are_left_as_somebody_asked_for() -> None:
    def paths(others: int) -> tuple[str, ...]:
        return evict([made("m")], [], 1, needed=(), later=(), elsewhere=lambda _: others, least=lambda _: 2).paths

    assert paths(0) == paths(1) == ()
    assert paths(2) == ("m",)


def test_more_is_freed_only_when_that_is_possible() -> None:
    replicas = [made("a"), made("b"), made("c")]
    assert evict(replicas, [], 5, spare_b=10, needed=(), later=(), elsewhere=lambda _: 0).paths == ("a", "b")
    found = evict(replicas, [], 5, spare_b=100, needed=["b", "c"], later=(), elsewhere=lambda _: 0)
    assert (found.paths, found.short_b) == (("a",), 0)


PATHS = ["a", "b", "c", "d", "e"]
some = st.sets(st.sampled_from(PATHS))


@given(
    st.lists(st.tuples(st.sampled_from(PATHS), st.booleans(), st.integers(0, 9)), unique_by=lambda one: one[0]),
    st.permutations(PATHS),
    st.integers(1, 50),
    some,
    some,
    st.fixed_dictionaries({path: st.integers(0, 2) for path in PATHS}),
    st.fixed_dictionaries({path: st.integers(1, 2) for path in PATHS}),
)
def test_nothing_goes_that_is_needed_and_no_more_than_has_to(
    there: list[tuple[str, bool, int]],
    order: list[str],
    need_b: int,
    needed: set[str],
    later: set[str],
    elsewhere: dict[str, int],
    least: dict[str, int],
) -> None:
    replicas = {path: made(path, size) if again else source(path, size) for path, again, size in there}
    found = evict(
        replicas.values(),
        order,
        need_b,
        needed=needed,
        later=later,
        elsewhere=elsewhere.__getitem__,
        least=least.__getitem__,
    )
    gone = [replicas[path] for path in found.paths]
    sizes = [replica.size_b for replica in gone]
    assert len(set(found.paths)) == len(gone)
    assert found.short_b == max(0, need_b - sum(sizes))
    assert sum(sizes[:-1]) < need_b, "the last one was necessary"

    def may_go(replica: Replica) -> bool:
        path = replica.path
        if path in needed or not replica.size_b:
            return False
        if elsewhere[path]:
            return elsewhere[path] >= least[path]
        return replica.version == "o-1" and path not in later and least[path] == 1

    assert all(map(may_go, gone))
    assert not found.short_b or {r.path for r in replicas.values() if may_go(r)} == set(found.paths)
    ranks = [(not elsewhere[r.path], order.index(r.path)) for r in gone]
    assert ranks == sorted(ranks)

"""The ledger."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_streamflow.plan import Dropped, Ledger, Replica


def replica(path: str, filesystem: str, version: str = "1", size_b: int = 10, directory: bool = False) -> Replica:
    return Replica(path, filesystem, version, size_b, 0, directory=directory)


def test_a_replica_is_found_where_it_was_put_and_nowhere_else() -> None:
    ledger = Ledger()
    ledger.put(replica("a", "x"))
    assert ledger.get("a", "x") == replica("a", "x")
    assert ledger.get("a", "y") is None
    assert ledger.get("b", "x") is None
    assert ledger.version("a") == "1"


def test_a_new_version_makes_the_older_replicas_stale() -> None:
    ledger = Ledger()
    ledger.put(replica("a", "x"))
    ledger.put(replica("a", "y"))
    ledger.changes()
    ledger.put(replica("a", "z", "2"))
    assert list(ledger.replicas("a")) == [replica("a", "z", "2")]
    assert ledger.version("a") == "2"
    assert set(ledger.changes()) == {Dropped("a", "x"), Dropped("a", "y"), replica("a", "z", "2")}


def test_a_path_without_replicas_is_unknown() -> None:
    ledger = Ledger([replica("a", "x")])
    ledger.drop("a", "x")
    ledger.drop("a", "x")
    assert ledger.version("a") is None
    assert ledger.changes() == [Dropped("a", "x")]


def test_what_was_loaded_is_not_a_change_and_neither_is_what_was_known() -> None:
    ledger = Ledger([replica("a", "x")])
    ledger.put(replica("a", "x"))
    assert ledger.changes() == []


def test_dropping_a_filesystem_leaves_the_other_replicas() -> None:
    ledger = Ledger([replica("a", "x"), replica("a", "y"), replica("b", "x")])
    ledger.drop_filesystem("x")
    assert ledger.get("a", "y") is not None
    assert ledger.get("b", "x") is None
    assert ledger.get("a", "x") is None


def test_missing_counts_bytes_of_what_is_not_there() -> None:
    ledger = Ledger([replica("a", "x"), replica("b", "y")])
    assert ledger.missing({"a": 10, "b": 5, "c": 1}, "x") == 6
    assert ledger.missing([("a", 10), ("b", 5)], "y") == 10


def test_a_recorded_directory_counts_for_the_files_below_it_but_get_does_not_invent_them() -> None:
    ledger = Ledger([replica("d", "x", directory=True)])
    assert ledger.get("d/sub/file", "x") is None
    assert ledger.missing({"d/sub/file": 7}, "x") == 0
    assert ledger.missing({"d/sub/file": 7}, "y") == 7
    assert ledger.missing({"dd/file": 7}, "x") == 7


def test_a_plain_file_does_not_count_for_paths_below_its_name() -> None:
    ledger = Ledger([replica("d", "x"), replica("other", "x", directory=True)])
    assert ledger.missing({"d/file": 7}, "x") == 7


def test_an_entry_of_its_own_prevails_over_the_directory_above() -> None:
    ledger = Ledger([replica("d", "x", directory=True), replica("d/file", "y", "new")])
    assert ledger.missing({"d/file": 7}, "x") == 7
    assert ledger.missing({"d/file": 7}, "y") == 0


def test_files_below_a_directory_do_not_make_the_directory_present() -> None:
    assert Ledger([replica("d/file", "x")]).missing({"d": 7}, "x") == 7


PATHS = st.sampled_from(["a", "a/b", "a/b/c", "/abs", "z"])
FILESYSTEMS = st.sampled_from(["controller", "x", "y"])
PUT = st.builds(
    lambda p, f, v, d: replica(p, f, v, directory=d), PATHS, FILESYSTEMS, st.sampled_from("123"), st.booleans()
)
STEP = st.one_of(
    PUT,
    st.tuples(st.just("drop"), PATHS, FILESYSTEMS),
    st.tuples(st.just("drop_path"), PATHS),
    st.tuples(st.just("drop_filesystem"), FILESYSTEMS),
    st.just(("changes",)),
)


@given(st.lists(STEP, max_size=40))
def test_it_behaves_like_a_plain_table_and_its_changes_rebuild_it(steps: list[object]) -> None:
    ledger = Ledger()
    table: dict[tuple[str, str], Replica] = {}
    journal: dict[tuple[str, str], Replica] = {}

    def drain() -> None:
        for change in ledger.changes():
            if isinstance(change, Replica):
                journal[change.path, change.filesystem] = change
            else:
                journal.pop((change.path, change.filesystem), None)

    for step in steps:
        if isinstance(step, Replica):
            ledger.put(step)
            for key in [key for key, old in table.items() if key[0] == step.path and old.version != step.version]:
                del table[key]
            table[step.path, step.filesystem] = step
            continue
        assert isinstance(step, tuple)
        match step:
            case ("drop", path, filesystem):
                ledger.drop(path, filesystem)
                table.pop((path, filesystem), None)
            case ("drop_path", path):
                ledger.drop_path(path)
                table = {key: value for key, value in table.items() if key[0] != path}
            case ("drop_filesystem", filesystem):
                ledger.drop_filesystem(filesystem)
                table = {key: value for key, value in table.items() if key[1] != filesystem}
            case _:
                drain()
    for path in ("a", "a/b", "a/b/c", "/abs", "z"):
        expected = {key[1]: value for key, value in table.items() if key[0] == path}
        assert {each.filesystem: each for each in ledger.replicas(path)} == expected
        assert {each.version for each in expected.values()} == ({ledger.version(path)} if expected else set())
    drain()
    assert journal == table
    rebuilt = Ledger(journal.values())
    for path in ("a", "a/b", "q/r"):
        for filesystem in ("controller", "x", "y"):
            assert rebuilt.missing({path: 1}, filesystem) == ledger.missing({path: 1}, filesystem)

"""Tables, sizes and times."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_streamflow.show import counted, duration, size, table


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_340, "12.3 kB"),
        (999_600, "1.00 MB"),
        (123_456_789, "123 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes_have_three_digits(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (3.21, "3.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (86_399, "23 h 59 min"),
        (4 * 86_400 + 3 * 3600, "4 d 3 h"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_one_and_many() -> None:
    assert (counted(1, "path"), counted(0, "path")) == ("1 path", "0 paths")


def test_columns_are_aligned_and_numbers_are_at_the_right() -> None:
    assert table(("path", "size"), [("a", "1 B"), ("long", "12.3 kB")]) == (
        "path     size\na         1 B\nlong  12.3 kB"
    )
    assert table(("path", "n"), []) == "path  n"


def test_the_widest_column_is_cut_in_its_middle() -> None:
    text = table(("path", "where"), [("results/very/long/folder/sample1.bam", "cluster")], 30)
    assert all(len(line) <= 30 for line in text.splitlines())
    assert "results/" in text
    assert "ple1.bam  cluster" in text
    assert "…" in text


def test_wide_characters_keep_their_room() -> None:
    lines = table(("名", "x"), [("a", "y"), ("名前", "z")]).splitlines()
    assert [line.index(mark) for line, mark in zip(lines, "xyz", strict=True)] == [5, 6, 4]


def test_nothing_in_a_name_reaches_the_terminal_as_a_command() -> None:
    text = table(("path",), [("a\x1b[31m\nb\udcff",)])
    assert text.splitlines()[1] == "a\\x1b[31m\\nb\\udcff"

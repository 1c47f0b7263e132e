"""Short jobs are waited for, so that Snakemake's scheduler finds several ended at once; long ones are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from snakemake_executor_plugin_streamflow.pace import Pace


def job(pace: Pace, name: str, seconds: float) -> None:
    """One job from beginning to end."""
    pace.begin(name)
    time.sleep(seconds)
    pace.end(name)
    pace.told(name)


def waited(work: Callable[[], None]) -> float:
    """How many seconds it takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def test_before_anything_is_known_nothing_is_waited_for() -> None:
    pace = Pace()
    pace.begin("a")
    assert min(waited(lambda: pace.wait(["a"])) for _ in range(5)) < 0.05


def ends_meanwhile() -> bool:
    """Whether jobs that end within the time of a short one are waited for; a busy machine may end them later."""
    pace = Pace()
    job(pace, "a", 0.04)
    pace.begin("b")
    pace.begin("c")

    def others() -> None:
        for name in ("b", "c"):
            pace.end(name)
            pace.told(name)

    threading.Timer(0.02, others).start()
    pace.wait(["b", "c"])
    return pace._begun == {}


def test_after_a_short_job_the_next_ones_are_waited_for_until_they_are_told() -> None:
    assert any(ends_meanwhile() for _ in range(5))


def test_one_that_takes_longer_is_not_waited_for_to_its_end() -> None:
    pace = Pace()
    job(pace, "a", 0.01)
    pace.begin("b")
    assert waited(lambda: pace.wait(["b"])) < 1
    assert "b" in pace._begun


def test_after_long_jobs_nothing_is_waited_for() -> None:
    pace = Pace()
    job(pace, "a", 0.15)
    pace.begin("b")
    assert min(waited(lambda: pace.wait(["b"])) for _ in range(5)) < 0.09

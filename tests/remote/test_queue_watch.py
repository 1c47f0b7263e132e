"""What is made of exit files and states: events in, ends out."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_streamflow.connect.queue import Seen, State
from snakemake_executor_plugin_streamflow.errors import JobInterrupted, JobLost, SubmitError
from snakemake_executor_plugin_streamflow.remote.job import JobEnd
from snakemake_executor_plugin_streamflow.remote.queue_watch import FILE_S, SAY_S, SIGNALLED_S, VISIBLE_S, Tracked


def tracked(*events: Seen | JobEnd | None, at: float = 0.0) -> Tracked:
    """A job that was submitted at 0; the events come at `at`."""
    job = Tracked("17", 0.0)
    for event in events:
        if isinstance(event, JobEnd):
            job.found_end(event, at)
        else:
            job.hear(event, at)
    return job


def seen(state: State) -> Seen:
    """A state in the queue's words."""
    return Seen(state, state.name)


def test_an_exit_file_with_0_is_the_end_whatever_the_queue_says() -> None:
    for state in State:
        assert tracked(seen(state), JobEnd(0)).verdict(0) == JobEnd(0)


@pytest.mark.parametrize(("code", "patience_s"), [(3, SAY_S), (143, SIGNALLED_S)])
def test_another_code_waits_for_what_the_queue_says(code: int, patience_s: float) -> None:
    job = tracked(seen(State.RUNNING), JobEnd(code))
    assert job.undecided
    assert job.verdict(patience_s - 0.1) is None
    assert job.verdict(patience_s + 0.1) == JobEnd(code)
    job.hear(seen(State.ENDED), 1.0)
    assert job.verdict(1.0) == JobEnd(code)
    assert not job.undecided


@pytest.mark.parametrize("state", [State.PREEMPTED, State.NODE_FAILED])
@pytest.mark.parametrize("code", [None, 143])
def test_a_job_whose_place_was_taken_away_has_not_failed(state: State, code: int | None) -> None:
    job = tracked(seen(state), *([] if code is None else [JobEnd(code)]))
    verdict = job.verdict(0)
    assert isinstance(verdict, JobInterrupted)
    assert verdict.transient
    assert state.name in str(verdict)


@pytest.mark.parametrize("state", [State.TIMED_OUT, State.OUT_OF_MEMORY, State.CANCELLED])
def test_what_the_queue_ended_has_failed_with_its_reason(state: State) -> None:
    for job in (tracked(seen(state)), tracked(seen(state), JobEnd(137))):
        verdict = job.verdict(SAY_S + 0.1)
        assert isinstance(verdict, JobEnd)
        assert verdict.code == 137
        assert state.name in verdict.reason
        assert verdict.over == (state is State.TIMED_OUT)


def test_an_exit_file_may_be_seen_late() -> None:
    job = tracked(seen(State.ENDED))
    assert job.doubtful
    assert job.verdict(FILE_S - 0.1) is None
    job.found_end(JobEnd(3), 5)
    assert job.verdict(5) == JobEnd(3)


def test_a_job_that_ended_without_an_exit_file_is_lost_with_what_the_queue_printed() -> None:
    job = tracked(seen(State.ENDED))
    job.said = "cannot execute"
    verdict = job.verdict(FILE_S + 0.1)
    assert isinstance(verdict, JobLost)
    assert "cannot execute" in str(verdict)


def test_a_job_that_is_not_listed_may_be_new_or_gone() -> None:
    job = tracked(None)
    assert job.doubtful
    assert job.undecided
    assert job.verdict(VISIBLE_S - 0.1) is None
    assert isinstance(job.verdict(VISIBLE_S + 0.1), JobLost)
    job.hear(seen(State.PENDING), VISIBLE_S + 0.2)
    assert job.verdict(VISIBLE_S + 0.3) is None
    job.hear(None, VISIBLE_S + 0.4)
    assert job.verdict(VISIBLE_S + 1) is None


def test_a_job_that_ran_and_waits_again_was_put_back() -> None:
    job = tracked(seen(State.PENDING), seen(State.RUNNING), seen(State.PENDING))
    assert isinstance(job.verdict(0), JobInterrupted)


def test_a_job_that_was_killed_and_put_back_has_not_failed() -> None:
    job = tracked(seen(State.RUNNING), JobEnd(137), None)
    assert job.verdict(SAY_S + 0.1) is None
    job.hear(seen(State.PENDING), 4.0)
    assert isinstance(job.verdict(4.0), JobInterrupted)


def test_a_job_that_will_never_run_was_refused() -> None:
    verdict = tracked(seen(State.REFUSED)).verdict(0)
    assert isinstance(verdict, SubmitError)
    assert not verdict.transient


def test_a_state_that_is_not_known_is_no_end() -> None:
    job = tracked(seen(State.UNKNOWN))
    assert job.verdict(1e6) is None
    assert job.undecided

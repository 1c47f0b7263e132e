"""What runs do or did, and what they have left up."""

from __future__ import annotations

import time
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..journal import RunRecord, State, TaskRecord
from ..show import ago, counted, duration, moment, table
from .answer import Answer
from .terminal import width
from .workflow import Workflow

_FAILURES = 20
"""Failures that are told, the last ones."""


def status(given: Namespace) -> Answer:
    """The last runs: tasks by location and state, what runs now, what failed and where its stderr is."""
    with Workflow(given) as workflow:
        runs = list(workflow.journal.runs())
        states = {run.id: state_of(workflow, run) for run in runs}
        data: list[dict[str, Any]] = []
        texts: list[str] = []
        for run, tasks in _last(workflow, runs, given.runs):
            times = workflow.journal.times(run.id) if given.tasks else None
            data.append(_run_data(run, states[run.id], tasks, times))
            texts.append(_run_text(run, states[run.id], tasks, times))
        left = [task for task in workflow.journal.unfinished("") if states.get(task.run) == "died"]
        may_run = [task for task in left if task.state is State.RUNNING]
    if may_run:
        texts.append(
            f"{counted(len(may_run), 'job')} of runs that died may still run, or may have ended unseen. The next run "
            "of the workflow looks for them; `snakemake-streamflow cleanup` ends them and removes what they left."
        )
    text = "\n\n".join(texts) if texts else "No run yet."
    return Answer({"runs": data, "orphans": [_task_data(task, None) for task in may_run]}, text)


def _last(workflow: Workflow, runs: Sequence[RunRecord], count: int) -> list[tuple[RunRecord, Sequence[TaskRecord]]]:
    """The last runs that had tasks, oldest first; dry runs and the like have none, and are shown when all are such."""
    found: list[tuple[RunRecord, Sequence[TaskRecord]]] = []
    for run in reversed(runs):
        if len(found) == count:
            break
        if (tasks := workflow.journal.tasks(run.id)) or workflow.alive(run):
            found.insert(0, (run, tasks))
    return found or [(run, ()) for run in runs[-count:]]


def deployments(given: Namespace) -> Answer:
    """What runs have brought up and not taken down."""
    with Workflow(given) as workflow:
        states = {run.id: state_of(workflow, run) for run in workflow.journal.runs()}
        records = workflow.journal.deployments()
    data = [{**asdict(record), "run_state": states.get(record.run, "unknown")} for record in records]
    rows = [(r.name, r.type, r.run, states.get(r.run, "unknown"), moment(r.since), r.what) for r in records]
    text = table(("deployment", "type", "run", "the run", "since", "what"), rows, width())
    left = any(states.get(record.run) != "running" for record in records)
    if left:
        text += "\n\n`snakemake-streamflow cleanup` takes down what does not belong to a run that goes on."
    return Answer({"deployments": data}, text if records else "Nothing is up.", int(left))


def state_of(workflow: Workflow, run: RunRecord) -> str:
    """Say whether a run is `running`, has `ended`, or `died`."""
    return "ended" if run.ended is not None else "running" if workflow.alive(run) else "died"


def _run_data(
    run: RunRecord, state: str, tasks: Sequence[TaskRecord], times: Mapping[str, Mapping[State, float]] | None
) -> dict[str, Any]:
    counts: dict[str, Counter[str]] = {}
    for task in tasks:
        counts.setdefault(task.location, Counter())[task.state] += 1
    shown = [t for t in tasks if times is not None or t.state in (State.RUNNING, State.FAILED, State.LOST)]
    data = [_task_data(task, None if times is None else times.get(task.id, {})) for task in shown]
    return {**asdict(run), "state": state, "counts": counts, "tasks": data}


def _task_data(task: TaskRecord, times: Mapping[State, float] | None) -> dict[str, Any]:
    more = {} if times is None else {"times": times}
    return {**asdict(task), "stderr": stderr_of(task), **more}


def stderr_of(task: TaskRecord) -> str:
    """The place of a task's standard error, as LOCATION:PATH; "" when it was never sent anywhere."""
    return f"{task.location}:{task.directory}/stderr" if task.directory else ""


def _run_text(
    run: RunRecord, state: str, tasks: Sequence[TaskRecord], times: Mapping[str, Mapping[State, float]] | None
) -> str:
    now = time.time()
    began = f"Run {run.id}, begun {moment(run.started)}"
    how = {
        "running": f"has run for {duration(now - run.started)} (process {run.pid} on {run.host})",
        "ended": f"took {duration((run.ended or run.started) - run.started)}",
        "died": "died: it has no end and no process",
    }[state]
    parts = [f"{began}, {how}."]
    if not tasks:
        return f"{parts[0]} It has no tasks."
    counts: dict[str, Counter[State]] = {}
    for task in tasks:
        counts.setdefault(task.location or "(nowhere yet)", Counter())[task.state] += 1
    present = [s for s in State if any(count[s] for count in counts.values())]
    rows = [(name, *(str(count[s] or "") for s in present)) for name, count in sorted(counts.items())]
    parts.append(table(("location", *present), rows, width()))
    if times is not None:
        parts.append(_tasks_text(tasks, times))
    elif running := [task for task in tasks if task.state is State.RUNNING]:
        since = "since" if state == "running" else "started"
        rows = [(t.id, t.rule, t.location, ago(t.changed, now)) for t in running]
        parts.append(table(("task", "rule", "location", since), rows, width()))
    done = {task.job for task in tasks if task.state is State.ACCOUNTED}
    if failed := [task for task in tasks if task.state in (State.FAILED, State.LOST) and task.job not in done]:
        lines = [line for task in failed[-_FAILURES:] for line in _failure(task)]
        lines += [f"and {len(failed) - _FAILURES} more: --json lists them all"] if len(failed) > _FAILURES else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _failure(task: TaskRecord) -> list[str]:
    """What failed, and where its standard error is."""
    said = task.detail.partition("\n")[0].removesuffix(" Last lines of its stderr:")
    place = [f"  stderr: {stderr_of(task)}"] if task.state is State.FAILED and task.directory else []
    return [f"{task.id} {task.state}{f': {said}' if said else ''}", *place]


def _tasks_text(tasks: Sequence[TaskRecord], times: Mapping[str, Mapping[State, float]]) -> str:
    def lasted(task: TaskRecord, begin: State, *ends: State) -> str:
        at = times.get(task.id, {})
        end = next((at[state] for state in (*ends, task.state) if state in at and state is not begin), None)
        return duration(end - at[begin]) if begin in at and end is not None else ""

    rows = [
        (
            task.id,
            task.rule,
            task.location,
            task.state,
            lasted(task, State.SUBMITTED, State.STAGING, State.RUNNING),
            lasted(task, State.STAGING, State.RUNNING),
            lasted(task, State.RUNNING, State.ENDED),
        )
        for task in tasks
    ]
    return table(("task", "rule", "location", "state", "waited", "staged", "ran"), rows, width())
